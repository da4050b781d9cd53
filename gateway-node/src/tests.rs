//! Helpers for the tests of several folders.

use std::{fs, path::Path};

/// Checks that `docs/<page>` has this table between two marks. If not, fails, and writes the page as it should be to the
/// folder `target`.
pub(crate) fn assert_page_has_table(page: &str, begin: &str, end: &str, table: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = fs::read_to_string(root.join("docs").join(page)).unwrap();
    let (before, rest) = text
        .split_once(begin)
        .expect("the page has the mark at the start of the table");
    let (_, after) = rest
        .split_once(end)
        .expect("the page has the mark at the end of the table");
    let expected = format!("{before}{begin}{table}{end}{after}");
    if text != expected {
        let target = root.join("target");
        fs::create_dir_all(&target).unwrap();
        fs::write(target.join(page), expected).unwrap();
        panic!("the table in docs/{page} is out of date: run `cp target/{page} docs/{page}`");
    }
}
