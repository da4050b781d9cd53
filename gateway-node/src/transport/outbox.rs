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
    Batch, Direct,
    frame::{catalogued_close, close_frame},
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
pub struct Outbox(Rc<RefCell<State>>);

#[derive(Debug)]
struct State {
    queue: VecDeque<Queued>,
    /// Bytes in `queue` that are not written.
    bytes: usize,
    /// Bytes of the first frame that are written.
    started: usize,
    limit: usize,
    stage: Stage,
    driver: Option<Waker>,
    direct: Option<Direct>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// A push did not fit.
    Overflowed,
    /// A close frame is the last in the queue.
    Closed,
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
        Self(Rc::new(RefCell::new(State {
            queue: VecDeque::new(),
            bytes: 0,
            started: 0,
            limit,
            stage: Stage::Open,
            driver: None,
            direct,
        })))
    }

    /// Puts bytes before everything else, whatever the limit says: what the handshake has left to send.
    pub(super) fn begin_with(&self, bytes: Bytes, now: Instant) {
        if !bytes.is_empty() {
            self.0.borrow_mut().append(bytes, now);
        }
    }

    /// Appends a frame; `now` is when it began to wait.
    pub fn push(&self, frame: Bytes, now: Instant) -> Push {
        let mut state = self.0.borrow_mut();
        let result = state.push(frame, now);
        state.wake();
        result
    }

    /// Has the socket take frames at once where nothing waits before them, and appends what it does not take.
    pub fn deliver(&self, batch: &Batch, now: Instant) -> Push {
        let mut state = self.0.borrow_mut();
        let written = match &state.direct {
            Some(direct) if state.queue.is_empty() && state.stage == Stage::Open => direct.write(batch.bytes()),
            _ => 0,
        };
        if written == batch.bytes().len() {
            return Push::Taken;
        }
        let (started, mut frames) = batch.rest(written);
        if started > 0
            && let Some(begun) = frames.next()
        {
            // Whatever the limit says, since the peer has its beginning.
            state.append(begun, now);
            state.bytes -= started;
            state.started = started;
        }
        let result = frames
            .map(|frame| state.push(frame, now))
            .find(|push| *push != Push::Taken);
        state.wake();
        result.unwrap_or(Push::Taken)
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
        if state.stage == Stage::Closed {
            return;
        }
        for frame in last_words.into_iter().chain([close]) {
            state.append(frame, now);
        }
        state.stage = Stage::Closed;
        state.wake();
    }

    /// Whether a close frame is queued or written.
    pub fn is_closed(&self) -> bool {
        self.0.borrow().stage == Stage::Closed
    }

    /// Whether a push did not fit.
    pub(super) fn has_overflowed(&self) -> bool {
        self.0.borrow().stage == Stage::Overflowed
    }

    /// Since when the first byte has been waiting.
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

