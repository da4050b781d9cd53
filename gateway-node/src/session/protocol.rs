//! The seam between what a protocol decides and what a session does.

use std::{net::IpAddr, pin::Pin, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use shared::{close::Close, idempotency_key::IdempotencyKey, job::JobDelivery, v1::Report};
use smallvec::SmallVec;
use tokio::time::Instant;

use super::{cx::Cx, worker_state::WorkerState};
use crate::{
    auth::{Key, SessionTicket},
    backplane::{Owner, Position, Publication, PublishError, Published, Reply, Settlement, Unavailable},
    registry::{EndReason, InjectedFault, OpenRequest, Registration, SessionDetails},
    requests::RequestError,
    transport::{Message, Violation},
};

/// The actions of one turn, in order. `C` is what the protocol can [`Call`](Action::Call).
pub type Actions<C> = SmallVec<[Action<C>; 2]>;

/// One thing that a protocol wants done.
#[derive(Debug)]
pub enum Action<C> {
    /// Sends this frame.
    Send(Bytes),
    /// Sends this frame, the answer to a heartbeat.
    Heartbeat(Bytes),
    /// Waits for something outside of the session. The result goes to [`Protocol::on_result`]; until then messages of
    /// the client wait.
    Call(C),
    /// Registers a version 1 session, which receives events from then on.
    Register(Box<Registration>),
    /// Records the library that the client says it is.
    NameLibrary(String),
    /// Registers a Discord session, which receives nothing before [`Cx::subscribe`].
    Attach(Owner, Arc<Key>),
    /// Calls [`Protocol::drained`] once nothing waits for the client.
    Drain,
    /// Replaces the report of this bot, or the guilds that this session of another type watches. The result goes to
    /// [`Protocol::reported`].
    Report {
        /// The report; of a session that is no bot only the guilds matter.
        report: Report,
        /// Identifies the report in [`Protocol::reported`]. Several reports can have the number 0.
        number: u64,
        /// How long the result is awaited. A report that takes longer takes effect all the same.
        patience: Duration,
    },
    /// Replaces the ticket of this session.
    Renew(Arc<SessionTicket>),
    /// Publishes an event. The result goes to [`Protocol::published`].
    Publish {
        /// The event.
        publication: Publication,
        /// Its idempotency key, in the namespace of the session's API key.
        key: Option<IdempotencyKey>,
        /// Identifies the event in [`Protocol::published`]. Several events can have the number 0.
        number: u64,
    },
    /// Sends a request. The outcome goes to [`Protocol::answered`].
    Request {
        /// The request as an event.
        event: Publication,
        /// How long to wait for the reply.
        timeout: Duration,
        /// Identifies the request in [`Protocol::answered`].
        number: u64,
    },
    /// Ends a delivery of a job. The result goes to [`Protocol::settled`].
    Settle {
        /// The delivery.
        delivery: JobDelivery,
        /// What the worker says about the job.
        settlement: Settlement,
        /// Identifies the packet in [`Protocol::settled`]. Several packets can have the number 0.
        number: u64,
    },
    /// Answers a request that this session has received.
    Reply(OpenRequest, Reply),
    /// Sends the last words, if any, and closes. No action follows.
    Close {
        /// One frame that says why.
        last_words: Option<Bytes>,
        /// The close code and reason.
        close: Close,
        /// The name of the client's error in the log, if the client is to blame.
        problem: Option<&'static str>,
    },
    /// Cuts the connection without another byte. No action follows.
    Cut,
    /// Takes no message until then, because the client has sent too much. Timers, commands and outgoing frames go on.
    StopReading {
        /// When the next message is taken.
        until: Instant,
    },
    /// Counts a packet that was dropped without an answer, under this reason.
    Drop(&'static str),
    /// Counts a session that has caught up, or has missed events that the log no longer has.
    CountCatchUp {
        /// Whether it has everything that it missed.
        is_complete: bool,
    },
    /// Counts a resume that is over, by its result.
    CountResume(&'static str),
    /// Counts an event that was refused because it is faulty.
    Refuse,
    /// Counts a valid payload.
    Count,
}

/// Why a session ends if its protocol did not decide so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEnd {
    /// The peer broke a rule of the transport.
    Violation(Violation),
    /// The peer reads too slowly.
    TooSlow,
    /// The node ends it.
    ByNode(EndReason),
}

/// What a call has at hand.
#[derive(Clone)]
pub struct CallContext {
    /// What the sessions of the worker share.
    pub worker: Rc<WorkerState>,
    /// The address of the client.
    pub address: IpAddr,
}

/// A call under way on this worker.
pub type PendingCall<T> = Pin<Box<dyn Future<Output = T>>>;

/// A state machine without I/O that turns what happens into [`Action`]s.
///
/// What it needs at once it takes from [`Cx`]: the time, and its subscription to the log. No method is called after
/// [`Action::Close`] or [`Action::Cut`].
pub trait Protocol: Unpin + 'static {
    /// Its name in the log.
    const NAME: &'static str;

    /// What it waits for.
    type Call: 'static;
    /// What comes of it.
    type CallResult: 'static;

    /// Runs a call.
    fn call(call: Self::Call, cx: CallContext) -> PendingCall<Self::CallResult>;

    /// Returns whether a call resumes a session.
    fn is_resume(call: &Self::Call) -> bool {
        let _ = call;
        false
    }

    /// Handles the beginning of the connection.
    fn open(&mut self, cx: &Cx<'_>) -> Actions<Self::Call>;

    /// Handles a message of the client.
    fn receive(&mut self, message: Message, cx: &Cx<'_>) -> Actions<Self::Call>;

    /// Handles the passing of time. Called at its [`deadline`](Self::deadline), late after a stall, and sometimes
    /// early.
    fn tick(&mut self, cx: &Cx<'_>) -> Actions<Self::Call>;

    /// Returns when [`tick`](Self::tick) has to be called next.
    fn deadline(&self) -> Option<Instant>;

    /// Handles the result of an [`Action::Call`].
    fn on_result(&mut self, result: Self::CallResult, cx: &Cx<'_>) -> Actions<Self::Call>;

    /// Handles the result of an [`Action::Publish`] of the event `name`, which had this number.
    fn published(&mut self, name: &str, number: u64, result: Result<Published, PublishError>) -> Actions<Self::Call>;

    /// Handles the result of an [`Action::Report`], which had this number: the position of the log after which the
    /// report is in effect.
    fn reported(&mut self, number: u64, result: Result<Position, Unavailable>, cx: &Cx<'_>) -> Actions<Self::Call> {
        let _ = (number, result, cx);
        Actions::new()
    }

    /// Handles the result of an [`Action::Settle`], which had this number: whether the receipt was good.
    fn settled(&mut self, number: u64, result: Result<bool, Unavailable>) -> Actions<Self::Call> {
        let _ = (number, result);
        Actions::new()
    }

    /// Handles the outcome of an [`Action::Request`] of the event `name`, which had this number.
    fn answered(&mut self, name: &str, number: u64, outcome: Result<Arc<str>, RequestError>) -> Actions<Self::Call> {
        let _ = (name, number, outcome);
        Actions::new()
    }

    /// Ends the session, in the words of the protocol.
    fn end(&mut self, end: SessionEnd, cx: &Cx<'_>) -> Actions<Self::Call>;

    /// Injects a fault, so that an administrator can see how the client copes.
    fn inject(&mut self, fault: InjectedFault, cx: &Cx<'_>) -> Actions<Self::Call>;

    /// Handles the end of an [`Action::Drain`].
    fn drained(&mut self, cx: &Cx<'_>) -> Actions<Self::Call> {
        let _ = cx;
        Actions::new()
    }

    /// Fills in what only the protocol knows about the session: its version, encoding, compression and subscriptions.
    /// Returns when the last heartbeat came, or the connection was opened if there was none.
    fn describe(&self, details: &mut SessionDetails) -> Option<Instant>;

    /// Records that the client has gone, with the code of its Close if it has sent one.
    fn gone(&mut self, code: Option<u16>) {
        let _ = code;
    }
}
