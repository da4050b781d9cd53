//! The queue of frames to one connection: the only way for a session to send.
//!
//! An outbox never leaves its worker and never calls into the session. A session's own frames are queued
//! ([`Outbox::push`]), and the driver writes them together. Frames that a registry shard delivers to thousands of
//! sessions ([`Outbox::deliver`]) are written to the socket at once if the queue is empty: no driver is woken and
//! nothing is allocated. Only what the socket does not accept is queued for the driver.

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
    Batch, Direct, OutboxPool, direct_writes,
    expiring_frames::ExpiringFrames,
    frame::{catalogued_close, close_frame},
    outbox_pool::PoolCharge,
};
use crate::metrics::WorkerMetrics;

/// The most frames in one vectored write. The kernel accepts up to 1,024.
const JOINED_FRAMES: usize = 64;

/// The outcome of pushing a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Push {
    /// The frame is written or queued.
    Taken,
    /// The frame did not fit. The connection is about to be evicted and accepts no more frames.
    Full,
    /// The connection is closing and accepts no more frames.
    Closed,
}

/// The queue of frames to one peer, shared by its session, its registry shard and its driver.
#[derive(Debug, Clone)]
pub struct Outbox(Rc<RefCell<OutboxInner>>);

#[derive(Debug)]
struct OutboxInner {
    queue: VecDeque<Queued>,
    /// The frames in `queue` that are dropped at a time of their own, if there are any.
    expiring: Option<Box<ExpiringFrames>>,
    /// The number of bytes in `queue` that the socket has not taken yet.
    bytes: usize,
    /// Bytes of the first frame that are already written.
    started: usize,
    /// How many bytes of the response of the handshake are not written yet.
    handshake: u16,
    /// Whether the answer to a heartbeat is queued.
    has_answer: bool,
    limit: usize,
    state: OutboxState,
    driver: Option<Waker>,
    direct: Option<Direct>,
    /// Whether the session has asked to be notified when the queue is empty.
    tells_drained: bool,
    /// When a frame was last queued or written.
    last_sent: Option<Instant>,
    /// How many frames have been queued or written.
    frames: u32,
    /// How many of them the session queued itself.
    own_frames: u32,
    /// The bytes of all frames that have been queued or written.
    frame_bytes: u64,
    /// This outbox's entry in the node's pool, while the socket is blocked.
    charge: Option<Box<PoolCharge>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OutboxState {
    Open,
    /// A frame did not fit.
    Overflowed,
    /// A close frame was queued. No frame may follow it.
    Closed,
    /// The connection has to be reset.
    Aborted,
}

#[derive(Debug)]
struct Queued {
    frame: Bytes,
    since: Instant,
}

impl Outbox {
    /// Creates an empty outbox that holds up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self::over(None, limit)
    }

    /// Like [`new`](Self::new), but [`deliver`](Self::deliver) can write to the socket through `direct`, without the
    /// driver.
    pub(super) fn over(direct: Option<Direct>, limit: usize) -> Self {
        Self(Rc::new(RefCell::new(OutboxInner {
            queue: VecDeque::new(),
            expiring: None,
            bytes: 0,
            started: 0,
            handshake: 0,
            has_answer: false,
            limit,
            state: OutboxState::Open,
            driver: None,
            direct,
            tells_drained: false,
            last_sent: None,
            frames: 0,
            own_frames: 0,
            frame_bytes: 0,
            charge: None,
        })))
    }

    /// Queues the response of the handshake before any frame, regardless of the limit.
    pub(super) fn begin_with(&self, bytes: Bytes, now: Instant) {
        if !bytes.is_empty() {
            let mut state = self.0.borrow_mut();
            state.last_sent = Some(now);
            state.handshake = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
            state.append(bytes, now);
        }
    }

    /// Queues a frame. It begins to wait at `now`. A frame larger than the limit is accepted if the queue is empty.
    pub fn push(&self, frame: Bytes, now: Instant) -> Push {
        let mut state = self.0.borrow_mut();
        state.note_sent(1, frame.len(), now);
        state.own_frames = state.own_frames.wrapping_add(1);
        let result = state.push(frame, now);
        state.wake();
        result
    }

