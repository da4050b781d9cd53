//! One upgrade request.

use std::{
    borrow::Cow,
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use actix_codec::{AsyncRead, AsyncWrite, Framed};
use actix_http::{
    Request, Response, StatusCode,
    h1::{Codec, SendResponse},
    header::{HeaderName, HeaderValue},
};
use ipnet::IpNet;
use shared::{close::Close, discord::Query};
use tokio::time::{Instant, timeout};

use super::{
    address::{client_address, is_proxy},
    browsers::{BrowserPolicy, Foreign},
    http_connection::HttpIo,
};
use crate::{
    admission::{Admission, Denied, Permit},
    client_error_log::ClientErrorLog,
    drain::DrainState,
    public_url::PublicUrl,
    session::{Discord, DiscordSessionSettings, Services, Session, V1, V1SessionSettings},
    transport::{Connection, Echo, HandshakeRefusal, Limits, Socket, UpgradeHead, accept_key, switching_protocols},
};

/// How long a refused client has to take its answer.
const ANSWER: Duration = Duration::from_secs(5);

/// What a listener's WebSockets are for.
pub enum Purpose {
    /// Gateway sessions, at `/` and `//`.
    Gateway {
        /// What sessions ask others for.
        services: Rc<Services>,
        /// The rules of version 1.
        v1: Arc<V1SessionSettings>,
        /// The rules of versions 6 to 10.
        discord: Arc<DiscordSessionSettings>,
        /// Where clients of those are to resume.
        public_url: PublicUrl,
    },
    /// Sending back what comes, at any path.
    Echo,
}

/// What every upgrade on a worker is judged by.
pub struct Upgrader {
    /// What the WebSockets are for.
    pub purpose: Purpose,
    /// Who is there already.
    pub admission: Admission,
    /// What one connection may cost.
    pub limits: Rc<Limits>,
    /// Proxies that are believed.
    pub trusted_proxies: Arc<[IpNet]>,
    /// Which web pages are let in.
    pub browsers: BrowserPolicy,
    /// Whether the node is leaving.
    pub drain: DrainState,
    /// Where the log hears of what was refused.
    pub problems: ClientErrorLog,
    /// What is counted.
    pub metrics: Arc<crate::metrics::Metrics>,
}

/// A request that may open a WebSocket.
pub(super) struct Admitted {
    accept: [u8; 28],
    /// The address that it counts for.
    address: IpAddr,
    permits: Permits,
}

/// What a WebSocket counts as: a connection, and what a trusted proxy has forwarded if it comes through one.
#[derive(Debug, Clone)]
struct Permits {
    connection: Rc<Permit>,
    forwarded: Option<Rc<Permit>>,
}

impl Permits {
    /// The permit that counts for the client's address.
    fn of_client(&self) -> Rc<Permit> {
        Rc::clone(self.forwarded.as_ref().unwrap_or(&self.connection))
    }
}

/// Why a request opens no WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum UpgradeError {
    #[error("there is no WebSocket at this path")]
    Path,
    #[error(transparent)]
    Foreign(#[from] Foreign),
    #[error("the node is restarting")]
    Draining,
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error(transparent)]
    Handshake(#[from] HandshakeRefusal),
}

impl UpgradeError {
    /// The word in the metrics and in the answer.
    const fn word(self) -> &'static str {
        match self {
            Self::Path => "not_found",
            Self::Foreign(foreign) => foreign.code(),
            Self::Draining => "draining",
            Self::Denied(denied) => denied.code(),
            Self::Handshake(_) => "handshake",
        }
    }

    fn answer(self) -> Response<String> {
        let body = serde_json::json!({ "code": self.word(), "message": self.to_string() }).to_string();
        let (status, explained): (_, &[_]) = match self {
            Self::Path => (StatusCode::NOT_FOUND, &[]),
            Self::Foreign(_) => (StatusCode::FORBIDDEN, &[]),
            Self::Draining | Self::Denied(Denied::Full) => (StatusCode::SERVICE_UNAVAILABLE, &[("retry-after", "1")]),
            Self::Denied(_) => (StatusCode::TOO_MANY_REQUESTS, &[("retry-after", "1")]),
            Self::Handshake(refusal) => (refusal.status(), refusal.headers()),
        };
        let mut response = Response::with_body(status, body);
        for (name, value) in [("content-type", "application/json"), ("connection", "close")]
            .iter()
            .chain(explained)
        {
            response
                .headers_mut()
                .insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        response
    }
}

/// Turns an upgrade request that the HTTP server has read into a connection that goes on by itself, or answers why not.
///
/// # Errors
/// Never; the type is what the server asks for.
pub async fn serve<T: Socket + 'static>(
    request: Request,
    framed: Framed<HttpIo<T>, Codec>,
    upgrader: Rc<Upgrader>,
) -> Result<(), Infallible> {
    let head = UpgradeHead::of(request.head());
    let permit = Rc::clone(&framed.io_ref().connection().permit);
    match upgrader.judge(&head, &permit) {
        Ok(admitted) => {
            let parts = framed.into_parts();
            let (prefixed, _) = parts.io.into_parts();
            let (front, io) = prefixed.into_parts();
            let mut unread = parts.read_buf;
            unread.extend_from_slice(&front);
            upgrader.open(&head, io, &unread, admitted);
        }
        Err(closed) => refuse(framed, closed).await,
    }
    Ok(())
}

