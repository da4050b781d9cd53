//! What waits to be written to one connection: the only way out of a session.
//!
//! An outbox never leaves its worker and never calls into the session. What a session says itself is appended
//! ([`Outbox::push`]) and leaves in one call when its driver writes. What a registry shard has for thousands
//! ([`Outbox::deliver`]) goes to the socket at once while nothing waits before it: no driver is woken and nothing is
//! allocated. Only what the socket does not take is queued for the driver.

use std::{
    cell::RefCell,
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use shared::close::Close;
use tokio::{io::AsyncWrite, time::Instant};

use super::{
    Batch, Direct, OutboxPool,
    frame::{catalogued_close, close_frame},
    outbox_pool::PoolCharge,
};

/// The most frames that one write joins; the kernel takes 1,024.
const JOINED_FRAMES: usize = 64;

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Push {
    /// It is written, or will be.
    Taken,
    /// It did not fit; the connection is about to be evicted and takes nothing more.
    Full,
    /// The connection is closing and takes nothing more.
    Closed,
}

/// The queue of frames to one peer, shared by its session, its registry shard and its driver.
#[derive(Debug, Clone)]
pub struct Outbox(Rc<RefCell<OutboxInner>>);

#[derive(Debug)]
struct OutboxInner {
    queue: VecDeque<Queued>,
    /// Bytes in `queue` that are not written.
    bytes: usize,
    /// Bytes of the first frame that are written.
    started: usize,
    limit: usize,
    stage: OutboxState,
    driver: Option<Waker>,
    direct: Option<Direct>,
    /// Whether the session waits to hear that nothing waits any more.
    tells_drained: bool,
    /// The place in the node's pool while the socket takes nothing.
    charge: Option<Box<PoolCharge>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OutboxState {
    Open,
    /// A push did not fit.
    Overflowed,
    /// A close frame is the last in the queue.
    Closed,
    /// The connection is to be cut.
    Aborted,
}

#[derive(Debug)]
struct Queued {
    frame: Bytes,
    since: Instant,
}

impl Outbox {
    /// An empty outbox that holds up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self::over(None, limit)
    }

    /// The same, which may write to a socket past its driver.
    pub(super) fn over(direct: Option<Direct>, limit: usize) -> Self {
        Self(Rc::new(RefCell::new(OutboxInner {
            queue: VecDeque::new(),
            bytes: 0,
            started: 0,
            limit,
            stage: OutboxState::Open,
            driver: None,
            direct,
            tells_drained: false,
            charge: None,
        })))
    }

    /// Puts bytes before everything else, whatever the limit says: what the handshake has left to send.
    pub(super) fn begin_with(&self, bytes: Bytes, now: Instant) {
        if !bytes.is_empty() {
            self.0.borrow_mut().append(bytes, now);
        }
    }

    /// Appends a frame; `now` is when it began to wait. One that is larger than the limit passes where nothing waits.
    pub fn push(&self, frame: Bytes, now: Instant) -> Push {
        let mut state = self.0.borrow_mut();
        let result = state.push(frame, now);
        state.wake();
        result
    }

    /// Has the socket take frames at once where nothing waits before them, and appends what it does not take.
    pub fn deliver(&self, batch: &Batch, now: Instant) -> Push {
        let mut state = self.0.borrow_mut();
        let written = state.write_past(batch.bytes());
        if written == batch.bytes().len() {
            return Push::Taken;
        }
        state.append_rest(batch, written, now)
    }

    /// The same for frames that are this peer's alone, side by side in `bytes`, each ending where `ends` says. Only what
    /// the socket does not take is copied.
    pub fn deliver_own(&self, bytes: &[u8], ends: &[usize], now: Instant) -> Push {
        let mut state = self.0.borrow_mut();
        let written = state.write_past(bytes);
        if written == bytes.len() {
            return Push::Taken;
        }
        state.append_rest(&Batch::new(Bytes::copy_from_slice(bytes), ends), written, now)
    }

    /// How many bytes wait.
    pub fn waiting(&self) -> usize {
        self.0.borrow().bytes
    }

    /// Has the session told once when nothing waits any more. Until then nothing gets too old that the peer goes on
    /// reading: the session sends no more than waits now.
    pub fn tell_when_drained(&self) {
        let mut state = self.0.borrow_mut();
        state.tells_drained = true;
        state.wake();
    }

    /// Whether the session is to be told now that nothing waits.
    pub(crate) fn take_drained(&self) -> bool {
        let mut state = self.0.borrow_mut();
        state.queue.is_empty() && std::mem::take(&mut state.tells_drained)
    }

    /// Appends the last words, whatever the limit says, and a close frame; nothing is taken after it.
    pub fn close(&self, last_words: Option<Bytes>, close: Close, now: Instant) {
        self.finish(last_words, catalogued_close(close), now);
    }

    /// Answers the peer's close frame with its own code (RFC 6455, section 5.5.1).
    pub(super) fn answer_close(&self, code: Option<u16>, now: Instant) {
        self.finish(None, close_frame(code.map(|code| (code, ""))), now);
    }

    fn finish(&self, last_words: Option<Bytes>, close: Bytes, now: Instant) {
        let mut state = self.0.borrow_mut();
        if matches!(state.stage, OutboxState::Closed | OutboxState::Aborted) {
            return;
        }
        for frame in last_words.into_iter().chain([close]) {
            state.append(frame, now);
        }
        state.stage = OutboxState::Closed;
        state.wake();
    }

    /// Has the connection cut without another byte.
    pub fn abort(&self) {
        let mut state = self.0.borrow_mut();
        state.stage = OutboxState::Aborted;
        state.wake();
    }

    /// Whether the connection is to be cut.
    pub(super) fn is_aborted(&self) -> bool {
        self.0.borrow().stage == OutboxState::Aborted
    }

    /// Whether a close frame is queued or written.
    pub fn is_closed(&self) -> bool {
        self.0.borrow().stage == OutboxState::Closed
    }

    /// Whether a push did not fit.
    pub(super) fn has_overflowed(&self) -> bool {
        self.0.borrow().stage == OutboxState::Overflowed
    }

    /// Tells the node's pool how much waits, at the end of a turn. An outbox in which nothing waits is not in the pool.
    pub(super) fn settle(&self, pool: &OutboxPool, driver: &Waker) {
        let mut state = self.0.borrow_mut();
        let bytes = state.bytes;
        if bytes == 0 {
            state.charge = None;
        } else {
            state
                .charge
                .get_or_insert_with(|| Box::new(pool.enter(driver)))
                .set(bytes);
        }
    }

    /// Whether the connection has to be closed because too much waits in all outboxes together.
    pub(super) fn is_condemned(&self) -> bool {
        self.0
            .borrow()
            .charge
            .as_ref()
            .is_some_and(|charge| charge.is_condemned())
    }

    /// Since when the first byte has been waiting; while the session waits too, since when the peer has read nothing.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        self.0.borrow().queue.front().map(|queued| queued.since)
    }

    /// Drops every frame of which no byte is written, so that last words are the next thing the peer reads.
    pub(super) fn drop_unstarted(&self) {
        let mut state = self.0.borrow_mut();
        let keep = usize::from(state.started > 0);
        state.queue.truncate(keep);
        state.bytes = state.queue.front().map_or(0, |queued| queued.frame.len()) - state.started;
    }

    /// Tells whom to wake when something is pushed.
    pub(super) fn register(&self, driver: &Waker) {
        let mut state = self.0.borrow_mut();
        if !state.driver.as_ref().is_some_and(|known| known.will_wake(driver)) {
            state.driver = Some(driver.clone());
        }
    }

    /// Writes until nothing waits, many frames in one call.
    ///
    /// # Errors
    /// As the socket says; a socket that takes no byte is `WriteZero`.
    pub(super) fn poll_write<W: AsyncWrite + Unpin>(&self, io: &mut W, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.borrow_mut();
        while !state.queue.is_empty() {
            let written = {
                let mut slices = [IoSlice::new(&[]); JOINED_FRAMES];
                let mut skip = state.started;
                let mut count = 0;
                for (slice, queued) in slices.iter_mut().zip(&state.queue) {
                    *slice = IoSlice::new(&queued.frame[skip..]);
                    skip = 0;
                    count += 1;
                }
                if count == 1 {
                    Pin::new(&mut *io).poll_write(cx, &slices[0])
                } else {
                    Pin::new(&mut *io).poll_write_vectored(cx, &slices[..count])
                }
            };
            match written {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => state.advance(written),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        // A TLS stream may still hold encrypted bytes.
        Pin::new(io).poll_flush(cx)
    }

    /// Takes what a driver would write.
    #[cfg(test)]
    pub(crate) fn take_frames(&self) -> Vec<Bytes> {
        let mut state = self.0.borrow_mut();
        state.bytes = 0;
        state.queue.drain(..).map(|queued| queued.frame).collect()
    }
}

impl OutboxInner {
    /// Writes past the driver where nothing waits, and says how many bytes the socket took.
    #[inline]
    fn write_past(&self, bytes: &[u8]) -> usize {
        match &self.direct {
            Some(direct) if self.queue.is_empty() && self.stage == OutboxState::Open => direct.write(bytes),
            _ => 0,
        }
    }

    /// Queues what is left of frames of which so many bytes are written.
    fn append_rest(&mut self, batch: &Batch, written: usize, now: Instant) -> Push {
        let (started, mut frames) = batch.rest(written);
        if started > 0
            && let Some(begun) = frames.next()
        {
            // Whatever the limit says, since the peer has its beginning.
            self.append(begun, now);
            self.bytes -= started;
            self.started = started;
        }
        let result = frames
            .map(|frame| self.push(frame, now))
            .find(|push| *push != Push::Taken);
        self.wake();
        result.unwrap_or(Push::Taken)
    }

    /// Appends a frame that fits. One that is larger than the limit fits where nothing waits.
    #[inline]
    fn push(&mut self, frame: Bytes, now: Instant) -> Push {
        let fits = self.queue.is_empty() || self.bytes + frame.len() <= self.limit;
        if !fits || self.stage != OutboxState::Open {
            return self.refuse();
        }
        self.append(frame, now);
        Push::Taken
    }

    /// Says why a frame is not taken. The first one that does not fit makes the outbox overflow.
    #[cold]
    #[inline(never)]
    fn refuse(&mut self) -> Push {
        match self.stage {
            OutboxState::Closed | OutboxState::Aborted => Push::Closed,
            OutboxState::Open | OutboxState::Overflowed => {
                self.stage = OutboxState::Overflowed;
                Push::Full
            }
        }
    }

    fn append(&mut self, frame: Bytes, since: Instant) {
        self.bytes += frame.len();
        self.queue.push_back(Queued { frame, since });
    }

    fn advance(&mut self, written: usize) {
        self.bytes -= written;
        self.started += written;
        while let Some(first) = self.queue.front() {
            if self.started < first.frame.len() {
                break;
            }
            self.started -= first.frame.len();
            self.queue.pop_front();
        }
        match self.queue.front_mut() {
            Some(first) if self.tells_drained => first.since = Instant::now(),
            Some(_) => {}
            // A session at rest holds no buffer.
            None => self.queue = VecDeque::new(),
        }
    }

    fn wake(&self) {
        if let Some(driver) = &self.driver {
            driver.wake_by_ref();
        }
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
