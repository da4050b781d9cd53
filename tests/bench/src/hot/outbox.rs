//! Frames pushed to the outbox of an idle session. There is no socket, so each frame is queued for the driver.

use bytes::Bytes;
use gateway_node::transport::{Batch, Outbox, Push, text_frame};
use tokio::time::Instant;

use super::{
    data,
    step::{CALLS, each, step},
};

pub(super) fn push_frame() -> usize {
    step!((outbox: &Outbox, frame: Bytes, now: Instant) -> Push { outbox.push(frame, now) });
    let (frame, now) = (text_frame(data().as_bytes()), Instant::now());
    to_outboxes(|outbox| step(outbox, frame.clone(), now))
}

pub(super) fn deliver_frame() -> usize {
    step!((outbox: &Outbox, batch: &Batch, now: Instant) -> Push { outbox.deliver(batch, now) });
    let (batch, now) = (Batch::from(text_frame(data().as_bytes())), Instant::now());
    to_outboxes(|outbox| step(outbox, &batch, now))
}

pub(super) fn deliver_eight() -> usize {
    step!((outbox: &Outbox, batch: &Batch, now: Instant) -> Push { outbox.deliver(batch, now) });
    let frames = [0; 8].map(|_| text_frame(data().as_bytes()));
    let (batch, now) = (Batch::of(&frames), Instant::now());
    to_outboxes(|outbox| step(outbox, &batch, now))
}

/// Calls `give` with one empty outbox after the other.
fn to_outboxes(give: impl Fn(&Outbox) -> Push) -> usize {
    let outboxes: Vec<_> = (0..CALLS).map(|_| Outbox::new(1 << 20)).collect();
    each(&outboxes, give, |push| *push == Push::Taken)
}
