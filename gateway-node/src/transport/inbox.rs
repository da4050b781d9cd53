//! The queue from the driver to the session actor.

use std::{
    cell::RefCell,
    collections::VecDeque,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use futures_util::Stream;
use tokio::time::Instant;

use super::{Message, Violation};

/// What a session receives from its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inbound {
    /// A complete message.
    Message(Message),
    /// The peer broke a rule of the transport. The session has to close; it may send a final frame before.
    Violation(Violation),
    /// The peer reads too slowly. The session has to close; it may send a final frame before.
    TooSlow,
    /// The outbox is empty. Sent once for each request by `Outbox::tell_when_drained`.
    Drained,
    /// The peer sent a close frame, with this code if it had one.
    Gone(Option<u16>),
    /// The connection ended without a close frame.
    Lost,
}

/// The stream of a session actor's input.
///
/// The driver fills the inbox and polls the actor in the same turn, so the inbox needs no waker. The driver reads no
/// more while the inbox is not empty, so one read bounds it.
///
/// A session that receives too much pauses its inbox. During the pause the driver does not read, and messages that are
/// already in the inbox stay there. Everything else in the session continues.
#[derive(Debug, Clone, Default)]
pub struct Inbox(Rc<RefCell<InboxState>>);

#[derive(Debug, Default)]
struct InboxState {
    queue: VecDeque<Inbound>,
    ended: bool,
    /// When the bytes of its messages were read, as [`Inbox::set_read_at`] has it.
    read_at: u32,
    /// The end of the pause, if the inbox is paused. Boxed, because almost no session ever pauses.
    paused: Option<Box<Instant>>,
}

impl Inbox {
    /// Holds back messages until `until`. Never shortens a pause.
    pub fn pause_until(&self, until: Instant) {
        let paused = &mut self.0.borrow_mut().paused;
        if paused.as_deref().is_none_or(|known| *known < until) {
            *paused = Some(Box::new(until));
        }
    }

    /// Returns the end of the pause if that is later than `now`. Clears a pause that is over.
    pub(super) fn paused_until(&self, now: impl FnOnce() -> Instant) -> Option<Instant> {
        let paused = &mut self.0.borrow_mut().paused;
        let until = paused.as_deref().copied()?;
        if until <= now() {
            *paused = None;
            return None;
        }
        Some(until)
    }

    /// Records when bytes were read, in microseconds after a time that the driver knows, modulo 2^32.
    pub(super) fn set_read_at(&self, micros: u32) {
        self.0.borrow_mut().read_at = micros;
    }

    /// Returns when bytes were last read.
    pub(super) fn read_at(&self) -> u32 {
        self.0.borrow().read_at
    }

    /// Appends `inbound`.
    pub(super) fn push(&self, inbound: Inbound) {
        self.0.borrow_mut().queue.push_back(inbound);
    }

    /// Ends the stream after what is already queued.
    pub(super) fn end(&self) {
        self.0.borrow_mut().ended = true;
    }

    /// Whether the actor has taken everything.
    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().queue.is_empty()
    }
}

impl InboxState {
    /// Takes what the session receives next. During a pause only what does not come from the peer; the rest waits in
    /// order.
    fn next(&mut self) -> Option<Inbound> {
        if self.paused.is_none() {
            return self.queue.pop_front();
        }
        let is_own = |inbound: &Inbound| matches!(inbound, Inbound::TooSlow | Inbound::Drained);
        let index = self.queue.iter().position(is_own)?;
        self.queue.remove(index)
    }
}

impl Stream for Inbox {
    type Item = Inbound;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Inbound>> {
        let mut state = self.0.borrow_mut();
        match state.next() {
            Some(inbound) => {
                if state.queue.is_empty() {
                    // An idle session holds no buffer.
                    state.queue = VecDeque::new();
                }
                Poll::Ready(Some(inbound))
            }
            None if state.ended && state.queue.is_empty() => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}
