//! The driver of one connection: each turn reads (bounded), always polls the actor, then writes.
//!
//! A peer that does not read cannot freeze its session: the actor is polled even if the socket is not writable, and
//! [`Limits::outbox_bytes`] and [`Limits::outbox_age`] bound what waits for the peer. Every connection ends the same
//! way: the session's final frames and Close are flushed, FIN is sent, and further input is read and discarded until
//! the peer closes too or [`Limits::linger`] has passed. Only a peer that accepts no bytes is reset.
//!
//! The driver stops reading from a peer that sends too much: while its session has paused the [`Inbox`], or after
//! control and continuation frames, which never reach the session, have exceeded [`Limits::frames_per_minute`]. It
//! still polls the actor and writes.

use std::{
    cell::RefCell,
    future::Future,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    rc::Rc,
    task::{Context as TaskContext, Poll, ready},
    time::Duration,
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
    direct_writes::count_direct_writes,
    frame::pong_frame,
    frame_allowance::FrameAllowance,
};
use crate::metrics::WorkerCounter;

/// The most bytes that one turn reads outside a long frame, so that a peer that floods small frames cannot starve the
/// other connections of the worker.
const TURN_BYTES: usize = 4096;

/// The most bytes that one turn reads of a long frame.
const SCRATCH_BYTES: usize = 65_536;

thread_local! {
    /// The read buffer of this worker, lent to one connection at a time, so that an idle connection holds none.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH_BYTES]);
}

/// A WebSocket connection and its session actor.
pub struct Connection<T, A>
where
    T: Socket,
    A: Actor<Context = Context<A>>,
{
    io: T,
    /// Shared by the connections of a worker.
    limits: Rc<Limits>,
    decoder: Decoder,
    /// Created by the first control or continuation frame.
    frames: Option<Box<FrameAllowance>>,
    inbox: Inbox,
    outbox: Outbox,
    actor: Option<ContextFut<A, Context<A>>>,
    stage: ConnectionState,
    /// The close frame that the peer sent. It is answered once the session has received everything before it.
    peer_close: Option<PeerClose>,
    /// Whether the peer disconnected without Close, or the socket broke.
    hung_up: bool,
    /// Whether the socket did not accept everything in the last turn. The outbox is then in the node's pool.
    was_blocked: bool,
    /// Wakes the driver at the deadline of the stage, when the oldest byte gets too old, or when reading may resume.
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
    /// Close is queued. The peer has until `until` to accept it.
    Closing {
        until: Instant,
    },
    /// FIN has been sent. The peer has until `until` to close.
    Lingering {
        until: Instant,
    },
}

