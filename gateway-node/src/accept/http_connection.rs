//! A connection that the HTTP server handles: its permit, its deadlines and how much of it is read.
//!
//! The HTTP server has a deadline for the first request head of a connection and one for the time between two requests,
//! but no others. This module adds them: bytes that arrive begin a request, its response ends it, and
//! [`HttpConnection::deadline`] says how long each phase may last. The server would also read 64 KiB of a body before
//! any handler asks for it, so a body stays in the socket until its handler accepts it.

use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::checked_io::CheckedIo;
use crate::{
    admission::{Permit, RefusalPermit},
    transport::{PrefixedIo, Socket, write_through},
};

/// The most bytes that one turn reads while it expects a request head. What follows the head is read once the request
/// is known.
const HEAD_BYTES: usize = 4096;
/// The most bytes of a body that one turn reads.
const BODY_BYTES: usize = 16 * 1024;

/// How long an HTTP connection may take.
#[derive(Debug, Clone, Copy)]
pub struct HttpLimits {
    /// From the first byte of a request to the end of its head.
    pub head: Duration,
    /// From the first byte of a request to the end of its response.
    pub request: Duration,
    /// Between two requests.
    pub keep_alive: Duration,
    /// From the response to a request whose body was not accepted to the end of the connection.
    pub linger: Duration,
}

/// A connection that the HTTP server handles, shared with the handlers of its requests.
#[derive(Debug)]
pub struct HttpConnection {
    /// The permit that the connection was admitted with.
    pub permit: Rc<Permit>,
    limits: HttpLimits,
    phase: Cell<HttpPhase>,
    /// When the phase began. For a request that is being answered: when its head began.
    since: Cell<Instant>,
    /// Wakes the server when it may read the body.
    reader: RefCell<Option<Waker>>,
    /// One of the few permits under which a client may still read the response that declines its body.
    refusal: RefCell<Option<RefusalPermit>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HttpPhase {
    /// Between two requests.
    Idle,
    /// Within the head of a request.
    UpgradeHead,
    /// A request without a body is being answered.
    Request,
    /// A request is being answered whose body its handler has not accepted, or not yet.
    UnreadBody,
    /// A request is being answered whose body its handler has accepted.
    Body,
    /// A request was answered and its body was not accepted. The connection ends.
    Declined,
}

/// A request that is being answered. When dropped, the connection is idle again, or ends if the body was not accepted.
#[derive(Debug)]
pub struct RequestGuard(Rc<HttpConnection>);

impl HttpConnection {
    /// Creates the state of a connection whose first request has begun.
    pub(super) fn new(permit: Rc<Permit>, limits: HttpLimits) -> Rc<Self> {
        Rc::new(Self {
            permit,
            limits,
            phase: Cell::new(HttpPhase::UpgradeHead),
            since: Cell::new(Instant::now()),
            reader: RefCell::new(None),
            refusal: RefCell::new(None),
        })
    }

    /// Begins to answer a request. Call this when its head has been read.
    pub fn begin_request(self: &Rc<Self>, has_body: bool) -> RequestGuard {
        if self.phase.get() == HttpPhase::Idle {
            // A pipelined request: it arrived together with the one before it.
            self.since.set(Instant::now());
        }
        self.phase.set(if has_body {
            HttpPhase::UnreadBody
        } else {
            HttpPhase::Request
        });
        RequestGuard(Rc::clone(self))
    }

    /// Lets the server read the body of the request. Without this call the body stays in the socket.
    pub fn accept_body(&self) {
        if self.phase.get() == HttpPhase::UnreadBody {
            self.phase.set(HttpPhase::Body);
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
        }
    }

    /// Whether the request has a body that was not accepted. The connection then has to end with the response.
    pub fn is_body_unread(&self) -> bool {
        self.phase.get() == HttpPhase::UnreadBody
    }

    /// Whether the connection ends at once because there was no permit for the client to read the response.
    fn is_cut(&self) -> bool {
        self.phase.get() == HttpPhase::Declined && self.refusal.borrow().is_none()
    }

