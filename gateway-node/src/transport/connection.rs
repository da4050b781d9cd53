//! The driver of one connection: read (bounded) → poll the actor, always → write.
//!
//! A peer that does not read cannot freeze its session: the actor is polled whether or not the socket takes bytes, and
//! what waits for the peer is bounded by [`Limits::outbox_bytes`] and [`Limits::outbox_age`]. Every connection ends
//! the same way: last words and Close are flushed, FIN is sent, and what the peer still sends is read and
//! discarded until it closes too or [`Limits::linger`] has passed. A reset is only for a peer that takes no bytes.
//!
//! A peer that sends too much is not read for a while: when its session has paused the [`Inbox`], or when the frames that
//! reach no session exceed [`Limits::frames_per_minute`]. The actor is polled and what waits is written all the same.

use std::{
    cell::RefCell,
    future::Future,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    rc::Rc,
    task::{Context as TaskContext, Poll, ready},
};

use actix::{Actor, AsyncContext, StreamHandler, dev::ContextFut};
use bytes::Bytes;
use shared::close::Close;
use tokio::{
    io::ReadBuf,
    time::{Instant, Sleep, sleep_until},
};

use super::{
    Context, Inbound, Inbox, Limits, Outbox, Socket,
    decoder::{Decoded, Decoder},
    frame::pong_frame,
    frame_allowance::FrameAllowance,
};

/// The most that one turn reads while no long frame is under way: a peer that floods small frames gets its turn,
/// and so do the others.
const TURN_BYTES: usize = 4096;

/// The most that one turn reads of a long frame.
const SCRATCH_BYTES: usize = 65_536;

thread_local! {
    /// Lent to one connection at a time, so that a connection at rest holds no read buffer.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH_BYTES]);
}

/// One upgraded connection and the session actor that lives on it.
pub struct Connection<T, A>
where
    T: Socket,
    A: Actor<Context = Context<A>>,
{
    io: T,
    /// Shared by the connections of a worker.
    limits: Rc<Limits>,
    decoder: Decoder,
    /// Made with the first frame that is no message.
    frames: Option<Box<FrameAllowance>>,
    inbox: Inbox,
    outbox: Outbox,
    actor: Option<ContextFut<A, Context<A>>>,
    stage: ConnectionState,
    /// The peer sent Close, with this code. It is answered once the session has seen everything before it.
    peer_close: Option<PeerClose>,
    /// The peer went away without Close, or the socket broke.
    hung_up: bool,
    /// The socket did not take everything in the last turn, so that the outbox is in the node's pool.
    was_blocked: bool,
    /// Wakes the driver at the deadline of the stage, when the oldest byte gets too old, or when it may read again.
    alarm: Option<Pin<Box<Sleep>>>,
}