impl<T, A> Connection<T, A>
where
    T: Socket,
    A: Actor<Context = Context<A>> + StreamHandler<Inbound>,
{
    /// Creates a connection over `io`. `unread` are bytes that arrived after the handshake, and `unsent` are bytes of
    /// the handshake to send first. `make` creates the session from its inbox and its outbox.
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
        if !unread.is_empty() {
            connection.record_read(unread.len());
        }
        connection.take(unread);
        connection
    }

    /// Runs one turn of an open connection.
    ///
    /// # Errors
    /// If the socket is broken, closed or was aborted. The session has received everything before that, and the
    /// connection can be dropped.
    fn turn(&mut self, cx: &mut TaskContext<'_>) -> io::Result<()> {
        let was_paused = self.paused_until().is_some();
        let inbox_was_full = !self.inbox.is_empty();
        if !inbox_was_full && !was_paused {
            self.read(cx);
        }
        self.poll_actor(cx);
        let paused_until = self.paused_until();
        // The session first receives everything that arrived before the end. During a pause that has to wait.
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
        let mut blocked = self.write(cx)?.is_pending();
        if self.outbox.take_answered() {
            let waited = self.micros().wrapping_sub(self.inbox.read_at());
            self.limits
                .worker
                .heartbeat
                .observe(Duration::from_micros(waited.into()));
        }
        if blocked || self.was_blocked {
            self.outbox.settle(&self.limits.outboxes, cx.waker());
            self.was_blocked = blocked;
        }
        if let Some(evictions) = self.eviction(blocked) {
            evictions.add(1);
            self.outbox.drop_unstarted();
            self.inbox.push(Inbound::TooSlow);
            self.poll_actor(cx);
            if !self.outbox.is_closed() {
                self.outbox.close(None, Close::TOO_SLOW, Instant::now());
            }
            blocked = self.write(cx)?.is_pending();
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
        count_direct_writes(&self.limits.worker);
        Ok(())
    }

    /// Writes what is queued, as far as the socket takes it.
    fn write(&mut self, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        self.outbox.poll_write(&mut self.io, &self.limits.worker, cx)
    }

    /// Returns the time since [`Limits::began`] in microseconds, modulo 2^32.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "differences of such times are taken modulo 2^32"
    )]
    fn micros(&self) -> u32 {
        self.limits.began.elapsed().as_micros() as u32
    }

    /// Records that bytes were read now.
    fn record_read(&self, bytes: usize) {
        self.inbox.set_read_at(self.micros());
        self.limits.worker.bytes_in.add(bytes as u64);
    }

    /// Returns the time until which the socket is not read, or `None` if it may be read now.
    fn paused_until(&mut self) -> Option<Instant> {
        let of_session = self.inbox.paused_until(Instant::now);
        let of_frames = self
            .frames
            .as_mut()
            .and_then(|frames| frames.paused_until(Instant::now));
        of_session.max(of_frames)
    }

    /// Reads and decodes what has arrived, up to the bound of one turn.
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
                        self.record_read(buffer.filled().len());
                        self.take(buffer.filled());
                        if self.frames.is_some() && self.paused_until().is_some() {
                            break;
                        }
                    }
                    Poll::Ready(_) => {
                        self.hung_up = true;
                        self.inbox.push(Inbound::Lost);
                        self.inbox.end();
                    }
                }
            }
        });
    }

    /// Whether nothing more may be decoded: after a violation or a close frame, further bytes have no meaning.
    fn has_stopped_reading(&self) -> bool {
        self.hung_up || self.peer_close.is_some() || self.decoder.is_broken()
    }

    fn take(&mut self, mut bytes: &[u8]) {
        let mut messages = 0;
        while !self.has_stopped_reading() {
            match self.decoder.decode(&mut bytes) {
                Ok(None) => break,
                Ok(Some(Decoded::Message(message))) => {
                    messages += 1;
                    self.inbox.push(Inbound::Message(message));
                }
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
        self.limits.worker.frames_in.add(messages + u64::from(frames));
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

    /// Polls the actor, which handles its inbox, its timers and its mailbox.
    fn poll_actor(&mut self, cx: &mut TaskContext<'_>) {
        self.outbox.register(cx.waker());
        let ended = match &mut self.actor {
            Some(actor) => {
                // A panic ends only this session's connection, and the peer receives a close frame.
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
            // A session that ends regularly has queued Close, and this does nothing. One that ends without Close has
            // failed.
            self.outbox.close(None, Close::INTERNAL, now);
        } else if self.outbox.is_closed() {
            // The session has queued Close. Dropping its future runs `stopping` and `stopped`.
            self.actor = None;
        }
    }

    /// Returns the counter for closing this peer if it reads too slowly.
    fn eviction(&self, blocked: bool) -> Option<&WorkerCounter> {
        if self.outbox.is_closed() {
            return None;
        }
        let too_old = || {
            let waiting = self.outbox.waiting_since().map(|since| since.elapsed());
            blocked && waiting.is_some_and(|waiting| waiting >= self.limits.outbox_age)
        };
        let worker = &*self.limits.worker;
        if self.outbox.has_overflowed() {
            Some(&worker.evicted_for_bytes)
        } else if self.was_blocked && self.outbox.is_condemned() {
            Some(&worker.evicted_for_total)
        } else {
            too_old().then_some(&worker.evicted_for_age)
        }
    }
}

impl<T, A> Connection<T, A>
where
    T: Socket,
    A: Actor<Context = Context<A>>,
{
    /// Sets the alarm, so that the driver is polled at `deadline`.
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

    /// Reads and discards. Ready when the peer has closed.
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
        let sent = match self.outbox.poll_write(&mut self.io, &self.limits.worker, cx) {
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
        // The peer may be blocked on a write of its own before it reads, so its bytes are read and discarded. The end
        // of its stream is ignored here: it may still be reading.
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

impl<T, A> Drop for Connection<T, A>
where
    T: Socket,
    A: Actor<Context = Context<A>>,
{
    fn drop(&mut self) {
        // Clones of the outbox must not keep the socket open.
        self.outbox.disconnect();
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
