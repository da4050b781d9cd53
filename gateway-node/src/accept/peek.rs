//! Peeks at the first bytes of a connection and chooses who handles it.
//!
//! A client that opens a WebSocket sends its whole request at once. Such a request goes straight to the [`Upgrader`] and
//! bypasses the HTTP server, which would cost two buffers and several timers a connection. Anything else, and any
//! request that arrives slowly or in parts, goes to the HTTP server with the bytes already read put back in front. The
//! server parses them as if they had not been read, and passes upgrades on to the same [`Upgrader`].

use std::{
    cell::RefCell,
    marker::PhantomData,
    mem,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_codec::{Decoder as _, Framed};
use actix_http::{Protocol, ServiceConfig, h1::Codec};
use actix_service::{Service, ServiceFactory};
use bytes::{Bytes, BytesMut};
use futures_util::future::LocalBoxFuture;
use tokio::{
    io::ReadBuf,
    time::{Instant, Sleep, sleep, sleep_until},
};

use super::{
    Upgrader,
    http_connection::{HttpConnection, HttpIo, HttpLimits},
    upgrade::refuse,
};
use crate::{
    admission::Permit,
    transport::{HeaderBuf, PrefixedIo, Socket, UpgradeHead},
};

/// How long a connection may be silent before it is handed to the HTTP server.
const SILENCE: Duration = Duration::from_secs(1);
/// How long the HTTP server then waits for a complete request head. Together with the silence before, this is the
/// server's own default.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(4);
/// The most bytes peeked at. A longer request goes to the HTTP server.
const FIRST_BYTES: usize = 4096;

thread_local! {
    /// The read buffer of this worker, lent to one connection at a time.
    static SCRATCH: RefCell<[u8; FIRST_BYTES]> = const { RefCell::new([0; FIRST_BYTES]) };
}

/// How long after the HTTP server's own deadline a connection is cut. In that time the server can still send an error
/// response.
const GRACE: Duration = Duration::from_secs(1);

/// What the HTTP server is given: a stream with its first bytes put back, the protocol, and the peer's address.
pub(super) type PeekedIo<T> = (HttpIo<T>, Protocol, Option<SocketAddr>);

/// Makes a worker's `PeekService`.
pub struct Peek<F, T> {
    upgrader: Rc<Upgrader>,
    http: F,
    limits: HttpLimits,
    socket: PhantomData<T>,
}

impl<F, T> Peek<F, T> {
    /// Sends upgrades to `gate` and everything else to `http`. The HTTP server itself enforces `limits.keep_alive`,
    /// and `limits.head` for the first request.
    pub const fn new(upgrader: Rc<Upgrader>, http: F, limits: HttpLimits) -> Self {
        Self {
            upgrader,
            http,
            limits,
            socket: PhantomData,
        }
    }
}

/// The service of one worker that peeks at each accepted connection.
pub struct PeekService<S, T> {
    shared: Rc<PeekShared<S>>,
    socket: PhantomData<T>,
}

/// What the connections of one worker share.
struct PeekShared<S> {
    upgrader: Rc<Upgrader>,
    http: S,
    limits: HttpLimits,
    /// Configures the codec that encodes the responses to refused upgrades.
    config: ServiceConfig,
}

impl<I, F, T> ServiceFactory<(I, Rc<Permit>)> for Peek<F, T>
where
    I: Into<T>,
    T: Socket + 'static,
    F: ServiceFactory<PeekedIo<T>, Config = (), Response = (), InitError = ()>,
    F::Future: 'static,
{
    type Response = ();
    type Error = F::Error;
    type Config = ();
    type Service = PeekService<F::Service, T>;
    type InitError = ();
    type Future = LocalBoxFuture<'static, Result<Self::Service, ()>>;

    fn new_service(&self, (): ()) -> Self::Future {
        let (upgrader, http) = (Rc::clone(&self.upgrader), self.http.new_service(()));
        let HttpLimits {
            head,
            request,
            keep_alive,
            linger,
        } = self.limits;
        let limits = HttpLimits {
            head: head + GRACE,
            request,
            keep_alive: keep_alive + GRACE,
            linger: linger + GRACE,
        };
        Box::pin(async move {
            let shared = PeekShared {
                upgrader,
                http: http.await?,
                limits,
                config: ServiceConfig::default(),
            };
            Ok(PeekService {
                shared: Rc::new(shared),
                socket: PhantomData,
            })
        })
    }
}

impl<I, S, T> Service<(I, Rc<Permit>)> for PeekService<S, T>
where
    I: Into<T>,
    T: Socket + 'static,
    S: Service<PeekedIo<T>, Response = ()>,
{
    type Response = ();
    type Error = S::Error;
    type Future = PeekFuture<S, T>;

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.shared.http.poll_ready(cx)
    }

    fn call(&self, (stream, permit): (I, Rc<Permit>)) -> Self::Future {
        let io = stream.into();
        PeekFuture {
            shared: Rc::clone(&self.shared),
            peer: io.peer(),
            permit,
            state: AcceptState::Listening { io, silence: None },
        }
    }
}

