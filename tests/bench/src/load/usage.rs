//! CPU time and memory of a process, as counted by the kernel.

use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::{
    time::{clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};

/// CPU time and memory of a process at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    /// User and system time of all threads.
    pub(super) cpu: Duration,
    /// Resident memory in KiB, without the kernel's socket buffers.
    pub(super) resident_kib: u32,
}

impl Usage {
    /// Reads the CPU clock of the process and `/proc/<pid>/status`.
    pub(super) fn of(pid: u32) -> Result<Self> {
        let clock =
            clock_getcpuclockid(Pid::from_raw(i32::try_from(pid)?)).context("getting the CPU clock of a process")?;
        let cpu = clock_gettime(clock).context("reading the CPU clock of a process")?;
        let path = format!("/proc/{pid}/status");
        let status = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        let resident_kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_ascii_whitespace().next())
            .context("the process status has no VmRSS")?
            .parse()?;
        Ok(Self {
            cpu: cpu.into(),
            resident_kib,
        })
    }

    /// Returns the CPU time used since `earlier`, in microseconds.
    pub(super) fn cpu_us_since(&self, earlier: &Self) -> f64 {
        self.cpu.saturating_sub(earlier.cpu).as_secs_f64() * 1e6
    }

    /// Returns the growth of resident memory since `earlier`, in KiB. Negative if it has shrunk.
    pub(super) fn kib_since(&self, earlier: &Self) -> f64 {
        f64::from(self.resident_kib) - f64::from(earlier.resident_kib)
    }
}
