//! The first thing that happens to a TCP connection: it is counted, and refused if it is one too many.
//!
//! A refused connection costs little. A few of them at a time may read why; the rest are cut at once. Those few places
//! and the descriptors behind them are kept back from everybody else, so that `/livez` answers on a node that is full.

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
    net::TcpStream,
    time::{Instant, timeout},
};

use super::address::is_proxy;
use crate::{
    admission::{Admission, Denied, Permit, RefusalPermit},
    client_error_log::ClientErrorLog,
    metrics::Metrics,
};

/// How long a refused connection may take to send its request and to read its answer, each.
const REFUSAL: Duration = Duration::from_secs(1);
/// The most bytes of a refused request that are looked at.
const REFUSED_BYTES: usize = 4096;

/// What connections are counted by, and what refused ones are told.
#[derive(Clone)]
pub struct Reception {
    /// The connections there are.
    pub admission: Admission,
    /// Proxies, which count against no address.
    pub trusted_proxies: Arc<[IpNet]>,
    /// Whether the listener speaks TLS, so that a refused connection cannot be told anything.
    pub is_tls: bool,
    /// The body of the answer to `GET /livez`.
    pub live: &'static str,
    /// The log of what clients do wrong.
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

    /// Returns what a refused connection still gets, if it gets anything.
    fn refuse(&self, stream: TcpStream, peer: IpAddr, denied: Denied) -> Option<LocalBoxFuture<'static, ()>> {
        let permit = if self.is_tls { None } else { self.admission.refuse(peer) };
        let Some(permit) = permit else {
            // Where it fails the kernel closes the connection in its own way.
            let _ = stream.set_zero_linger();
            return None;
        };
        Some(Box::pin(answer(stream, denied, self.live, permit)))
    }
}

/// Reads what a refused connection asks for, answers, and waits a moment for it to go.
async fn answer(mut stream: TcpStream, denied: Denied, live: &'static str, _permit: RefusalPermit) {
    let mut bytes = Vec::with_capacity(512);
    let read = async {
        let mut source = (&mut stream).take(REFUSED_BYTES as u64);
        while !is_whole(&bytes) && source.read_buf(&mut bytes).await? > 0 {}
        io::Result::Ok(())
    };
    // Whatever has come by then has to do.
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
        // A close with bytes unread would be a reset, which can take the answer from the client.
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

/// Whether no more bytes are needed to know what is asked for.
fn is_whole(bytes: &[u8]) -> bool {
    parse(bytes, |_, is_partial| !is_partial)
}

fn asks_whether_alive(bytes: &[u8]) -> bool {
    parse(bytes, |request, _| {
        matches!(request.method, Some("GET" | "HEAD")) && request.path == Some("/livez")
    })
}

/// Whether the answer has a body: that to HEAD has none.
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

/// Returns the head and the body of an answer.
fn response(status: &str, content_type: &str, headers: &str, body: &str) -> (String, String) {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n",
        body.len()
    );
    (head, body.to_owned())
}

/// An error that ends a connection.
pub trait ConnectionError {
    /// Names what the client did wrong; `None` if the connection merely broke.
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

/// Makes a worker's [`AcceptService`].
pub struct Accept<F> {
    reception: Reception,
    inner: F,
}

impl<F> Accept<F> {
    /// Counts connections before `inner` has them.
    pub const fn new(reception: Reception, inner: F) -> Self {
        Self { reception, inner }
    }
}

/// Counts the connections of one worker.
pub struct AcceptService<S> {
    reception: Rc<Reception>,
    inner: S,
}

impl<F> ServiceFactory<TcpStream> for Accept<F>
where
    F: ServiceFactory<(TcpStream, Rc<Permit>), Config = (), Response = (), InitError = ()>,
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

impl<S> Service<TcpStream> for AcceptService<S>
where
    S: Service<(TcpStream, Rc<Permit>), Response = ()>,
    S::Error: ConnectionError,
{
    type Response = ();
    type Error = Infallible;
    type Future = Accepting<S::Future>;

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // A service that will never be ready again fails in the call, for each connection anew.
        self.inner.poll_ready(cx).map(|_| Ok(()))
    }

    fn call(&self, stream: TcpStream) -> Self::Future {
        let Ok(peer) = stream.peer_addr().map(|peer| SocketAddr::ip(&peer).to_canonical()) else {
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

/// A connection until it ends, or has become a WebSocket with a task of its own.
pub enum Accepting<F> {
    /// It is counted.
    Admitted {
        /// What becomes of it.
        connection: Pin<Box<F>>,
        /// The address at its other end.
        peer: IpAddr,
        /// Where its errors go.
        reception: Rc<Reception>,
    },
    /// It is told why it is refused.
    Refused(LocalBoxFuture<'static, ()>),
    /// It is closed.
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
    fn only_a_question_for_life_is_answered_with_it() {
        assert!(asks_whether_alive(b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert!(asks_whether_alive(b"HEAD /livez HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert!(!asks_whether_alive(b"GET /livez2 HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert!(!asks_whether_alive(b"POST /livez HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert!(!asks_whether_alive(b"\x16\x03\x01"));
    }

    #[test]
    fn only_head_wants_no_body() {
        assert!(!wants_body(b"HEAD /livez HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert!(wants_body(b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert!(wants_body(b"\x16\x03\x01"));
    }

    #[test]
    fn a_refused_request_is_read_until_it_is_whole_or_makes_no_sense() {
        assert!(!is_whole(b""));
        assert!(!is_whole(b"GET /livez HTTP/1.1\r\nHost: h\r\n"));
        assert!(is_whole(b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert!(is_whole(b"\x16\x03\x01"));
    }

    #[test]
    fn a_refusal_says_why_and_when_to_come_again() {
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
