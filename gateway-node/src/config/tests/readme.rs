//! Checks that the README's table of settings equals the reference.

use std::{fs, path::Path};

use super::super::reference;

const BEGIN: &str = "<!-- settings: made from the source by the test `the_readme_lists_every_setting` -->\n";
const END: &str = "<!-- /settings -->";

#[test]
fn the_readme_lists_every_setting() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let (before, rest) = readme
        .split_once(BEGIN)
        .expect("the README has the mark at the start of the table");
    let (_, after) = rest
        .split_once(END)
        .expect("the README has the mark at the end of the table");
    let expected = format!("{before}{BEGIN}{}{END}{after}", table());
    if readme != expected {
        let path = root.join("target/README.md");
        fs::create_dir_all(root.join("target")).unwrap();
        fs::write(&path, expected).unwrap();
        panic!(
            "the README's table of settings is out of date; compare it with {} and copy that over",
            path.display()
        );
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
