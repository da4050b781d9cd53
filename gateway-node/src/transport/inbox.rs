//! What the driver has for the session actor, in the order in which it happened.

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

/// What a session is told by its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inbound {
    /// A whole message.
    Message(Message),
    /// The peer broke a rule of the transport. The session says its last words and closes.
    Violation(Violation),
    /// The peer reads too slowly. The session says its last words and closes.
    TooSlow,
    /// Nothing waits for the peer any more; told once, when the session has asked for it.
    Drained,
    /// The peer closed, with the code of its close frame, or `None` where it sent none or just went away.
    Gone(Option<u16>),
}

/// The stream that a session actor listens to.
///
/// The driver fills it and polls the actor in the same turn, so that it needs no waker, and it reads no more while
/// something is left, so that it is bounded by one read.
///
/// A session that has got too much for now pauses its inbox: until then messages stay where they are, even those that
/// are already here, and the driver reads nothing. The session goes on with everything else.
#[derive(Debug, Clone, Default)]
pub struct Inbox(Rc<RefCell<InboxState>>);

#[derive(Debug, Default)]
struct InboxState {
    queue: VecDeque<Inbound>,
    ended: bool,
    /// Until when no message is handed out. Boxed, since almost no session ever has one.
    paused: Option<Box<Instant>>,
}

impl Inbox {
    /// Hands out no message until then.
    pub fn pause_until(&self, until: Instant) {
        let paused = &mut self.0.borrow_mut().paused;
        if paused.as_deref().is_none_or(|known| *known < until) {
            *paused = Some(Box::new(until));
        }
    }

    /// Until when no message is handed out, if that is later than `now`. Ends a pause that is over.
    pub(super) fn paused_until(&self, now: impl FnOnce() -> Instant) -> Option<Instant> {
        let paused = &mut self.0.borrow_mut().paused;
        let until = paused.as_deref().copied()?;
        if until <= now() {
            *paused = None;
            return None;
        }
        Some(until)
    }

    /// Appends what happened.
    pub(super) fn push(&self, inbound: Inbound) {
        self.0.borrow_mut().queue.push_back(inbound);
    }

    /// Nothing more will happen.
    pub(super) fn end(&self) {
        self.0.borrow_mut().ended = true;
    }

    /// Whether the actor has taken everything.
    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().queue.is_empty()
    }
}

impl InboxState {
    /// What the session is to be told next. During a pause only what is not from the peer: the rest waits in its order.
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
                    // A session at rest holds no buffer.
                    state.queue = VecDeque::new();
                }
                Poll::Ready(Some(inbound))
            }
            None if state.ended && state.queue.is_empty() => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}
