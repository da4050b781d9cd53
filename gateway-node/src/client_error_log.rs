//! Counts and logs the errors of clients. The log is rate-limited, so that neither one client nor many can flood it.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use shared::session_id::SessionId;
use tokio::time::Instant;

use crate::metrics::Metrics;

/// How long a window lasts in which errors are counted together.
const WINDOW: Duration = Duration::from_secs(60);
/// How many errors of one address get a line of their own in a window.
const LINES_PER_ADDRESS: u32 = 5;
/// How many errors of all addresses get a line of their own in a window.
const LINES: u32 = 10;
/// How many addresses are counted in a window. Errors of any further address get no line.
const ADDRESSES: usize = 1024;
/// The log target of the lines. The name of this module would put the word "error" into every line.
const TARGET: &str = "gateway_node::clients";
/// The name of a fault of the node in the metrics.
pub const FAULT: &str = "internal fault";

/// Logs and counts the errors of clients. Clones share the counts.
#[derive(Clone, Default)]
pub struct ClientErrorLog {
    state: Arc<Mutex<ErrorLogState>>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct ErrorLogState {
    errors: ErrorWindow,
    /// Faults of the node. They are counted separately, so that no client can hide them behind its own errors.
    faults: ErrorWindow,
}

/// The errors since the last summary.
#[derive(Default)]
struct ErrorWindow {
    since: Option<Instant>,
    lines: u32,
    by_address: HashMap<IpAddr, u32>,
    left_out: BTreeMap<&'static str, u64>,
}

impl ClientErrorLog {
    /// Creates a log that counts errors in `metrics`.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            state: Arc::default(),
            metrics,
        }
    }

    /// Records an error of a client at `address`. `what` names the error in the log and in the metrics.
    pub fn note(&self, address: IpAddr, what: &'static str, now: Instant) {
        self.note_of(address, what, None, None, now);
    }

    /// Records an error of a client that may have a session, which identified with this key.
    pub fn note_of(
        &self,
        address: IpAddr,
        what: &'static str,
        session: Option<SessionId>,
        key: Option<&str>,
        now: Instant,
    ) {
        self.metrics.client_error(what);
        if self.with(|state| state.errors.takes_line(address, what, now)) {
            let session = session.map(|session| session.to_string());
            log::info!(
                target: TARGET,
                address:% = address,
                problem = what,
                session = session.as_deref(),
                key;
                "client problem"
            );
        }
    }

    /// Records a fault of the node: it could not serve a valid request of a client at `address`.
    pub fn fault(&self, address: IpAddr, cause: &dyn std::error::Error, now: Instant) {
        self.metrics.client_error(FAULT);
        if self.with(|state| state.faults.takes_line(address, FAULT, now)) {
            log::error!(target: TARGET, address:% = address, cause:% = cause; "internal fault");
        }
    }

    /// Ends each window that is a minute old, with one line that sums up the errors without a line of their own.
    pub fn summarise(&self, now: Instant) {
        self.end_windows(|since| now.saturating_duration_since(since) >= WINDOW);
    }

    /// Ends all windows. Call this before the node stops.
    pub fn finish(&self) {
        self.end_windows(|_| true);
    }

    fn end_windows(&self, is_over: impl Fn(Instant) -> bool) {
        let end = |window: &mut ErrorWindow| window.since.is_some_and(&is_over).then(|| window.end()).flatten();
        let (errors, faults) = self.with(|state| (end(&mut state.errors), end(&mut state.faults)));
        if let Some(Summary {
            left_out,
            addresses,
            causes,
        }) = errors
        {
            log::info!(target: TARGET, left_out, addresses; "more client problems: {causes}");
        }
        if let Some(Summary {
            left_out, addresses, ..
        }) = faults
        {
            log::error!(target: TARGET, left_out, addresses; "more internal faults");
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut ErrorLogState) -> T) -> T {
        act(&mut self.state.lock())
    }
}

/// What a window left out of the log.
#[derive(Debug, PartialEq, Eq)]
struct Summary {
    /// How many errors.
    left_out: u64,
    /// How many addresses had errors, including those whose errors got lines. At most [`ADDRESSES`] are counted.
    addresses: usize,
    /// How many of each cause, as text.
    causes: String,
}

