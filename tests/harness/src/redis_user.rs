//! The Redis user of the nodes, with exactly the rights that `docs/operations.md` gives it.

use std::{fs, path::PathBuf};

/// The name of the user in the documentation.
pub(crate) const NAME: &str = "gateway";
/// What stands for its password in the documentation.
const PLACEHOLDER: &str = ">PASSWORD";
/// Its password in tests.
pub(crate) const PASSWORD: &str = "node-password";

/// Returns the rules of `ACL SETUSER` that `docs/operations.md` gives the user of the nodes, without its password: the
/// keys, the channels and the commands.
pub fn documented_redis_rights() -> Vec<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations.md");
    let page = fs::read_to_string(path)
        .expect("the page is there")
        .replace("\\\n", " ");
    let command = format!("redis-cli ACL SETUSER {NAME} on ");
    let line = page.lines().find_map(|line| line.strip_prefix(&command));
    let words = line.expect("the page has the command").split_whitespace();
    let words: Vec<_> = words.map(|word| word.trim_matches('\'').to_owned()).collect();
    assert_eq!(words[0], PLACEHOLDER);
    let commands = words.iter().filter(|word| word.starts_with('+'));
    let list = commands.map(String::as_str).collect::<Vec<_>>().join(" ");
    let text = page.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        text.contains(&format!("`{list}`")),
        "the page lists the same commands in its text"
    );
    words[1..].to_vec()
}
