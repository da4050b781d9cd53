//! Decides whether a request may open a WebSocket, and opens it.

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
    header::{HeaderName, HeaderValue, USER_AGENT},
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
    session::{Discord, DiscordSessionSettings, Session, V1, V1SessionSettings, WorkerState},
    transport::{Connection, Echo, HandshakeRefusal, Limits, Socket, UpgradeHead, accept_key, switching_protocols},
};

/// How long a refused client may take to read the response.
const ANSWER: Duration = Duration::from_secs(5);

/// What the WebSockets of a listener are used for.
pub enum Purpose {
    /// Gateway sessions, at `/` and `//`.
    Gateway {
        /// The parts of the node that sessions use.
        worker: Rc<WorkerState>,
        /// The settings of protocol version 1.
        v1: Rc<V1SessionSettings>,
        /// The settings of Discord's protocol, versions 6 to 10.
        discord: Arc<DiscordSessionSettings>,
        /// Where clients of Discord's protocol resume.
        public_url: PublicUrl,
    },
    /// Echoes each message, at any path.
    Echo,
}

/// Decides about the upgrade requests of a worker.
pub struct Upgrader {
    /// What the WebSockets are used for.
    pub purpose: Purpose,
    /// Counts the connections and enforces their limits.
    pub admission: Admission,
    /// The limits of each connection.
    pub limits: Rc<Limits>,
    /// Proxies whose forwarding headers are trusted.
    pub trusted_proxies: Arc<[IpNet]>,
    /// Which web pages and host names are accepted.
    pub browsers: BrowserPolicy,
    /// Whether the node is draining. It then refuses upgrades.
    pub drain: DrainState,
    /// Logs refused requests.
    pub problems: ClientErrorLog,
    /// Counts refused requests.
    pub metrics: Arc<crate::metrics::Metrics>,
}

/// A request that may open a WebSocket.
pub(super) struct Admitted {
    accept: [u8; 28],
    /// The client's address.
    address: IpAddr,
    permits: Permits,
}

/// The permits of a WebSocket: one for its connection, and one for the client's address if a trusted proxy forwards it.
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

/// The names of the reasons why requests may not open a WebSocket.
pub const REFUSALS: [&str; 8] = [
    "not_found",
    "origin",
    "host",
    "draining",
    "full",
    "connections_per_address",
    "connection_attempts",
    "handshake",
];

/// Why a request may not open a WebSocket.
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
    /// The name of the reason in metrics and in the response.
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

/// Opens a WebSocket for an upgrade request that came through the HTTP server, or answers why not. The WebSocket runs
/// in a task of its own.
///
/// # Errors
/// Never; the HTTP server requires the type.
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

/// Answers a request that may not open a WebSocket.
pub(super) async fn refuse<T: AsyncRead + AsyncWrite + Unpin>(framed: Framed<T, Codec>, closed: UpgradeError) {
    // A client that does not read the response in time goes without.
    let _ = timeout(ANSWER, SendResponse::new(framed, closed.answer())).await;
}

impl Upgrader {
    /// Starts the WebSocket of an admitted request in a task of its own, so that an idle one takes no more memory than
    /// its own state. `unread` holds the bytes that arrived after the request.
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
                worker,
                v1,
                discord,
                public_url,
            } => {
                let (worker, permit) = (Rc::clone(worker), permits.of_client());
                let user_agent = head.first(&USER_AGENT).and_then(|name| str::from_utf8(name).ok());
                let client = worker.client_names.intern(user_agent, None);
                match RequestedProtocol::by(head) {
                    RequestedProtocol::V1 { v, compression } => {
                        let protocol = V1::new(v.as_deref(), compression.as_deref(), Rc::clone(v1), Instant::now());
                        let session =
                            |inbox, outbox| Session::new(protocol, inbox, outbox, address, client, permit, worker);
                        spawn(Connection::new(io, unread, unsent, limits, session), permits);
                    }
                    RequestedProtocol::Discord(query) => {
                        let resume_url = public_url.resume(head);
                        let protocol = Discord::new(query, resume_url, Arc::clone(discord), Instant::now());
                        let session =
                            |inbox, outbox| Session::new(protocol, inbox, outbox, address, client, permit, worker);
                        spawn(Connection::new(io, unread, unsent, limits, session), permits);
                    }
                }
            }
        }
    }

    /// Decides about a request. A refusal is counted and logged.
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

    /// Checks a request of the client at `address` that came over a connection from `peer`.
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
        // A client without a proxy was counted when its connection was accepted.
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

/// Runs a connection to its end in a task of its own. Its permits are dropped with it.
fn spawn(connection: impl Future<Output = ()> + Unpin + 'static, permits: Permits) {
    actix_rt::spawn(WithPermit {
        connection,
        _permits: permits,
    });
}

/// A connection with its permits. An `async` block would store the connection twice: as a captured variable and as the
/// awaited future.
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

/// The protocol that a URL asks for. The first value of a repeated parameter counts.
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