impl State {
    fn push(&mut self, frame: Bytes, now: Instant) -> Push {
        match self.stage {
            Stage::Closed => Push::Closed,
            Stage::Overflowed => Push::Full,
            Stage::Open if frame.len() > self.limit - self.bytes.min(self.limit) => {
                self.stage = Stage::Overflowed;
                Push::Full
            }
            Stage::Open => {
                self.append(frame, now);
                Push::Taken
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
        if self.queue.is_empty() {
            // A session at rest holds no buffer.
            self.queue = VecDeque::new();
        }
    }

    fn wake(&self) {
        if let Some(driver) = &self.driver {
            driver.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Waker};

    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::transport::{Plain, Socket};

    /// Takes so many bytes a call, then blocks.
    struct Pipe {
        taken: Vec<u8>,
        a_call: usize,
        calls: usize,
    }

    impl AsyncWrite for Pipe {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            if self.calls == 0 {
                return Poll::Pending;
            }
            self.calls -= 1;
            let count = self.a_call.min(bytes.len());
            self.taken.extend_from_slice(&bytes[..count]);
            Poll::Ready(Ok(count))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let joined: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            self.poll_write(cx, &joined)
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn write(outbox: &Outbox, pipe: &mut Pipe) -> bool {
        outbox
            .poll_write(pipe, &mut Context::from_waker(Waker::noop()))
            .is_ready()
    }

    #[tokio::test(start_paused = true)]
    async fn queued_frames_leave_in_one_write() {
        let outbox = Outbox::new(100);
        for part in ["one", "two", "three"] {
            assert_eq!(
                outbox.push(Bytes::from_static(part.as_bytes()), Instant::now()),
                Push::Taken
            );
        }
        let mut pipe = Pipe {
            taken: vec![],
            a_call: 100,
            calls: 1,
        };
        assert!(write(&outbox, &mut pipe));
        assert_eq!(pipe.taken, b"onetwothree");
        assert_eq!(outbox.0.borrow().queue.capacity(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_eviction_finishes_the_started_frame_and_drops_the_others() {
        let outbox = Outbox::new(8);
        assert_eq!(outbox.push(Bytes::from_static(b"first"), Instant::now()), Push::Taken);
        assert_eq!(outbox.push(Bytes::from_static(b"2nd"), Instant::now()), Push::Taken);
        let mut pipe = Pipe {
            taken: vec![],
            a_call: 2,
            calls: 1,
        };
        assert!(!write(&outbox, &mut pipe));
        assert_eq!(outbox.push(Bytes::from_static(b"3rd"), Instant::now()), Push::Full);
        assert!(outbox.has_overflowed());
        outbox.drop_unstarted();
        outbox.close(Some(Bytes::from_static(b"bye")), Close::TOO_SLOW, Instant::now());
        pipe.calls = 100;
        assert!(write(&outbox, &mut pipe));
        assert!(pipe.taken.starts_with(b"firstbye\x88"), "{:?}", pipe.taken);
        assert_eq!(outbox.push(Bytes::new(), Instant::now()), Push::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_partial_write_resumes_in_the_middle_of_a_frame() {
        let outbox = Outbox::new(100);
        for part in ["abc", "defg", "h"] {
            outbox.push(Bytes::from_static(part.as_bytes()), Instant::now());
        }
        let mut pipe = Pipe {
            taken: vec![],
            a_call: 5,
            calls: 1,
        };
        assert!(!write(&outbox, &mut pipe));
        assert_eq!(outbox.0.borrow().bytes, 3);
        pipe.calls = 1;
        assert!(write(&outbox, &mut pipe));
        assert_eq!(pipe.taken, b"abcdefgh");
    }

    /// Two ends of a TCP connection; the one that sends takes little, and as much every time.
    async fn tcp() -> (Plain, tokio::net::TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = tokio::net::TcpSocket::new_v4().unwrap();
        client.set_recv_buffer_size(4096).unwrap();
        let client = client.connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        socket2::SockRef::from(&server).set_send_buffer_size(4096).unwrap();
        server.writable().await.unwrap();
        (server.into(), client)
    }

    #[tokio::test]
    async fn what_is_delivered_to_an_idle_socket_is_written_at_once() {
        let (server, mut client) = tcp().await;
        let outbox = Outbox::over(server.direct(), 100);
        let batch = Batch::of(&["one", "two"].map(|frame| Bytes::from_static(frame.as_bytes())));
        assert_eq!(outbox.deliver(&batch, Instant::now()), Push::Taken);
        assert_eq!(outbox.waiting_since(), None);
        let mut read = [0; 6];
        client.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"onetwo");
    }

    #[tokio::test]
    async fn what_is_delivered_behind_something_waits_for_the_driver() {
        let (mut server, mut client) = tcp().await;
        let outbox = Outbox::over(server.direct(), 100);
        outbox.push(Bytes::from_static(b"first "), Instant::now());
        outbox.deliver(&Bytes::from_static(b"second").into(), Instant::now());
        assert!(outbox.waiting_since().is_some());
        poll_fn(|cx| outbox.poll_write(&mut server, cx)).await.unwrap();
        let mut read = [0; 12];
        client.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"first second");
    }

    #[tokio::test]
    async fn a_socket_that_takes_a_part_gets_the_rest_frame_by_frame_and_last_words_after_the_one_begun() {
        const FRAME: usize = 1000;
        let (mut server, mut client) = tcp().await;
        let outbox = Outbox::over(server.direct(), usize::MAX);
        let frames: Vec<Bytes> = (0..=u8::MAX).map(|byte| vec![byte; FRAME].into()).collect();
        assert_eq!(outbox.deliver(&Batch::of(&frames), Instant::now()), Push::Taken);
        let (waiting, bytes, started) = {
            let state = outbox.0.borrow();
            (state.queue.len(), state.bytes, state.started)
        };
        assert!((1..frames.len()).contains(&waiting), "{waiting} frames wait");
        assert_eq!(bytes, waiting * FRAME - started);
        outbox.drop_unstarted();
        outbox.close(Some(Bytes::from_static(b"bye")), Close::TOO_SLOW, Instant::now());
        let to_the_end = async {
            poll_fn(|cx| outbox.poll_write(&mut server, cx)).await.unwrap();
            poll_fn(|cx| Pin::new(&mut server).poll_shutdown(cx)).await.unwrap();
        };
        let mut read = Vec::new();
        let ((), result) = tokio::join!(to_the_end, client.read_to_end(&mut read));
        result.unwrap();
        let whole = frames.len() - waiting + usize::from(started > 0);
        assert_eq!(read[..whole * FRAME], frames[..whole].concat());
        assert!(read[whole * FRAME..].starts_with(b"bye\x88"));
    }

    #[tokio::test]
    async fn an_outbox_outlives_its_socket_and_takes_nothing_more_of_it() {
        let (server, mut client) = tcp().await;
        let outbox = Outbox::over(server.direct(), 100);
        drop(server);
        assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
        assert_eq!(
            outbox.deliver(&Bytes::from_static(b"late").into(), Instant::now()),
            Push::Taken
        );
        assert!(outbox.waiting_since().is_some());
    }
}
