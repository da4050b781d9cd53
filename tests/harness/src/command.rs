//! Programs that a test runs: the gateway's own binary and the tools that `tests/run.sh` installs.

use std::{
    ffi::OsString,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::process::Command;

use super::deadline::within_time;

/// The result of a program.
#[derive(Debug)]
pub struct Ran {
    /// The exit status.
    pub status: ExitStatus,
    /// The standard output.
    pub stdout: String,
    /// The standard error.
    pub stderr: String,
}

/// Reads a variable of the test run's environment. Nothing else reads it.
#[allow(
    clippy::disallowed_methods,
    reason = "a test run has no configuration but what tests/run.sh exports"
)]
fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Returns the path of the gateway's binary: `UTILBOT_TEST_GATEWAY`, or the one that cargo built beside this test.
pub fn gateway() -> PathBuf {
    if let Some(path) = environment("UTILBOT_TEST_GATEWAY") {
        return path.into();
    }
    // target/debug/deps/suite-0123456789abcdef, or a tool: target/debug/faults
    let own = std::env::current_exe().expect("a program knows its own path");
    let folders = own.ancestors().skip(1).take(2);
    let mut candidates = folders.map(|folder| folder.join("gateway-node"));
    candidates.find(|built| built.is_file()).unwrap_or_else(|| {
        panic!(
            "no gateway-node above {}; run: cargo build -p gateway-node (or set UTILBOT_TEST_GATEWAY)",
            own.display()
        )
    })
}

/// Returns the path of the gateway's binary that is built without its optional features.
pub fn gateway_without_features() -> PathBuf {
    let name = "UTILBOT_TEST_GATEWAY_WITHOUT_FEATURES";
    environment(name)
        .unwrap_or_else(|| {
            panic!("{name} is not set; `tests/run.sh` builds it: cargo build -p gateway-node --no-default-features")
        })
        .into()
}

/// Returns the value of a variable that `tests/tools.sh` exports. `what` describes it in the panic if it is not set.
pub fn tool(name: &str, what: &str) -> OsString {
    environment(name).unwrap_or_else(|| {
        panic!("{name} is not set ({what}); `tests/run.sh` installs it, or run: source tests/tools.sh")
    })
}

/// Returns the variable's value, or the bare name of a program to be found on the `PATH`.
pub(crate) fn tool_on_path(name: &str, program: &str) -> OsString {
    environment(name).unwrap_or_else(|| program.into())
}

/// Runs a program to its end. At the deadline it is killed, and this panics.
pub async fn run(command: &mut Command, deadline: Duration) -> Ran {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let name = format!("{:?}", command.as_std());
    let child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
    let output = within_time(&name, deadline, child.wait_with_output())
        .await
        .expect("the output of a child can be read");
    Ran {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