    fn read_some(&self) {
        if self.phase.get() == HttpPhase::Idle {
            self.enter(HttpPhase::UpgradeHead);
        }
    }

    fn enter(&self, phase: HttpPhase) {
        self.phase.set(phase);
        self.since.set(Instant::now());
    }

    /// When the connection is cut unless its phase changes before.
    pub(super) fn deadline(&self) -> Instant {
        let limit = match self.phase.get() {
            HttpPhase::Idle => self.limits.keep_alive,
            HttpPhase::UpgradeHead => self.limits.head,
            HttpPhase::Request | HttpPhase::UnreadBody | HttpPhase::Body => self.limits.request,
            HttpPhase::Declined if self.is_cut() => Duration::ZERO,
            HttpPhase::Declined => self.limits.linger,
        };
        self.since.get() + limit
    }

    /// Names what a connection that has reached its deadline did wrong. `None` if it was only idle or was already
    /// answered.
    pub(super) fn problem(&self) -> Option<&'static str> {
        match self.phase.get() {
            HttpPhase::Idle | HttpPhase::Declined => None,
            HttpPhase::UpgradeHead => Some("slow request head"),
            HttpPhase::Request | HttpPhase::UnreadBody | HttpPhase::Body => Some("slow request"),
        }
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        let connection = &self.0;
        if connection.is_body_unread() {
            // The client may still be sending. Closing would then reset the connection, and the client could lose the
            // response. A few clients may go on.
            connection.refusal.replace(connection.permit.refuse());
            connection.enter(HttpPhase::Declined);
        } else {
            connection.enter(HttpPhase::Idle);
        }
    }
}

/// The stream that the HTTP server reads from. It bounds each turn's reads and holds back bodies.
#[derive(Debug)]
pub struct HttpIo<T> {
    io: CheckedIo<T>,
    connection: Rc<HttpConnection>,
    /// How many bytes this turn has read.
    turn_bytes: usize,
}

impl<T> HttpIo<T> {
    pub(super) fn new(io: PrefixedIo<T>, connection: Rc<HttpConnection>) -> Self {
        Self {
            io: CheckedIo::new(io),
            connection,
            turn_bytes: 0,
        }
    }

    /// The connection that the stream belongs to.
    pub const fn connection(&self) -> &Rc<HttpConnection> {
        &self.connection
    }

    pub(super) fn into_parts(self) -> (PrefixedIo<T>, Rc<HttpConnection>) {
        (self.io.into_inner(), self.connection)
    }
}

impl<T: AsyncRead + Unpin> HttpIo<T> {
    /// Reads at most `most` bytes in a turn.
    fn poll_some(&mut self, most: usize, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let room = most.saturating_sub(self.turn_bytes);
        if room == 0 {
            self.turn_bytes = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let room = room.min(buffer.remaining());
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(room));
        let read = Pin::new(&mut self.io).poll_read(cx, &mut part);
        let count = part.filled().len();
        buffer.advance(count);
        self.turn_bytes += count;
        if read.is_pending() {
            self.turn_bytes = 0;
        }
        if count > 0 {
            self.connection.read_some();
        }
        read
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for HttpIo<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.connection.phase.get() {
            HttpPhase::Idle | HttpPhase::UpgradeHead | HttpPhase::Request => self.poll_some(HEAD_BYTES, cx, buffer),
            HttpPhase::Body => self.poll_some(BODY_BYTES, cx, buffer),
            HttpPhase::UnreadBody => {
                self.connection.reader.replace(Some(cx.waker().clone()));
                Poll::Pending
            }
            HttpPhase::Declined => self.io.poll_discard(cx),
        }
    }
}