    /// Lets go of the socket, which is about to be closed.
    pub(super) fn disconnect(&self) {
        self.0.borrow_mut().direct = None;
    }

    /// Like [`push`](Self::push), for the answer to a heartbeat.
    pub fn push_answer(&self, frame: Bytes, now: Instant) -> Push {
        self.0.borrow_mut().has_answer = true;
        self.push(frame, now)
    }

    /// Returns whether everything is written and the answer to a heartbeat was part of it since the last call.
    pub(super) fn take_answered(&self) -> bool {
        let mut state = self.0.borrow_mut();
        state.has_answer && state.queue.is_empty() && std::mem::take(&mut state.has_answer)
    }

    /// Writes frames to the socket at once if the queue is empty, and queues what the socket does not accept.
    pub fn deliver(&self, batch: &Batch, now: Instant) -> Push {
        let mut state = self.0.borrow_mut();
        state.note_sent(batch.frames(), batch.bytes().len(), now);
        let written = state.write_past(batch.bytes(), batch.ends());
        if written == batch.bytes().len() {
            return Push::Taken;
        }
        state.append_rest(batch, written, now)
    }

    /// Like [`deliver`](Self::deliver), but what the socket does not accept is dropped if the first byte of its frame is
    /// not written before `until`.
    pub fn deliver_until(&self, batch: &Batch, now: Instant, until: Instant) -> Push {
        let mut state = self.0.borrow_mut();
        state.note_sent(batch.frames(), batch.bytes().len(), now);
        let written = state.write_past(batch.bytes(), batch.ends());
        if written == batch.bytes().len() {
            return Push::Taken;
        }
        let queued = state.queue.len();
        let result = state.append_rest(batch, written, now);
        for place in queued..state.queue.len() {
            state.expiring.get_or_insert_default().push(place, until);
        }
        result
    }

    /// Like [`deliver`](Self::deliver), for frames of this peer alone. `bytes` holds them one after the other and
    /// `ends` has the index at which each one ends. The bytes are copied only if the socket does not accept all of
    /// them.
    pub fn deliver_own(&self, bytes: &[u8], ends: &[usize], now: Instant) -> Push {
        let mut state = self.0.borrow_mut();
        state.note_sent(ends.len(), bytes.len(), now);
        let written = state.write_past(bytes, ends);
        if written == bytes.len() {
            return Push::Taken;
        }
        state.append_rest(&Batch::new(Bytes::copy_from_slice(bytes), ends), written, now)
    }

    /// Returns how many frames have been queued or written. The count begins again after 2^32.
    pub fn frames(&self) -> u32 {
        self.0.borrow().frames
    }

    /// Returns how many of these frames were delivered, not queued by the session itself.
    pub fn delivered_frames(&self) -> u32 {
        let state = self.0.borrow();
        state.frames.wrapping_sub(state.own_frames)
    }

    /// Returns the bytes of all frames that have been queued or written.
    pub fn frame_bytes(&self) -> u64 {
        self.0.borrow().frame_bytes
    }

    /// Returns when a frame was last queued or written, or `None` before the first.
    pub fn last_sent(&self) -> Option<Instant> {
        self.0.borrow().last_sent
    }

    /// How many bytes are queued.
    pub fn waiting(&self) -> usize {
        self.0.borrow().bytes
    }

    /// Requests one `Inbound::Drained` for when the queue is empty. Until then the session sends nothing more, so
    /// frames do not become too old as long as the peer keeps reading.
    pub fn tell_when_drained(&self) {
        let mut state = self.0.borrow_mut();
        state.tells_drained = true;
        state.wake();
    }

    /// Returns whether the session has to receive `Inbound::Drained` now, and clears its request.
    pub(crate) fn take_drained(&self) -> bool {
        let mut state = self.0.borrow_mut();
        state.queue.is_empty() && std::mem::take(&mut state.tells_drained)
    }

