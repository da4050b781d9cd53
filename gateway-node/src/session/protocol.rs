//! The seam between what a protocol decides and what a session does.

use std::{net::IpAddr, pin::Pin, rc::Rc, sync::Arc};

use bytes::Bytes;
use shared::{close::Close, v1::Report};
use smallvec::SmallVec;
use tokio::time::Instant;

use super::Services;
use crate::{
    auth::Key,
    backplane::{Owner, Publication, PublishError},
    encode::LogCursor,
    registry::{EndReason, InjectedFault, Registration, Subscription},
    transport::{Message, Violation},
};

/// What is to be done, in order. `Q` is what the protocol asks.
pub type Actions<Q> = SmallVec<[Action<Q>; 2]>;

/// One thing that a protocol wants done.
#[derive(Debug)]
pub enum Action<Q> {
    /// Send this frame.
    Send(Bytes),
    /// Find something out. Answered by [`Protocol::on_result`]; until then what the client sends waits.
    Ask(Q),
    /// Make the session a receiver of version 1.
    Register(Box<Registration>),
    /// Say which Discord session this is.
    Attach(Owner, Arc<Key>),
    /// Make a Discord session a receiver. Answered by [`Protocol::subscribed`] at once.
    Subscribe(Box<Subscription>),
    /// Have nothing more delivered to a Discord session.
    Unsubscribe,
    /// The same, and say how far its shard has brought it. Answered by [`Protocol::paused`] at once.
    Pause,
    /// Say how far its shard has brought a Discord session. Answered by [`Protocol::located`] at once.
    Locate,
    /// Say when nothing waits for the client any more. Answered by [`Protocol::drained`].
    Drain,
    /// Replace what this bot manages.
    Report(Report),
    /// Publish an event. Answered by [`Protocol::published`].
    Publish(Publication),
    /// Send the last words, if any, and close. Nothing follows.
    Close {
        /// One frame that says why.
        last_words: Option<Bytes>,
        /// The close code and reason.
        close: Close,
        /// What the log calls it, where the client is to blame.
        problem: Option<&'static str>,
    },
    /// Cut the connection without a word. Nothing follows.
    Cut,
    /// Take no message until then: the client has sent too much. Timers, orders and what is to be sent go on.
    StopReading {
        /// When the next message is taken.
        until: Instant,
    },
    /// Count a packet that was dropped silently.
    Drop(&'static str),
    /// Count a payload that was understood.
    Count,
}

/// Why a session ends, when its protocol did not decide so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEnd {
    /// The peer broke a rule of the transport.
    Violation(Violation),
    /// The peer reads too slowly.
    TooSlow,
    /// The node ends it.
    ByNode(EndReason),
}

/// What the answer to a question is asked of.
#[derive(Clone)]
pub struct CallContext {
    /// What the sessions of the worker ask others for.
    pub services: Rc<Services>,
    /// Where the client is.
    pub address: IpAddr,
}

/// An answer that may take a while, on this worker.
pub type PendingCall<T> = Pin<Box<dyn Future<Output = T>>>;

/// A state machine that turns what happens into [`Action`]s.
///
/// After [`Action::Close`] it is told nothing more.
pub trait Protocol: Unpin + 'static {
    /// What it has others find out.
    type Call: 'static;
    /// What they say.
    type CallResult: 'static;

    /// Finds an answer.
    fn call(call: Self::Call, cx: CallContext) -> PendingCall<Self::CallResult>;

    /// The socket is open.
    fn open(&mut self, now: Instant) -> Actions<Self::Call>;

    /// A message has arrived.
    fn receive(&mut self, message: Message, now: Instant) -> Actions<Self::Call>;

    /// The [`deadline`](Self::deadline) may have come. Called late after a stall, but never twice for one.
    fn tick(&mut self, now: Instant) -> Actions<Self::Call>;

    /// When it has to be told the time next.
    fn deadline(&self) -> Option<Instant>;

    /// The answer to [`Action::Ask`].
    fn on_result(&mut self, answer: Self::CallResult, now: Instant) -> Actions<Self::Call>;

    /// The answer to [`Action::Publish`] of the event `name`.
    fn published(&mut self, name: Arc<str>, answer: Result<(), PublishError>) -> Actions<Self::Call>;

    /// The session has to end: what is there to say?
    fn end(&mut self, ending: SessionEnd, now: Instant) -> Actions<Self::Call>;

    /// An administrator wants to see how the client copes.
    fn inject(&mut self, fault: InjectedFault, now: Instant) -> Actions<Self::Call>;

    /// The answer to [`Action::Subscribe`]: false where the shard has come further than the session.
    fn subscribed(&mut self, is_receiver: bool, now: Instant) -> Actions<Self::Call> {
        let _ = (is_receiver, now);
        Actions::new()
    }

    /// The answer to [`Action::Drain`].
    fn drained(&mut self, now: Instant) -> Actions<Self::Call> {
        let _ = now;
        Actions::new()
    }

    /// The answer to [`Action::Locate`]: every entry up to there it has got or did not want.
    fn located(&mut self, place: Option<LogCursor>, now: Instant) -> Actions<Self::Call> {
        let _ = (place, now);
        Actions::new()
    }

    /// The answer to [`Action::Pause`]: every entry up to there the session has got or did not want, and it gets no more.
    fn paused(&mut self, place: Option<LogCursor>, now: Instant) -> Actions<Self::Call> {
        let _ = (place, now);
        Actions::new()
    }

    /// The client has gone, with the code of its Close if it has sent one.
    fn gone(&mut self, code: Option<u16>) {
        let _ = code;
    }
}