/// The future of one connection: peeks at its first bytes, then runs the HTTP server's future if the connection goes
/// there.
pub struct PeekFuture<S: Service<PeekedIo<T>>, T> {
    shared: Rc<PeekShared<S>>,
    peer: Option<SocketAddr>,
    permit: Rc<Permit>,
    state: AcceptState<S::Future, T>,
}

enum AcceptState<H, T> {
    Listening {
        io: T,
        silence: Option<Pin<Box<Sleep>>>,
    },
    Refused(LocalBoxFuture<'static, ()>),
    Http(Box<Serving<H>>),
    /// The connection has become a WebSocket, with a task of its own, or has ended.
    Over,
}

/// A connection that the HTTP server handles.
struct Serving<H> {
    http: Pin<Box<H>>,
    connection: Rc<HttpConnection>,
    /// Fires no later than the deadline of the connection.
    alarm: Pin<Box<Sleep>>,
}

impl<H: Future> Serving<H> {
    /// Ready with the server's result when it is done, or with `None` when the connection is past its deadline and has
    /// to be cut.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<H::Output>> {
        if let Poll::Ready(ended) = self.http.as_mut().poll(cx) {
            return Poll::Ready(Some(ended));
        }
        let deadline = self.connection.deadline();
        if deadline < self.alarm.deadline() {
            self.alarm.as_mut().reset(deadline);
        }
        // A deadline that moves later costs nothing until the alarm for the earlier one fires.
        while self.alarm.as_mut().poll(cx).is_ready() {
            let deadline = self.connection.deadline();
            if deadline <= Instant::now() {
                return Poll::Ready(None);
            }
            self.alarm.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

impl<S, T> PeekFuture<S, T>
where
    T: Socket + 'static,
    S: Service<PeekedIo<T>, Response = ()>,
{
    /// Reads once and decides where the connection goes. Pending until bytes arrive or [`SILENCE`] has passed.
    fn listen(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        SCRATCH.with_borrow_mut(|scratch| {
            let AcceptState::Listening { io, silence } = &mut self.state else {
                return Poll::Ready(());
            };
            let mut buffer = ReadBuf::new(scratch);
            // An empty read is the end of the stream or an error. The HTTP server will meet either one again.
            if Pin::new(&mut *io).poll_read(cx, &mut buffer).is_pending() {
                let silence = silence.get_or_insert_with(|| Box::pin(sleep(SILENCE)));
                ready!(silence.as_mut().poll(cx));
            }
            if let AcceptState::Listening { io, .. } = mem::replace(&mut self.state, AcceptState::Over) {
                self.state = self.admit(io, buffer.filled());
            }
            Poll::Ready(())
        })
    }

    /// Decides where a connection goes that begins with these bytes.
    fn admit(&self, io: T, bytes: &[u8]) -> AcceptState<S::Future, T> {
        let PeekShared {
            upgrader,
            http,
            limits,
            config,
        } = &*self.shared;
        let mut room = HeaderBuf::default();
        let Some((head, length)) = UpgradeHead::read(bytes, self.peer, &mut room) else {
            let connection = HttpConnection::new(Rc::clone(&self.permit), *limits);
            let alarm = Box::pin(sleep_until(connection.deadline()));
            let prefixed = PrefixedIo::new(Bytes::copy_from_slice(bytes), io);
            let handed = HttpIo::new(prefixed, Rc::clone(&connection));
            return AcceptState::Http(Box::new(Serving {
                http: Box::pin(http.call((handed, Protocol::Http1, self.peer))),
                connection,
                alarm,
            }));
        };
        let (own, shared) = bytes.split_at(length);
        match upgrader.judge(&head, &self.permit) {
            Ok(admitted) => {
                upgrader.open(&head, io, shared, admitted);
                AcceptState::Over
            }
            Err(closed) => {
                // The codec can encode a response only to a request that it has decoded.
                let mut codec = Codec::new(config.clone());
                let _ = codec.decode(&mut BytesMut::from(own));
                AcceptState::Refused(Box::pin(refuse(Framed::new(io, codec), closed)))
            }
        }
    }
}

impl<S, T> Future for PeekFuture<S, T>
where
    T: Socket + 'static,
    S: Service<PeekedIo<T>, Response = ()>,
{
    type Output = Result<(), S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        ready!(this.listen(cx));
        match &mut this.state {
            AcceptState::Listening { .. } | AcceptState::Over => Poll::Ready(Ok(())),
            AcceptState::Refused(answering) => answering.as_mut().poll(cx).map(Ok),
            AcceptState::Http(serving) => {
                let Some(ended) = ready!(serving.poll(cx)) else {
                    if let (Some(peer), Some(problem)) = (this.peer, serving.connection.problem()) {
                        this.shared
                            .upgrader
                            .problems
                            .note(peer.ip().to_canonical(), problem, Instant::now());
                    }
                    return Poll::Ready(Ok(()));
                };
                Poll::Ready(ended)
            }
        }
    }
}

impl<S: Service<PeekedIo<T>>, T> Unpin for PeekFuture<S, T> {}

#[cfg(test)]
#[path = "peek_tests.rs"]
mod tests;