    /// Queues `last_words`, the final frame of the session, and a close frame, regardless of the limit. No frame is
    /// accepted after that.
    pub fn close(&self, last_words: Option<Bytes>, close: Close, now: Instant) {
        self.finish(last_words, catalogued_close(close), now);
    }

    /// Answers the peer's close frame with the same code (RFC 6455, section 5.5.1).
    pub(super) fn answer_close(&self, code: Option<u16>, now: Instant) {
        self.finish(None, close_frame(code.map(|code| (code, ""))), now);
    }

    fn finish(&self, last_words: Option<Bytes>, close: Bytes, now: Instant) {
        let mut state = self.0.borrow_mut();
        if matches!(state.state, OutboxState::Closed | OutboxState::Aborted) {
            return;
        }
        for frame in last_words.into_iter().chain([close]) {
            state.append(frame, now);
        }
        state.state = OutboxState::Closed;
        state.wake();
    }

    /// Makes the driver reset the connection without sending another byte.
    pub fn abort(&self) {
        let mut state = self.0.borrow_mut();
        state.state = OutboxState::Aborted;
        state.wake();
    }

    /// Whether the connection has to be reset.
    pub(super) fn is_aborted(&self) -> bool {
        self.0.borrow().state == OutboxState::Aborted
    }

    /// Whether a close frame has been queued.
    pub fn is_closed(&self) -> bool {
        self.0.borrow().state == OutboxState::Closed
    }

    /// Whether a frame did not fit.
    pub(super) fn has_overflowed(&self) -> bool {
        self.0.borrow().state == OutboxState::Overflowed
    }

    /// Reports the queued bytes to the node's pool, at the end of a turn. An empty outbox leaves the pool.
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

    /// Whether the connection has to be closed because all outboxes together hold too much.
    pub(super) fn is_condemned(&self) -> bool {
        self.0
            .borrow()
            .charge
            .as_ref()
            .is_some_and(|charge| charge.is_condemned())
    }

    /// Returns when the first frame began to wait. While the session waits for `Inbound::Drained`, returns when the
    /// peer last read, if that was later.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        self.0.borrow().queue.front().map(|queued| queued.since)
    }

    /// Drops every frame of which no byte is written, so that the final frames come next.
    pub(super) fn drop_unstarted(&self) {
        let mut state = self.0.borrow_mut();
        let keep = usize::from(state.started > 0);
        if keep == 0 {
            state.handshake = 0;
        }
        state.queue.truncate(keep);
        if let Some(expiring) = &mut state.expiring {
            expiring.truncate(keep);
        }
        state.bytes = state.queue.front().map_or(0, |queued| queued.frame.len()) - state.started;
    }

    /// Sets the waker of the driver, which is woken when something is queued.
    pub(super) fn register(&self, driver: &Waker) {
        let mut state = self.0.borrow_mut();
        if !state.driver.as_ref().is_some_and(|known| known.will_wake(driver)) {
            state.driver = Some(driver.clone());
        }
    }

    /// Writes until the queue is empty, with many frames in one call, and counts for `worker` what the socket takes.
    ///
    /// # Errors
    /// If the socket fails. A write that accepts no byte is `WriteZero`.
    pub(super) fn poll_write<W: AsyncWrite + Unpin>(
        &self,
        io: &mut W,
        worker: &WorkerMetrics,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.0.borrow_mut();
        if state.expiring.is_some() {
            state.drop_expired(Instant::now());
        }
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
                Poll::Ready(Ok(written)) => state.advance(written, worker),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        // A TLS stream may still hold encrypted bytes.
        Pin::new(io).poll_flush(cx)
    }

    /// Takes the frames that a driver would write.
    #[cfg(test)]
    pub(crate) fn take_frames(&self) -> Vec<Bytes> {
        let mut state = self.0.borrow_mut();
        state.bytes = 0;
        state.expiring = None;
        state.queue.drain(..).map(|queued| queued.frame).collect()
    }
}

/// Writes to a socket and counts what it takes. Returns how many bytes that is.
// Apart from its callers, so that deciding whether to write is all that is inlined there.
#[inline(never)]
fn write_directly(direct: &Direct, bytes: &[u8], ends: &[usize]) -> usize {
    let written = direct.write(bytes);
    direct_writes::record(written, written == bytes.len(), ends);
    written
}

