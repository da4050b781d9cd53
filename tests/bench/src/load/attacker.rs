//! Misbehaving clients, in a low-priority process of their own so that they do not starve the node and the other
//! clients.

use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};

use super::gateway::beside;

/// Niceness of the attacker process.
const NICE: &str = "10";

/// A process of misbehaving clients. It is killed on drop.
pub(super) struct Attacker(Child);

impl Attacker {
    /// Starts the tool `name` again, with `arguments` that put it into attacker mode.
    pub(super) fn start(name: &str, arguments: &[String]) -> Result<Self> {
        let child = Command::new("nice")
            .args(["-n", NICE])
            .arg(beside(name)?)
            .args(arguments)
            .stdin(Stdio::null())
            .spawn()
            .context("starting `nice`")?;
        Ok(Self(child))
    }

    /// Returns whether the process has ended. It never ends on its own unless it fails.
    pub(super) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.0.try_wait()?.is_some())
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        // Both fail only if the process has ended and has been reaped.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
