//! Counts each connection as it is accepted, and refuses those beyond a limit.
//!
//! A refused connection costs little. A few at a time may read a response that says why; the rest are cut at once.
//! File descriptors are reserved for those few, so that `/livez` answers even on a full node.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use actix_http::error::DispatchError;
use actix_service::{Service, ServiceFactory};
use actix_tls::accept::TlsError;
use futures_util::future::LocalBoxFuture;
use httparse::{Request, Status};
use ipnet::IpNet;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{Instant, timeout},
};

use super::address::is_proxy;
use crate::{
    admission::{Admission, Denied, Permit, RefusalPermit},
    client_error_log::ClientErrorLog,
    metrics::Metrics,
    transport::Socket,
};

/// How long a refused connection may take to send its request, and again to read the response.
const REFUSAL: Duration = Duration::from_secs(1);
/// The most bytes read of a refused request.
const REFUSED_BYTES: usize = 4096;

/// How connections are counted and how refused ones are answered.
#[derive(Clone)]
pub struct Reception {
    /// Counts the connections and enforces their limits.
    pub admission: Admission,
    /// The trusted proxies, which count against no address.
    pub trusted_proxies: Arc<[IpNet]>,
    /// Whether the listener speaks TLS. A refused connection then gets no response.
    pub is_tls: bool,
    /// The body of the response to `GET /livez`.
    pub live: &'static str,
    /// Logs the errors of clients.
    pub problems: ClientErrorLog,
    /// Counts refused connections.
    pub metrics: Arc<Metrics>,
}

impl Reception {
    fn admit(&self, peer: IpAddr) -> Result<Permit, Denied> {
        let counted = (!is_proxy(peer, &self.trusted_proxies)).then_some(peer);
        self.admission.connect(counted, Instant::now()).inspect_err(|denied| {
            self.metrics.connection_refused(denied.code());
            self.problems.note(peer, denied.code(), Instant::now());
        })
    }

    /// Returns the future that answers a refused connection, or `None` if the connection is cut.
    fn refuse<T: Socket + 'static>(
        &self,
        stream: T,
        peer: IpAddr,
        denied: Denied,
    ) -> Option<LocalBoxFuture<'static, ()>> {
        let permit = if self.is_tls { None } else { self.admission.refuse(peer) };
        let Some(permit) = permit else {
            stream.abort();
            return None;
        };
        Some(Box::pin(answer(stream, denied, self.live, permit)))
    }
}

/// Reads the request of a refused connection, answers it, and waits up to [`REFUSAL`] for the client to close.
async fn answer(mut stream: impl Socket, denied: Denied, live: &'static str, _permit: RefusalPermit) {
    let mut bytes = Vec::with_capacity(512);
    let read = async {
        let mut source = (&mut stream).take(REFUSED_BYTES as u64);
        while !is_whole(&bytes) && source.read_buf(&mut bytes).await? > 0 {}
        io::Result::Ok(())
    };
    // On timeout, answer according to what has arrived.
    let _ = timeout(REFUSAL, read).await;
    let (head, body) = if asks_whether_alive(&bytes) {
        response("200 OK", "text/plain; charset=utf-8", "", live)
    } else {
        refusal(denied)
    };
    let text = if wants_body(&bytes) { head + &body } else { head };
    let write = async {
        stream.write_all(text.as_bytes()).await?;
        stream.shutdown().await?;
        // Closing with unread bytes sends a reset, and the client could lose the response.
        let mut rest = [0; 512];
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = timeout(REFUSAL, write).await;
}

fn parse<T>(bytes: &[u8], look: impl FnOnce(&Request<'_, '_>, bool) -> T) -> T {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut request = Request::new(&mut fields);
    let is_partial = matches!(request.parse(bytes), Ok(Status::Partial));
    look(&request, is_partial)
}

/// Whether `bytes` hold a complete request head or can never become one.
fn is_whole(bytes: &[u8]) -> bool {
    parse(bytes, |_, is_partial| !is_partial)
}

fn asks_whether_alive(bytes: &[u8]) -> bool {
    parse(bytes, |request, _| {
        matches!(request.method, Some("GET" | "HEAD")) && request.path == Some("/livez")
    })
}

/// Whether the response has a body. A response to HEAD has none.
fn wants_body(bytes: &[u8]) -> bool {
    parse(bytes, |request, _| request.method != Some("HEAD"))
}

/// Returns the head and the body of a refusal.
fn refusal(denied: Denied) -> (String, String) {
    let status = match denied {
        Denied::Full => "503 Service Unavailable",
        Denied::PerAddress | Denied::Keyless | Denied::Attempts => "429 Too Many Requests",
    };
    let body = serde_json::json!({ "code": denied.code(), "message": denied.to_string() }).to_string();
    response(status, "application/json", "retry-after: 1\r\n", &body)
}

/// Returns the head and the body of a response.
fn response(status: &str, content_type: &str, headers: &str, body: &str) -> (String, String) {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n",
        body.len()
    );
    (head, body.to_owned())
}

/// An error that ends a connection.
pub trait ConnectionError {
    /// Names what the client did wrong. `None` if the connection only broke.
    fn problem(&self) -> Option<&'static str>;
}

impl ConnectionError for DispatchError {
    fn problem(&self) -> Option<&'static str> {
        match self {
            Self::Parse(_) => Some("malformed request"),
            Self::SlowRequestTimeout => Some("slow request head"),
            _ => None,
        }
    }
}