impl ErrorWindow {
    /// Counts an error and returns whether it gets a line of its own.
    fn takes_line(&mut self, address: IpAddr, what: &'static str, now: Instant) -> bool {
        self.since.get_or_insert(now);
        let network = network(address);
        let is_counted = self.by_address.len() < ADDRESSES || self.by_address.contains_key(&network);
        if is_counted {
            let count = self.by_address.entry(network).or_default();
            *count = count.saturating_add(1);
            if *count <= LINES_PER_ADDRESS && self.lines < LINES {
                self.lines += 1;
                return true;
            }
        }
        *self.left_out.entry(what).or_default() += 1;
        false
    }

    /// Begins a new window. Returns what the old one left out of the log, or `None` if nothing.
    fn end(&mut self) -> Option<Summary> {
        let window = std::mem::take(self);
        let mut causes = String::new();
        for (cause, count) in &window.left_out {
            let comma = if causes.is_empty() { "" } else { ", " };
            // Writing to a string does not fail.
            let _ = write!(causes, "{comma}{count} {cause}");
        }
        (!causes.is_empty()).then(|| Summary {
            left_out: window.left_out.values().sum(),
            addresses: window.by_address.len(),
            causes,
        })
    }
}

/// Returns the network that counts as one client: the /64 of an IPv6 address, within which a client can choose its
/// address, or an IPv4 address itself.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(number))
    }

    /// Records an error of each address. Returns how many got a line.
    fn lines(window: &mut ErrorWindow, addresses: impl Iterator<Item = IpAddr>) -> usize {
        let now = Instant::now();
        addresses
            .filter(|&address| window.takes_line(address, "auth", now))
            .count()
    }

    #[test]
    fn a_flood_from_one_address_is_five_lines_and_one_number() {
        let mut window = ErrorWindow::default();
        assert_eq!(lines(&mut window, std::iter::repeat_n(address(1), 1000)), 5);
        assert_eq!(lines(&mut window, [address(2)].into_iter()), 1);
        assert!(!window.takes_line(address(1), "rate", Instant::now()));
        let summary = window.end().unwrap();
        assert_eq!((summary.left_out, summary.addresses), (996, 2));
        assert_eq!(summary.causes, "995 auth, 1 rate");
        assert_eq!(window.end(), None);
    }

    #[test]
    fn a_flood_from_many_addresses_is_ten_lines() {
        let mut window = ErrorWindow::default();
        assert_eq!(lines(&mut window, (0..2100).map(address)), 10);
        assert_eq!(window.by_address.len(), ADDRESSES);
        assert_eq!(window.end().unwrap().left_out, 2090);
    }

    #[test]
    fn a_window_without_more_errors_than_lines_has_no_summary() {
        let mut window = ErrorWindow::default();
        assert_eq!(lines(&mut window, (0..10).map(address)), 10);
        assert_eq!(window.end(), None);
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let mut window = ErrorWindow::default();
        let inside = (0..100_u128).map(|host| IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) | host)));
        assert_eq!(lines(&mut window, inside), 5);
        assert_eq!(lines(&mut window, ["2001:db8:0:1::1".parse().unwrap()].into_iter()), 1);
        let mapped = ["::ffff:1.2.3.4".parse().unwrap(), "1.2.3.4".parse().unwrap()];
        lines(&mut window, mapped.into_iter());
        assert_eq!(window.by_address.len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_summary_ends_each_minute_and_resets_the_line_limit() {
        let log = ClientErrorLog::default();
        for _ in 0..20 {
            log.note(address(1), "auth", Instant::now());
        }
        let left_out = || log.with(|state| state.errors.left_out.values().sum::<u64>());
        log.summarise(Instant::now());
        assert_eq!(left_out(), 15);
        tokio::time::advance(WINDOW).await;
        log.summarise(Instant::now());
        assert_eq!(left_out(), 0);
        assert!(log.with(|state| state.errors.takes_line(address(1), "auth", Instant::now())));
        log.finish();
        assert!(log.with(|state| state.errors.since.is_none()));
    }

    #[tokio::test(start_paused = true)]
    async fn errors_and_faults_are_counted_apart() {
        let log = ClientErrorLog::default();
        for number in 0..100 {
            log.note(address(number), "auth", Instant::now());
            log.fault(address(1), &std::fmt::Error, Instant::now());
        }
        assert_eq!(log.with(|state| (state.errors.lines, state.faults.lines)), (10, 5));
        for (reason, count) in [("auth", 100), (FAULT, 100)] {
            let reason = crate::metrics::ReasonLabel { reason };
            assert_eq!(log.metrics.client_errors.get_or_create(&reason).get(), count);
        }
    }
}
