//! What the driver has for the session actor, in the order in which it happened.

use std::{
    cell::RefCell,
    collections::VecDeque,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use futures_util::Stream;

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
#[derive(Debug, Clone, Default)]
pub struct Inbox(Rc<RefCell<State>>);

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Inbound>,
    ended: bool,
}

impl Inbox {
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

impl Stream for Inbox {
    type Item = Inbound;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Inbound>> {
        let mut state = self.0.borrow_mut();
        match state.queue.pop_front() {
            Some(inbound) => {
                if state.queue.is_empty() {
                    // A session at rest holds no buffer.
                    state.queue = VecDeque::new();
                }
                Poll::Ready(Some(inbound))
            }
            None if state.ended => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}