impl ConnectionError for TlsError<io::Error, DispatchError> {
    fn problem(&self) -> Option<&'static str> {
        match self {
            Self::Timeout => Some("slow tls handshake"),
            Self::Tls(error) if error.kind() == io::ErrorKind::InvalidData => Some("malformed tls handshake"),
            Self::Tls(_) => None,
            Self::Service(error) => error.problem(),
        }
    }
}

impl ConnectionError for Infallible {
    fn problem(&self) -> Option<&'static str> {
        match *self {}
    }
}

/// Makes a worker's `AcceptService`.
pub struct Accept<F> {
    reception: Reception,
    inner: F,
}

impl<F> Accept<F> {
    /// Counts connections and passes the admitted ones to `inner`.
    pub const fn new(reception: Reception, inner: F) -> Self {
        Self { reception, inner }
    }
}

/// The service of one worker that counts connections and refuses those beyond a limit.
pub struct AcceptService<S> {
    reception: Rc<Reception>,
    inner: S,
}

impl<F, T> ServiceFactory<T> for Accept<F>
where
    T: Socket + 'static,
    F: ServiceFactory<(T, Rc<Permit>), Config = (), Response = (), InitError = ()>,
    F::Error: ConnectionError,
    F::Future: 'static,
{
    type Response = ();
    type Error = Infallible;
    type Config = ();
    type Service = AcceptService<F::Service>;
    type InitError = ();
    type Future = LocalBoxFuture<'static, Result<Self::Service, ()>>;

    fn new_service(&self, (): ()) -> Self::Future {
        let (reception, inner) = (Rc::new(self.reception.clone()), self.inner.new_service(()));
        Box::pin(async move {
            Ok(AcceptService {
                reception,
                inner: inner.await?,
            })
        })
    }
}

impl<S, T> Service<T> for AcceptService<S>
where
    T: Socket + 'static,
    S: Service<(T, Rc<Permit>), Response = ()>,
    S::Error: ConnectionError,
{
    type Response = ();
    type Error = Infallible;
    type Future = Accepting<S::Future>;

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // An error here would mean that the inner service is never ready again. Its calls then fail, one connection at
        // a time.
        self.inner.poll_ready(cx).map(|_| Ok(()))
    }

    fn call(&self, stream: T) -> Self::Future {
        let Some(peer) = stream.peer().map(|peer| SocketAddr::ip(&peer).to_canonical()) else {
            return Accepting::Over;
        };
        match self.reception.admit(peer) {
            Ok(permit) => Accepting::Admitted {
                connection: Box::pin(self.inner.call((stream, Rc::new(permit)))),
                peer,
                reception: Rc::clone(&self.reception),
            },
            Err(denied) => match self.reception.refuse(stream, peer, denied) {
                Some(answer) => Accepting::Refused(answer),
                None => Accepting::Over,
            },
        }
    }
}

/// The future of one connection. It ends with the connection, or when that has become a WebSocket with its own task.
pub enum Accepting<F> {
    /// The connection was admitted and is counted.
    Admitted {
        /// The inner service's future.
        connection: Pin<Box<F>>,
        /// The address of the peer.
        peer: IpAddr,
        /// Has the log for the connection's errors.
        reception: Rc<Reception>,
    },
    /// The connection was refused and is being answered.
    Refused(LocalBoxFuture<'static, ()>),
    /// The connection is closed.
    Over,
}

impl<F, E> Future for Accepting<F>
where
    F: Future<Output = Result<(), E>>,
    E: ConnectionError,
{
    type Output = Result<(), Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Admitted {
                connection,
                peer,
                reception,
            } => connection.as_mut().poll(cx).map(|ended| {
                if let Some(problem) = ended.err().and_then(|error| error.problem()) {
                    reception.problems.note(*peer, problem, Instant::now());
                }
                Ok(())
            }),
            Self::Refused(answer) => answer.as_mut().poll(cx).map(Ok),
            Self::Over => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_get_and_head_of_livez_are_liveness_probes() {
        assert!(asks_whether_alive(b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert!(asks_whether_alive(b"HEAD /livez HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert!(!asks_whether_alive(b"GET /livez2 HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert!(!asks_whether_alive(b"POST /livez HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert!(!asks_whether_alive(b"\x16\x03\x01"));
    }

    #[test]
    fn only_a_head_request_gets_no_body() {
        assert!(!wants_body(b"HEAD /livez HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert!(wants_body(b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert!(wants_body(b"\x16\x03\x01"));
    }

    #[test]
    fn a_refused_request_is_read_until_complete_or_malformed() {
        assert!(!is_whole(b""));
        assert!(!is_whole(b"GET /livez HTTP/1.1\r\nHost: h\r\n"));
        assert!(is_whole(b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert!(is_whole(b"\x16\x03\x01"));
    }

    #[test]
    fn a_refusal_has_a_reason_and_retry_after() {
        let (head, body) = refusal(Denied::PerAddress);
        assert!(head.ends_with("\r\n\r\n"), "{head}");
        assert!(
            head.starts_with("HTTP/1.1 429 ") && head.contains("\r\nretry-after: 1"),
            "{head}"
        );
        assert!(
            head.contains(&format!("\r\ncontent-length: {}\r\n", body.len())),
            "{head}"
        );
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&body).unwrap()["code"],
            "connections_per_address"
        );
        assert!(refusal(Denied::Full).0.starts_with("HTTP/1.1 503 "));
    }
}
