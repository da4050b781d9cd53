//! The first bytes of a connection.
//!
//! A client that opens a WebSocket sends its whole request at once. Such a request goes to the gate as it is; the HTTP server,
//! with its two buffers, its timers and its own idea of a connection, hears nothing of it. Whatever else comes, and
//! whatever comes slowly or in parts, goes to the HTTP server with the bytes that were read put in front: it decides as
//! if nobody had looked, and hands upgrades to the same gate.

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

/// How long a connection may be silent before the HTTP server has it.
const SILENCE: Duration = Duration::from_secs(1);
/// How long the HTTP server then waits for a whole head. Both together are its own default.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(4);
/// The most bytes of a head that is not the HTTP server's.
const FIRST_BYTES: usize = 4096;

thread_local! {
    /// Lent to one connection at a time.
    static SCRATCH: RefCell<[u8; FIRST_BYTES]> = const { RefCell::new([0; FIRST_BYTES]) };
}

/// How much later than the HTTP server itself a connection is cut: the server can still say why.
const GRACE: Duration = Duration::from_secs(1);

/// What an HTTP server is handed: a stream whose first bytes were read.
pub(super) type PeekedIo<T> = (HttpIo<T>, Protocol, Option<SocketAddr>);

/// Makes a worker's [`PeekService`].
pub struct Peek<F, T> {
    upgrader: Rc<Upgrader>,
    http: F,
    limits: HttpLimits,
    socket: PhantomData<T>,
}

impl<F, T> Peek<F, T> {
    /// An entrance to a gate, and to an HTTP server for everything else. The server keeps `limits.keep_alive` and the
    /// first `limits.head` itself.
    pub const fn new(upgrader: Rc<Upgrader>, http: F, limits: HttpLimits) -> Self {
        Self {
            upgrader,
            http,
            limits,
            socket: PhantomData,
        }
    }
}

/// Where the connections of one worker come in.
pub struct PeekService<S, T> {
    shared: Rc<PeekShared<S>>,
    socket: PhantomData<T>,
}

/// What is behind a door.
struct PeekShared<S> {
    upgrader: Rc<Upgrader>,
    http: S,
    limits: HttpLimits,
    /// What the answers to refused clients are written by.
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

/// A connection until it is known what it is; then what the HTTP server makes of it, if it is for that.
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
    /// It has a task of its own, or is gone.
    Over,
}

/// A connection that the HTTP server has.
struct Serving<H> {
    http: Pin<Box<H>>,
    connection: Rc<HttpConnection>,
    /// Fires no later than the deadline of the connection.
    alarm: Pin<Box<Sleep>>,
}

impl<H: Future> Serving<H> {
    /// Ready when the server is done; with `None` when the connection has taken too long and is to be cut.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<H::Output>> {
        if let Poll::Ready(ended) = self.http.as_mut().poll(cx) {
            return Poll::Ready(Some(ended));
        }
        let deadline = self.connection.deadline();
        if deadline < self.alarm.deadline() {
            self.alarm.as_mut().reset(deadline);
        }
        // A deadline that moved on costs nothing until the alarm for the earlier one fires.
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
    /// Reads for the first time and decides where the connection goes. Pending while there is nothing to read.
    fn listen(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        SCRATCH.with_borrow_mut(|scratch| {
            let AcceptState::Listening { io, silence } = &mut self.state else {
                return Poll::Ready(());
            };
            let mut buffer = ReadBuf::new(scratch);
            // Nothing read is the end of the stream, or a broken one, which the HTTP server finds out again.
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

    /// Where a connection goes that begins with these bytes.
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
                // The codec writes an answer to the request that it has read.
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
