//! Checks that the table of settings in `docs/configuration.md` equals the reference.

use std::{fs, path::Path};

use super::super::reference;

const BEGIN: &str =
    "<!-- settings: made from the source by the test `the_configuration_page_lists_every_setting` -->\n";
const END: &str = "<!-- /settings -->";

#[test]
fn the_configuration_page_lists_every_setting() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = fs::read_to_string(root.join("docs/configuration.md")).unwrap();
    let (before, rest) = page
        .split_once(BEGIN)
        .expect("the page has the mark at the start of the table");
    let (_, after) = rest
        .split_once(END)
        .expect("the page has the mark at the end of the table");
    let expected = format!("{before}{BEGIN}{}{END}{after}", table());
    if page != expected {
        let target = root.join("target");
        fs::create_dir_all(&target).unwrap();
        fs::write(target.join("configuration.md"), expected).unwrap();
        panic!("the table of settings is out of date: run `cp target/configuration.md docs/configuration.md`");
    }
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