impl OutboxInner {
    /// Records that frames are queued or written.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the count begins again after 2^32 anyway"
    )]
    fn note_sent(&mut self, frames: usize, bytes: usize, now: Instant) {
        self.last_sent = Some(now);
        self.frames = self.frames.wrapping_add(frames as u32);
        self.frame_bytes += bytes as u64;
    }

    /// Writes to the socket without the driver if the queue is empty. Returns how many bytes were written.
    #[inline]
    fn write_past(&self, bytes: &[u8], ends: &[usize]) -> usize {
        match &self.direct {
            Some(direct) if self.queue.is_empty() && self.state == OutboxState::Open => {
                write_directly(direct, bytes, ends)
            }
            _ => 0,
        }
    }

    /// Queues what is left of `batch` after its first `written` bytes.
    fn append_rest(&mut self, batch: &Batch, written: usize, now: Instant) -> Push {
        if written == 0
            && let Some(frame) = batch.only_frame()
        {
            let result = self.push(frame, now);
            self.wake();
            return result;
        }
        self.queue.reserve(batch.frames());
        let (started, mut frames) = batch.rest(written);
        if started > 0
            && let Some(begun) = frames.next()
        {
            // Regardless of the limit, because the peer already has the beginning of this frame.
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
        let is_open = self.state == OutboxState::Open;
        if is_open && (self.queue.is_empty() || self.bytes + frame.len() <= self.limit) {
            self.append(frame, now);
            Push::Taken
        } else {
            self.refuse(frame)
        }
    }

    /// Says why a frame is not taken. The first one that does not fit makes the outbox overflow.
    /// The frame is dropped here, so that the common path has no code for it.
    #[cold]
    #[inline(never)]
    fn refuse(&mut self, frame: Bytes) -> Push {
        drop(frame);
        match self.state {
            OutboxState::Closed | OutboxState::Aborted => Push::Closed,
            OutboxState::Open | OutboxState::Overflowed => {
                self.state = OutboxState::Overflowed;
                Push::Full
            }
        }
    }

    fn append(&mut self, frame: Bytes, since: Instant) {
        self.bytes += frame.len();
        self.queue.push_back(Queued { frame, since });
    }

    /// Drops the frames whose time is over and of which no byte is written.
    #[cold]
    fn drop_expired(&mut self, now: Instant) {
        let Some(expiring) = &mut self.expiring else { return };
        while let Some(place) = expiring.take_expired(self.started > 0, now) {
            if let Some(queued) = self.queue.remove(place) {
                self.bytes -= queued.frame.len();
            }
        }
        if expiring.is_empty() {
            self.expiring = None;
        }
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
    }

    /// Removes what the socket has taken. The response of the handshake is no frame and does not count.
    fn advance(&mut self, written: usize, worker: &WorkerMetrics) {
        let now = Instant::now();
        if let Some(first) = self.queue.front() {
            worker.write.observe(now.saturating_duration_since(first.since));
        }
        self.bytes -= written;
        self.started += written;
        let queued = self.queue.len();
        while let Some(first) = self.queue.front() {
            if self.started < first.frame.len() {
                break;
            }
            self.started -= first.frame.len();
            self.queue.pop_front();
        }
        let done = queued - self.queue.len();
        let (mut bytes, mut frames) = (written, done);
        if self.handshake > 0 {
            let left = usize::from(self.handshake);
            bytes = written.saturating_sub(left);
            frames -= usize::from(written >= left);
            self.handshake = u16::try_from(left.saturating_sub(written)).unwrap_or(0);
        }
        worker.bytes_out.add(bytes as u64);
        worker.frames_out.add(frames as u64);
        if let Some(expiring) = &mut self.expiring {
            expiring.advance(done);
        }
        match self.queue.front_mut() {
            Some(first) if self.tells_drained => first.since = now,
            Some(_) => {}
            // An idle session holds no buffer.
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
