//! SIGHUP says what has changed, and what needs a restart.

use std::fs;

use gateway_harness::{Setup, full_setup};
use nix::sys::signal::Signal;

#[tokio::test]
async fn a_reload_names_what_was_added_and_removed_and_what_waits_for_a_restart() {
    let node = full_setup().start().await;
    let text = fs::read_to_string(node.file()).unwrap();
    let changed = text
        .replace("id = \"bot\"", "id = \"late\"")
        .replace("name = \"site_only\"", "name = \"moved\"");
    assert_ne!(changed, text);
    let changed = format!("[session]\nidentify_timeout_ms = 12345\n[log]\nformat = \"text\"\n{changed}");
    fs::write(node.file(), &changed).unwrap();
    node.signal(Signal::SIGHUP);
    node.logged("configuration reloaded keys=").await;
    let log = node.log();
    for line in [
        "the configuration has changed what=keys added=late removed=bot",
        "the configuration has changed what=events added=moved removed=site_only",
        "changed settings take effect after a restart settings=session.identify_timeout_ms",
    ] {
        assert!(log.contains(line), "{line} is not in {log}");
    }
    // Nothing has changed since, but the setting still waits.
    node.signal(Signal::SIGHUP);
    gateway_harness::eventually("the second reload", async || {
        (node.log().matches("configuration reloaded").count() == 2).then_some(())
    })
    .await;
    let log = node.log();
    assert_eq!(log.matches("the configuration has changed").count(), 2, "{log}");
    assert_eq!(log.matches("take effect after a restart").count(), 2, "{log}");
}

#[tokio::test]
async fn a_variable_with_one_underscore_is_warned_of() {
    let node = Setup::new()
        .variable("UTILBOT_LIMITS_MESSAGE_BYTES", "100")
        .start()
        .await;
    let line = "WARN reload configuration: UTILBOT_LIMITS_MESSAGE_BYTES in the environment: expected \
                UTILBOT__LIMITS__MESSAGE_BYTES, with two underscores";
    node.logged(line).await;
}
