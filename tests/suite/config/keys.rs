//! Keys in the configuration, and in a file that a variable names.

use std::fs;

use gateway_harness::{KEYS, Setup, V1Client, key, post};
use nix::sys::signal::Signal;

use super::{both_refuse, config_file, expired_key, node};

#[tokio::test]
async fn a_node_without_a_usable_key_does_not_start() {
    let (_folder, path) = config_file(&expired_key());
    let lines = both_refuse(&path).await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].starts_with("configuration: keys[0].expires_at = \"2020-01-01T00:00:00Z\" in "),
        "{lines:?}"
    );
    let (_folder, path) = config_file(&format!("{}{KEYS}", expired_key()));
    let ran = node(&["check-config", "--config", &path], &[]).await;
    assert!(ran.status.success() && ran.stderr.is_empty(), "{ran:?}");
}

#[tokio::test]
async fn the_last_key_can_be_revoked_while_a_node_runs() {
    let node = Setup::new().file(KEYS).start().await;
    let event = r#"{"t":"X","to":"all","d":{}}"#;
    assert_eq!(post(&node, &key("root"), event).await.status, 202);
    fs::write(node.file(), expired_key()).unwrap();
    node.signal(Signal::SIGHUP);
    node.logged("configuration reloaded").await;
    assert_eq!(post(&node, &key("root"), event).await.status, 401);
}

#[tokio::test]
async fn keys_from_a_file_that_a_variable_names_are_read_again_on_sighup() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.toml");
    fs::write(&path, KEYS).unwrap();
    let path = path.to_str().unwrap();
    let node = Setup::new().variable("UTILBOT__KEYS__FILE", path).start().await;
    let event = r#"{"t":"X","to":"all","d":{}}"#;
    assert_eq!(post(&node, &key("root"), event).await.status, 202);
    fs::write(path, KEYS.replace("id = \"root\"", "id = \"other\"")).unwrap();
    node.signal(Signal::SIGHUP);
    node.logged("configuration reloaded").await;
    assert_eq!(post(&node, &key("root"), event).await.status, 401);
    assert_eq!(post(&node, &key("other"), event).await.status, 202);
    // Without the file, the node keeps what it has.
    fs::remove_file(path).unwrap();
    node.signal(Signal::SIGHUP);
    node.logged("the configuration is invalid and was not applied").await;
    let expected = format!("configuration: keys in environment UTILBOT__KEYS__FILE (from file {path})");
    node.logged(&expected).await;
    assert_eq!(post(&node, &key("other"), event).await.status, 202);
}

#[tokio::test]
async fn keys_new_prints_a_working_key_and_a_block_without_its_secret() {
    let ran = node(&["keys", "new", "--id", "fresh", "--type", "bot"], &[]).await;
    assert!(ran.status.success(), "{ran:?}");
    let printed = format!("{}\n{}", ran.stdout, ran.stderr);
    let presented = printed
        .split(|char: char| char.is_whitespace() || char == '"')
        .find(|word| word.strip_prefix("fresh.").is_some_and(|secret| secret.len() >= 32))
        .unwrap_or_else(|| panic!("no key in {printed}"));
    let block = printed
        .find("[[keys]]")
        .map(|at| &printed[at..])
        .expect("a [[keys]] block");
    assert!(!block.contains(presented));
    let node = Setup::new().file(block).start().await;
    V1Client::session(&node, "bot", presented).await;
}
