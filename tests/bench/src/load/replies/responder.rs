//! What the measured systems have in common: a requester, and a responder on a thread of its own.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::super::latencies::Latencies;

/// How long a reply may take before the run fails.
pub(super) const ANSWER: Duration = Duration::from_secs(30);

/// The requester's side of a system. Requests are numbered from 0.
pub(super) trait Requester {
    /// Sends the request with this number.
    fn ask(&mut self, number: u64) -> Result<()>;

    /// Waits for replies, and passes the number of each to `each`.
    fn replies(&mut self, each: &mut dyn FnMut(u64)) -> Result<()>;
}

/// Sends `count` requests beginning with `first`, with at most `in_flight` of them waiting for their replies at any time. Adds
/// the time from each request to its reply to `latencies`.
pub(super) fn measure(
    requester: &mut dyn Requester,
    first: u64,
    count: u64,
    in_flight: u64,
    latencies: &mut Latencies,
) -> Result<()> {
    let mut sent = Vec::with_capacity(usize::try_from(count)?);
    let mut is_answered = vec![false; usize::try_from(count)?];
    let mut done = 0;
    while done < count {
        while (sent.len() as u64) < count && sent.len() as u64 - done < in_flight {
            requester.ask(first + sent.len() as u64)?;
            sent.push(Instant::now());
        }
        let mut wrong = None;
        requester.replies(&mut |number| {
            let place = number.checked_sub(first).and_then(|place| usize::try_from(place).ok());
            match place.and_then(|place| Some((sent.get(place)?, is_answered.get_mut(place)?))) {
                Some((since, is_answered)) if !*is_answered => {
                    *is_answered = true;
                    done += 1;
                    latencies.add(since.elapsed());
                }
                _ => wrong = Some(number),
            }
        })?;
        ensure!(
            wrong.is_none(),
            "a reply to request {wrong:?}, which is answered or was not sent"
        );
    }
    Ok(())
}