/// The close frame of a peer, and the code in it if there was one.
#[derive(Debug, Clone, Copy)]
struct PeerClose {
    code: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ConnectionState {
    Open,
    /// Close is queued; the peer has until then to take it.
    Closing {
        until: Instant,
    },
    /// FIN is sent; the peer has until then to close.
    Lingering {
        until: Instant,
    },
}

impl<T, A> Connection<T, A>
where
    T: Socket,
    A: Actor<Context = Context<A>> + StreamHandler<Inbound>,
{
    /// A connection over `io`, whose handshake left `unread` bytes and has `unsent` ones to go out first.
    /// `make` builds the session around the inbox that it can pause and the outbox that it is to use.
    pub fn new(
        io: T,
        unread: &[u8],
        unsent: Bytes,
        limits: impl Into<Rc<Limits>>,
        make: impl FnOnce(Inbox, Outbox) -> A,
    ) -> Self {
        let limits = limits.into();
        let inbox = Inbox::default();
        let outbox = Outbox::over(io.direct(), limits.outbox_bytes);
        outbox.begin_with(unsent, Instant::now());
        let actor = make(inbox.clone(), outbox.clone());
        let mut context = Context::new();
        context.add_stream(inbox.clone());
        let mut connection = Self {
            io,
            decoder: Decoder::new(limits.message_bytes),
            limits,
            frames: None,
            inbox,
            outbox,
            actor: Some(context.into_future(actor)),
            stage: ConnectionState::Open,
            peer_close: None,
            hung_up: false,
            was_blocked: false,
            alarm: None,
        };
        connection.take(unread);
        connection
    }

    /// One turn of an open connection.
    ///
    /// # Errors
    /// When the socket is broken or closed; the session has seen all that came before, and there is nobody left to tell.
    fn turn(&mut self, cx: &mut TaskContext<'_>) -> io::Result<()> {
        let was_paused = self.paused_until().is_some();
        let inbox_was_full = !self.inbox.is_empty();
        if !inbox_was_full && !was_paused {
            self.read(cx);
        }
        self.poll_actor(cx);
        let paused_until = self.paused_until();
        // What came before the end is still to be seen, as far as the session wants to see it now.
        if self.hung_up && (paused_until.is_none() || self.inbox.is_empty()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if self.outbox.is_aborted() {
            self.io.abort();
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        if inbox_was_full && self.inbox.is_empty() {
            cx.waker().wake_by_ref();
        }
        let mut blocked = self.outbox.poll_write(&mut self.io, cx)?.is_pending();
        if blocked || self.was_blocked {
            self.outbox.settle(&self.limits.outboxes, cx.waker());
            self.was_blocked = blocked;
        }
        if self.is_too_slow(blocked) {
            self.outbox.drop_unstarted();
            self.inbox.push(Inbound::TooSlow);
            self.poll_actor(cx);
            if !self.outbox.is_closed() {
                self.outbox.close(None, Close::TOO_SLOW, Instant::now());
            }
            blocked = self.outbox.poll_write(&mut self.io, cx)?.is_pending();
            self.outbox.settle(&self.limits.outboxes, cx.waker());
        }
        if self.outbox.take_drained() {
            self.inbox.push(Inbound::Drained);
            cx.waker().wake_by_ref();
        }
        if self.outbox.is_closed() {
            self.stage = ConnectionState::Closing {
                until: Instant::now() + self.limits.linger,
            };
        } else {
            let too_old = self.outbox.waiting_since().filter(|_| blocked);
            let too_old = too_old.map(|since| since + self.limits.outbox_age);
            match too_old.into_iter().chain(paused_until).min() {
                Some(deadline) => self.alarm_at(deadline, cx),
                None => self.alarm = None,
            }
        }
        Ok(())
    }

    /// Until when nothing is read, if that is later than now.
    fn paused_until(&mut self) -> Option<Instant> {
        let of_session = self.inbox.paused_until(Instant::now);
        let of_frames = self
            .frames
            .as_mut()
            .and_then(|frames| frames.paused_until(Instant::now));
        of_session.max(of_frames)
    }

    /// Reads what has arrived, up to one turn's worth, and decodes it.
    fn read(&mut self, cx: &mut TaskContext<'_>) {
        SCRATCH.with_borrow_mut(|scratch| {
            let missing = usize::try_from(self.decoder.missing()).unwrap_or(SCRATCH_BYTES);
            let mut budget = missing.clamp(TURN_BYTES, SCRATCH_BYTES);
            while !self.has_stopped_reading() {
                if budget == 0 {
                    cx.waker().wake_by_ref();
                    break;
                }
                let mut buffer = ReadBuf::new(&mut scratch[..budget]);
                match Pin::new(&mut self.io).poll_read(cx, &mut buffer) {
                    Poll::Pending => break,
                    Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                        budget -= buffer.filled().len();
                        self.take(buffer.filled());
                        if self.frames.is_some() && self.paused_until().is_some() {
                            break;
                        }
                    }
                    Poll::Ready(_) => {
                        self.hung_up = true;
                        self.inbox.push(Inbound::Gone(None));
                        self.inbox.end();
                    }
                }
            }
        });
    }

    /// Whether nothing more may be decoded: after a violation or a close the place in the stream means nothing.
    fn has_stopped_reading(&self) -> bool {
        self.hung_up || self.peer_close.is_some() || self.decoder.is_broken()
    }

    fn take(&mut self, mut bytes: &[u8]) {
        while !self.has_stopped_reading() {
            match self.decoder.decode(&mut bytes) {
                Ok(None) => break,
                Ok(Some(Decoded::Message(message))) => self.inbox.push(Inbound::Message(message)),
                Ok(Some(Decoded::Ping(payload))) => {
                    self.outbox.push(pong_frame(&payload), Instant::now());
                }
                Ok(Some(Decoded::Pong)) => {}
                Ok(Some(Decoded::Close(code))) => {
                    self.peer_close = Some(PeerClose { code });
                    self.inbox.push(Inbound::Gone(code));
                }
                Err(violation) => self.inbox.push(Inbound::Violation(violation)),
            }
        }
        let frames = self.decoder.take_extra_frames();
        if frames > 0
            && let Some(per_minute) = self.limits.frames_per_minute
        {
            let now = Instant::now();
            let allowance = self
                .frames
                .get_or_insert_with(|| Box::new(FrameAllowance::new(per_minute, now)));
            allowance.charge(frames, now);
        }
    }

    /// Lets the actor work through its inbox, its timers and its mailbox.
    fn poll_actor(&mut self, cx: &mut TaskContext<'_>) {
        self.outbox.register(cx.waker());
        let ended = match &mut self.actor {
            Some(actor) => {
                // A session that panics takes its own connection and nothing else, and its peer hears of it.
                let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(actor).poll(cx)));
                polled.map_or(true, |polled| polled.is_ready())
            }
            None => return,
        };
        let now = Instant::now();
        if let Some(PeerClose { code }) = self.peer_close.filter(|_| ended || self.inbox.is_empty()) {
            self.outbox.answer_close(code, now);
        }
        if ended {
            self.actor = None;
            // A session that closed said so; one that is gone without a word is an internal fault.
            self.outbox.close(None, Close::INTERNAL, now);
        } else if self.outbox.is_closed() {
            // The session has closed and leaves: dropping its future runs `stopping` and `stopped`.
            self.actor = None;
        }
    }

