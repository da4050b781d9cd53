//! What a process has used, as the kernel counts it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::unistd::{SysconfVar, sysconf};

/// CPU time and memory of a process at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    /// User and system time of all its threads, in steps of a clock tick (10 ms).
    pub(super) cpu: Duration,
    /// Resident memory in KiB. What the kernel holds for its sockets is not in it.
    pub(super) resident_kib: u32,
}

impl Usage {
    /// Reads `/proc/<pid>/stat` and `/proc/<pid>/status`.
    pub(super) fn of(pid: u32) -> Result<Self> {
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))
        };
        let stat = read("stat")?;
        // The name before it may hold blanks; user and system time are the 12th and 13th field after it.
        let fields = stat.rsplit_once(')').context("a stat line without a name")?.1;
        let ticks: u64 = fields
            .split_ascii_whitespace()
            .skip(11)
            .take(2)
            .map(str::parse::<u64>)
            .sum::<Result<_, _>>()
            .context("a time in a stat line")?;
        let per_second = sysconf(SysconfVar::CLK_TCK)?.context("no clock tick")?;
        let tick_us = 1_000_000 / u64::try_from(per_second)?;
        let status = read("status")?;
        let resident_kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_ascii_whitespace().next())
            .context("no VmRSS")?
            .parse()?;
        Ok(Self {
            cpu: Duration::from_micros(ticks * tick_us),
            resident_kib,
        })
    }

    /// CPU microseconds used since `earlier`.
    pub(super) fn cpu_us_since(&self, earlier: &Self) -> f64 {
        self.cpu.saturating_sub(earlier.cpu).as_secs_f64() * 1e6
    }

    /// KiB by which resident memory has grown since `earlier`; negative where it has shrunk.
    pub(super) fn kib_since(&self, earlier: &Self) -> f64 {
        f64::from(self.resident_kib) - f64::from(earlier.resident_kib)
    }
}
