//! What the process uses, under the names that Prometheus' client libraries have in common.

use std::fs;

use nix::sys::resource::{Resource, getrlimit};
use prometheus_client::{
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

/// The unit of the CPU times in `/proc`, in ticks a second. The same on every Linux.
const TICKS: f64 = 100.0;

/// What the process uses now.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ProcessUse {
    /// CPU time in user and system mode, in seconds.
    pub cpu_seconds: f64,
    /// Memory, in bytes.
    pub resident_bytes: u64,
    /// Open file descriptors.
    pub open_descriptors: u64,
    /// The limit of open file descriptors.
    pub most_descriptors: u64,
    /// When the process started, in seconds since the Unix epoch.
    pub started: f64,
}

impl ProcessUse {
    /// Measures it. What the system does not tell is 0.
    pub fn now() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let system = fs::read_to_string("/proc/stat").unwrap_or_default();
        let descriptors = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        Self {
            open_descriptors: descriptors as u64,
            most_descriptors: getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft),
            ..Self::parse(&stat, &status, &system)
        }
    }

    /// Parses `/proc/self/stat`, `/proc/self/status` and `/proc/stat`.
    fn parse(stat: &str, status: &str, system: &str) -> Self {
        // The name of the program, in parentheses, may contain anything. The third field follows it.
        let fields: Vec<_> = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').collect();
        let ticks = |field: usize| {
            let ticks = fields.get(field - 3).and_then(|ticks| ticks.parse::<f64>().ok());
            ticks.unwrap_or(0.0) / TICKS
        };
        let number = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        let booted = number(system, "btime ");
        Self {
            cpu_seconds: ticks(14) + ticks(15),
            resident_bytes: number(status, "VmRSS:").unwrap_or(0) * 1024,
            #[allow(clippy::cast_precision_loss, reason = "seconds since 1970 are exact")]
            started: booted.map_or(0.0, |booted| booted as f64 + ticks(22)),
            ..Self::default()
        }
    }

    pub(super) fn register(self, registry: &mut Registry) {
        let gauge = |value: u64| ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(
            "cpu_seconds",
            "CPU time in user and system mode, in seconds",
            ConstCounter::new(self.cpu_seconds),
        );
        registry.register(
            "resident_memory_bytes",
            "Resident memory, in bytes",
            gauge(self.resident_bytes),
        );
        registry.register("open_fds", "Open file descriptors", gauge(self.open_descriptors));
        registry.register(
            "max_fds",
            "The limit of open file descriptors",
            gauge(self.most_descriptors),
        );
        registry.register(
            "start_time_seconds",
            "When the process started, in seconds since the Unix epoch",
            ConstGauge::new(self.started),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_proc_are_parsed() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 0 0 0 0 250 50 0 0 20 0 1 0 1234 0 0";
        let parsed = ProcessUse::parse(stat, "Name:\ta\nVmRSS:\t  2048 kB\n", "cpu 1\nbtime 1000\n");
        let expected = ProcessUse {
            cpu_seconds: 3.0,
            resident_bytes: 2048 * 1024,
            started: 1012.34,
            ..ProcessUse::default()
        };
        assert_eq!(parsed, expected);
        assert_eq!(ProcessUse::parse("", "", ""), ProcessUse::default());
    }

    #[test]
    fn this_process_uses_something() {
        let used = ProcessUse::now();
        assert!(
            used.resident_bytes > 0 && used.open_descriptors > 2 && used.started > 1e9,
            "{used:?}"
        );
        assert!(used.most_descriptors >= used.open_descriptors);
    }
}
