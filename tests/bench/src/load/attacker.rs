//! Clients that mean harm, in a process of their own that yields to the node and to everybody else.

use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};

use super::gateway::beside;

/// How much less of the processor the process gets than others that want it.
const NICE: &str = "10";

/// A process of attackers; killed when this is dropped.
pub(super) struct Attacker(Child);

impl Attacker {
    /// Starts the tool `name` once more, with arguments that make it the attacker.
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

    /// Whether it has ended, which it does not do by itself.
    pub(super) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.0.try_wait()?.is_some())
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        // Both fail only where it has ended and was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