    fn is_too_slow(&self, blocked: bool) -> bool {
        if self.outbox.is_closed() {
            return false;
        }
        let too_old = || {
            let waiting = self.outbox.waiting_since().map(|since| since.elapsed());
            blocked && waiting.is_some_and(|waiting| waiting >= self.limits.outbox_age)
        };
        self.outbox.has_overflowed() || self.was_blocked && self.outbox.is_condemned() || too_old()
    }
}

impl<T, A> Connection<T, A>
where
    T: Socket,
    A: Actor<Context = Context<A>>,
{
    /// Asks to be polled at `deadline`.
    fn alarm_at(&mut self, deadline: Instant, cx: &mut TaskContext<'_>) {
        match &mut self.alarm {
            Some(alarm) if alarm.deadline() == deadline => {}
            Some(alarm) => alarm.as_mut().reset(deadline),
            None => self.alarm = Some(Box::pin(sleep_until(deadline))),
        }
        if let Some(alarm) = &mut self.alarm
            && alarm.as_mut().poll(cx).is_ready()
        {
            cx.waker().wake_by_ref();
        }
    }

    /// Reads and forgets; ready when the peer has closed.
    fn poll_discard(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                _ => Poll::Ready(()),
            }
        })
    }

    /// Flushes Close and sends FIN.
    fn poll_close(&mut self, until: Instant, cx: &mut TaskContext<'_>) -> Poll<()> {
        let sent = match self.outbox.poll_write(&mut self.io, cx) {
            Poll::Ready(Ok(())) => Pin::new(&mut self.io).poll_shutdown(cx),
            other => other,
        };
        match sent {
            Poll::Ready(Ok(())) => {
                self.stage = ConnectionState::Lingering { until };
                return Poll::Pending;
            }
            Poll::Ready(Err(_)) => return Poll::Ready(()),
            Poll::Pending => {}
        }
        // The peer may wait for room itself before it reads, so what it sends is taken off it. That it sends nothing
        // more does not mean that it reads nothing more.
        let _ = self.poll_discard(cx);
        if until <= Instant::now() {
            self.io.abort();
            return Poll::Ready(());
        }
        self.alarm_at(until, cx);
        Poll::Pending
    }
}

impl<T, A> Future for Connection<T, A>
where
    T: Socket,
    A: Actor<Context = Context<A>> + StreamHandler<Inbound>,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.stage == ConnectionState::Open && this.turn(cx).is_err() {
            return Poll::Ready(());
        }
        if let ConnectionState::Closing { until } = this.stage
            && this.poll_close(until, cx).is_ready()
        {
            return Poll::Ready(());
        }
        if let ConnectionState::Lingering { until } = this.stage {
            if this.poll_discard(cx).is_ready() || until <= Instant::now() {
                return Poll::Ready(());
            }
            this.alarm_at(until, cx);
        }
        Poll::Pending
    }
}

impl<T, A> Unpin for Connection<T, A>
where
    T: Socket,
    A: Actor<Context = Context<A>>,
{
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
