//! Checks that the table of settings in `docs/configuration.md` equals the reference.

use super::super::reference;
use crate::tests::assert_page_has_table;

const BEGIN: &str =
    "<!-- settings: made from the source by the test `the_configuration_page_lists_every_setting` -->\n";
const END: &str = "<!-- /settings -->";

#[test]
fn the_configuration_page_lists_every_setting() {
    assert_page_has_table("configuration.md", BEGIN, END, &table());
}

fn table() -> String {
    let rows = reference().into_iter().map(|setting| {
        let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
        format!(
            "| `{}` | {} | {} |\n",
            setting.key,
            cell(&code(&setting.default)),
            cell(&setting.meaning)
        )
    });
    format!(
        "\n| setting | default | meaning |\n|---|---|---|\n{}\n",
        rows.collect::<String>()
    )
}

/// Formats a default as code, and the words that stand for no value as plain text.
fn code(default: &str) -> String {
    match default {
        "none" | "required" => default.to_owned(),
        value => format!("`{value}`"),
    }
}
