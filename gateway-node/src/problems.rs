//! What peers did wrong, logged so that no peer can flood the log.
//!
//! The first few problems of an address in a minute are lines of their own; the rest is one line with their number.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How long the problems of an address are counted together.
const WINDOW: Duration = Duration::from_secs(60);

/// How many problems of an address are lines of their own.
const LINES: u32 = 5;

/// How many addresses are told apart; what comes from any other is counted together.
const ADDRESSES: usize = 1024;

/// The problems of the last minute, by address. Clones are the same.
#[derive(Clone, Default)]
pub struct Problems(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    by_address: HashMap<IpAddr, Window>,
    others: u64,
}

struct Window {
    since: Instant,
    count: u32,
}

impl Problems {
    /// Notes that a client at `address` did `what`.
    pub fn note(&self, address: IpAddr, what: &str, now: Instant) {
        if self.is_worth_a_line(address, now) {
            log::info!(address:% = address, problem = what; "client problem");
        }
    }

    /// Notes that the node could not do what a client at `address` may ask for.
    pub fn fault(&self, address: IpAddr, cause: &dyn std::error::Error, now: Instant) {
        if self.is_worth_a_line(address, now) {
            log::error!(address:% = address, cause:% = cause; "internal fault");
        }
    }

    fn is_worth_a_line(&self, address: IpAddr, now: Instant) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.by_address.contains_key(&address) && state.by_address.len() >= ADDRESSES {
            state.others += 1;
            return false;
        }
        let window = state
            .by_address
            .entry(address)
            .or_insert(Window { since: now, count: 0 });
        window.count += 1;
        window.count <= LINES
    }

    /// Ends the windows that are over, one line for each that left something out.
    pub fn summarise(&self, now: Instant) -> Vec<(IpAddr, u32)> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left_out = Vec::new();
        state.by_address.retain(|address, window| {
            let over = now.saturating_duration_since(window.since) >= WINDOW;
            if over && window.count > LINES {
                left_out.push((*address, window.count - LINES));
            }
            !over
        });
        for (address, count) in &left_out {
            log::info!(address:% = address, left_out = *count; "more client problems");
        }
        if state.others > 0 {
            log::info!(left_out = state.others; "more client problems of other addresses");
            state.others = 0;
        }
        left_out
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_becomes_one_number() {
        let problems = Problems::default();
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        for _ in 0..1000 {
            problems.note(address, "wrong auth key", Instant::now());
        }
        assert_eq!(problems.summarise(Instant::now()), []);
        tokio::time::advance(WINDOW).await;
        assert_eq!(problems.summarise(Instant::now()), [(address, 995)]);
        assert_eq!(problems.summarise(Instant::now()), []);
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_without_end_take_no_memory_without_end() {
        let problems = Problems::default();
        for address in 0..10_000_u32 {
            problems.note(IpAddr::V4(Ipv4Addr::from(address)), "rate", Instant::now());
        }
        let state = problems.0.lock().unwrap();
        assert_eq!(
            (state.by_address.len(), state.others),
            (ADDRESSES, 10_000 - ADDRESSES as u64)
        );
    }
}
