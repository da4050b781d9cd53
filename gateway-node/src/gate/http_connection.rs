//! An HTTP connection while the server has it: what it counts as, and how long it may take.
//!
//! The HTTP server has a deadline for the first head of a connection and for the time between two requests, and none
//! for anything else. The rest is kept here: bytes that arrive begin a request, its answer ends it, and
//! [`HttpConnection::deadline`] says how long either may last.

use std::{
    cell::Cell,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use crate::{admission::Permit, transport::Rewound};

/// How long an HTTP connection may take.
#[derive(Debug, Clone, Copy)]
pub struct HttpLimits {
    /// From the first byte of a request to the end of its head.
    pub head: Duration,
    /// From the first byte of a request to the end of its answer.
    pub request: Duration,
    /// Between two requests.
    pub keep_alive: Duration,
}

/// A connection that the HTTP server has, shared with whoever answers its requests.
#[derive(Debug)]
pub struct HttpConnection {
    /// What the connection counts as.
    pub permit: Rc<Permit>,
    limits: HttpLimits,
    phase: Cell<Phase>,
    /// When the phase began.
    since: Cell<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Head,
    Request,
}

/// A request that is being answered. Its connection is idle again when this is dropped.
#[derive(Debug)]
pub struct RequestGuard(Rc<HttpConnection>);

impl HttpConnection {
    /// A connection whose first request has begun.
    pub(super) fn new(permit: Rc<Permit>, limits: HttpLimits) -> Rc<Self> {
        Rc::new(Self {
            permit,
            limits,
            phase: Cell::new(Phase::Head),
            since: Cell::new(Instant::now()),
        })
    }

    /// Records that a request was read up to the end of its head.
    pub fn begin_request(self: &Rc<Self>) -> RequestGuard {
        if self.phase.get() == Phase::Idle {
            // One that came together with the request before it.
            self.since.set(Instant::now());
        }
        self.phase.set(Phase::Request);
        RequestGuard(Rc::clone(self))
    }

    fn read_some(&self) {
        if self.phase.get() == Phase::Idle {
            self.enter(Phase::Head);
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.since.set(Instant::now());
    }

    /// When the connection is cut if nothing else happens.
    pub(super) fn deadline(&self) -> Instant {
        let limit = match self.phase.get() {
            Phase::Idle => self.limits.keep_alive,
            Phase::Head => self.limits.head,
            Phase::Request => self.limits.request,
        };
        self.since.get() + limit
    }

    /// Names what a connection at its deadline has done wrong; `None` if it was merely idle.
    pub(super) fn problem(&self) -> Option<&'static str> {
        match self.phase.get() {
            Phase::Idle => None,
            Phase::Head => Some("slow request head"),
            Phase::Request => Some("slow request"),
        }
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.enter(Phase::Idle);
    }
}

/// The stream that the HTTP server reads from.
#[derive(Debug)]
pub struct HttpIo<T> {
    io: Rewound<T>,
    connection: Rc<HttpConnection>,
}

impl<T> HttpIo<T> {
    pub(super) const fn new(io: Rewound<T>, connection: Rc<HttpConnection>) -> Self {
        Self { io, connection }
    }

    /// The connection that the stream belongs to.
    pub const fn connection(&self) -> &Rc<HttpConnection> {
        &self.connection
    }

    pub(super) fn into_parts(self) -> (Rewound<T>, Rc<HttpConnection>) {
        (self.io, self.connection)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for HttpIo<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.connection.read_some();
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for HttpIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
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
        };
        HttpConnection::new(Permit::free(), limits)
    }

    #[tokio::test(start_paused = true)]
    async fn each_phase_has_its_own_deadline() {
        let connection = connection();
        let (mut peer, io) = duplex(64);
        let mut io = HttpIo::new(Rewound::new(Bytes::new(), io), Rc::clone(&connection));
        let left = || connection.deadline() - Instant::now();
        let mut buffer = [0; 1];

        assert_eq!((left(), connection.problem()), (SECOND, Some("slow request head")));
        advance(SECOND).await;
        let request = connection.begin_request();
        assert_eq!(left(), 9 * SECOND, "counted from the first byte");
        // The body of a request begins no other.
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
}