/// Answers why a request opens no WebSocket.
pub(super) async fn refuse<T: AsyncRead + AsyncWrite + Unpin>(framed: Framed<T, Codec>, closed: UpgradeError) {
    // One that does not take its answer goes without.
    let _ = timeout(ANSWER, SendResponse::new(framed, closed.answer())).await;
}

impl Upgrader {
    /// Starts the connection behind an admitted request, as a task of its own: at rest it has room for itself alone.
    /// `unread` is what has come behind the request.
    pub(super) fn open<T: Socket + 'static>(&self, head: &UpgradeHead<'_>, io: T, unread: &[u8], admitted: Admitted) {
        let Admitted {
            accept,
            address,
            permits,
        } = admitted;
        let unsent = switching_protocols(&accept);
        let limits = Rc::clone(&self.limits);
        match &self.purpose {
            Purpose::Echo => spawn(
                Connection::new(io, unread, unsent, limits, |_, outbox| Echo::new(outbox)),
                permits,
            ),
            Purpose::Gateway {
                services,
                v1,
                discord,
                public_url,
            } => {
                let (services, permit) = (Rc::clone(services), permits.of_client());
                match RequestedProtocol::by(head) {
                    RequestedProtocol::V1 { v, compression } => {
                        let protocol = V1::new(v.as_deref(), compression.as_deref(), Arc::clone(v1), Instant::now());
                        let session = |inbox, outbox| Session::new(protocol, inbox, outbox, address, permit, services);
                        spawn(Connection::new(io, unread, unsent, limits, session), permits);
                    }
                    RequestedProtocol::Discord(query) => {
                        let resume_url = public_url.resume(head);
                        let protocol = Discord::new(query, resume_url, Arc::clone(discord), Instant::now());
                        let session = |inbox, outbox| Session::new(protocol, inbox, outbox, address, permit, services);
                        spawn(Connection::new(io, unread, unsent, limits, session), permits);
                    }
                }
            }
        }
    }

    /// Decides about a request, and notes what is refused.
    pub(super) fn judge(&self, head: &UpgradeHead<'_>, connection: &Rc<Permit>) -> Result<Admitted, UpgradeError> {
        let peer = head
            .peer
            .unwrap_or_else(|| SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
        let address = client_address(head, peer, &self.trusted_proxies);
        self.admit(head, peer.ip().to_canonical(), address, connection)
            .inspect_err(|closed| {
                self.metrics.upgrade_refused(closed.word());
                self.problems.note(address, closed.word(), Instant::now());
            })
    }

    /// Admits a request of a client at `address` that came over a connection from `peer`.
    fn admit(
        &self,
        head: &UpgradeHead<'_>,
        peer: IpAddr,
        address: IpAddr,
        connection: &Rc<Permit>,
    ) -> Result<Admitted, UpgradeError> {
        if self.drain.refuses() {
            return Err(UpgradeError::Draining);
        }
        // Whoever is connected directly was counted when the connection was accepted.
        let is_forwarded = peer != address && !is_proxy(address, &self.trusted_proxies);
        let forward = || self.admission.forward(address, Instant::now()).map(Rc::new);
        let permits = Permits {
            connection: Rc::clone(connection),
            forwarded: is_forwarded.then(forward).transpose()?,
        };
        if matches!(self.purpose, Purpose::Gateway { .. }) && !matches!(head.path, "/" | "//" | "") {
            return Err(UpgradeError::Path);
        }
        let accept = accept_key(head)?;
        self.browsers.check_upgrade(head)?;
        permits.connection.become_websocket();
        Ok(Admitted {
            accept,
            address,
            permits,
        })
    }
}

/// Drives a connection to its end and gives its place back then.
fn spawn(connection: impl Future<Output = ()> + Unpin + 'static, permits: Permits) {
    actix_rt::spawn(WithPermit {
        connection,
        _permits: permits,
    });
}

/// A connection and its place. An `async` block would hold the connection twice: as what it was given, and as what it
/// awaits.
struct WithPermit<F> {
    connection: F,
    _permits: Permits,
}

impl<F: Future<Output = ()> + Unpin> Future for WithPermit<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.connection).poll(cx)
    }
}

/// The protocol that a URL asks for. A parameter that is there twice counts with its first value.
enum RequestedProtocol<'a> {
    V1 {
        v: Option<Cow<'a, str>>,
        compression: Option<Cow<'a, str>>,
    },
    Discord(Result<Query, Close>),
}

impl<'a> RequestedProtocol<'a> {
    fn by(head: &UpgradeHead<'a>) -> Self {
        let (mut v, mut encoding, mut compress, mut compression) = (None, None, None, None);
        for (key, value) in form_urlencoded::parse(head.query.unwrap_or_default().as_bytes()) {
            let place = match &*key {
                "v" => &mut v,
                "encoding" => &mut encoding,
                "compress" => &mut compress,
                "compression" => &mut compression,
                _ => continue,
            };
            place.get_or_insert(value);
        }
        match Query::parse(v.as_deref(), encoding.as_deref(), compress.as_deref()) {
            Some(query) => Self::Discord(query),
            None => Self::V1 { v, compression },
        }
    }
}