impl<T: Socket> AsyncWrite for HttpIo<T> {
    write_through!();

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        if self.connection.is_cut() {
            // The response is on its way. If the client keeps sending, the connection is reset.
            self.io.get_ref().abort();
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
        time::advance,
    };

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn connection() -> Rc<HttpConnection> {
        let limits = HttpLimits {
            head: SECOND,
            request: 10 * SECOND,
            keep_alive: 100 * SECOND,
            linger: 2 * SECOND,
        };
        HttpConnection::new(Permit::free(), limits)
    }

    type Io = HttpIo<tokio::io::DuplexStream>;

    fn open() -> (tokio::io::DuplexStream, Io, Rc<HttpConnection>) {
        let connection = connection();
        let (peer, io) = duplex(64 * 1024);
        (
            peer,
            HttpIo::new(PrefixedIo::new(Bytes::new(), io), Rc::clone(&connection)),
            connection,
        )
    }

    #[tokio::test(start_paused = true)]
    async fn each_phase_has_its_own_deadline() {
        let (mut peer, mut io, connection) = open();
        let left = || connection.deadline() - Instant::now();
        let mut buffer = [0; 1];

        assert_eq!((left(), connection.problem()), (SECOND, Some("slow request head")));
        advance(SECOND).await;
        let request = connection.begin_request(true);
        assert_eq!(left(), 9 * SECOND, "counted from the first byte");
        connection.accept_body();
        // The body of a request does not begin another request.
        peer.write_all(b"ab").await.unwrap();
        io.read_exact(&mut buffer).await.unwrap();
        assert_eq!(connection.problem(), Some("slow request"));
        advance(SECOND).await;
        drop(request);
        assert_eq!((left(), connection.problem()), (100 * SECOND, None));
        advance(SECOND).await;
        io.read_exact(&mut buffer).await.unwrap();
        assert_eq!((left(), connection.problem()), (SECOND, Some("slow request head")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_stays_in_the_socket_until_it_is_accepted() {
        let (mut peer, mut io, connection) = open();
        let _request = connection.begin_request(true);
        peer.write_all(b"body").await.unwrap();
        let mut buffer = [0; 4];
        {
            let mut read = std::pin::pin!(io.read_exact(&mut buffer));
            assert!(futures_util::poll!(read.as_mut()).is_pending());
            connection.accept_body();
            read.await.unwrap();
        }
        assert_eq!(&buffer, b"body");
    }

    #[tokio::test(start_paused = true)]
    async fn a_declined_body_is_discarded_until_the_connection_ends() {
        let (mut peer, mut io, connection) = open();
        let request = connection.begin_request(true);
        peer.write_all(&[b'x'; 10_000]).await.unwrap();
        assert!(connection.is_body_unread());
        drop(request);
        assert_eq!(connection.deadline() - Instant::now(), 2 * SECOND);
        peer.shutdown().await.unwrap();
        let mut rest = Vec::new();
        io.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn declined_bodies_beyond_the_limit_cut_the_connection() {
        let limits = crate::admission::AdmissionLimits::UNLIMITED;
        let admission = crate::admission::Admission::new(limits);
        let decline = || {
            let permit = admission.connect(Some([192, 0, 2, 1].into()), Instant::now()).unwrap();
            let connection = HttpConnection::new(Rc::new(permit), connection().limits);
            drop(connection.begin_request(true));
            connection
        };
        let declined: Vec<_> = (0..6).map(|_| decline()).collect();
        let cut = declined.iter().filter(|connection| connection.is_cut());
        assert_eq!(cut.count(), 2);
        assert_eq!(declined[5].deadline(), Instant::now());
    }

    #[tokio::test(start_paused = true)]
    async fn one_turn_reads_at_most_head_bytes() {
        let (mut peer, mut io, _connection) = open();
        peer.write_all(&[b'x'; 10_000]).await.unwrap();
        let mut bytes = Vec::with_capacity(16_000);
        for _ in 0..5 {
            let mut read = std::pin::pin!(io.read_buf(&mut bytes));
            if futures_util::poll!(read.as_mut()).is_pending() {
                break;
            }
        }
        assert_eq!(bytes.len(), HEAD_BYTES);
    }
}
