//! Tests an [`Peek`] over pipes, under a paused clock, with a server behind it that records what it receives.

use std::{convert::Infallible, sync::Arc};

use actix_service::fn_service;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    task::{LocalSet, spawn_local, yield_now},
    time::Instant,
};

use super::*;
use crate::{
    accept::{BrowserPolicy, Purpose},
    admission::{Admission, AdmissionLimits},
    client_error_log::ClientErrorLog,
    config::{KeySettings, Secret, Settings},
    drain::DrainState,
    metrics::Metrics,
    transport::{Limits, OutboxPool},
};

const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const LIMITS: HttpLimits = HttpLimits {
    head: Duration::from_secs(4),
    request: Duration::from_secs(60),
    keep_alive: Duration::from_secs(75),
    linger: Duration::from_secs(1),
};
/// A text message with a mask of zeros, and its echo.
const HI: (&[u8], &[u8]) = (b"\x81\x82\0\0\0\0hi", b"\x81\x02hi");

impl Socket for DuplexStream {
    fn peer(&self) -> Option<SocketAddr> {
        None
    }

    fn abort(&self) {}
}

/// A node with a key, so that it is not in development mode.
fn settings(origins: &[&str]) -> Settings {
    let mut settings = Settings::default();
    settings.keys.push(KeySettings::development(Secret::from(
        "0123456789abcdef0123456789abcdef".to_owned(),
    )));
    settings.server.allowed_origins = origins.iter().map(|&origin| origin.to_owned()).collect();
    settings
}

fn upgrader(origins: &[&str]) -> Rc<Upgrader> {
    let admission = Admission::new(AdmissionLimits::UNLIMITED);
    Rc::new(Upgrader {
        purpose: Purpose::Echo,
        admission,
        limits: Rc::new(Limits {
            message_bytes: 1024,
            frames_per_minute: None,
            outbox_bytes: 4096,
            outboxes: OutboxPool::new(1 << 20),
            outbox_age: Duration::from_secs(10),
            linger: Duration::from_secs(2),
            worker: Arc::default(),
            began: Instant::now(),
        }),
        trusted_proxies: Arc::default(),
        browsers: BrowserPolicy::from(&settings(origins)),
        drain: DrainState::default(),
        problems: ClientErrorLog::default(),
        metrics: Arc::new(Metrics::default()),
    })
}

/// All bytes that the server received, and when it was given the connection. `None` if it was not given one.
type Got = Rc<RefCell<Option<(Vec<u8>, Instant)>>>;

/// Connects a client to an [`Peek`] in front of `gate`.
async fn enter(upgrader: &Rc<Upgrader>) -> (DuplexStream, Got) {
    let got = Got::default();
    let keeps = Rc::clone(&got);
    let server = fn_service(move |(mut io, _, _): PeekedIo<DuplexStream>| {
        let (keeps, since) = (Rc::clone(&keeps), Instant::now());
        async move {
            let mut bytes = Vec::new();
            io.read_to_end(&mut bytes).await.unwrap();
            *keeps.borrow_mut() = Some((bytes, since));
            Ok::<_, Infallible>(())
        }
    });
    let peek = Peek::<_, DuplexStream>::new(Rc::clone(upgrader), server, LIMITS);
    let door = ServiceFactory::<(DuplexStream, Rc<Permit>)>::new_service(&peek, ())
        .await
        .unwrap();
    let (client, io) = duplex(16 * 1024);
    let permit = upgrader.admission.connect(None, Instant::now()).unwrap();
    spawn_local(door.call((io, Rc::new(permit))));
    (client, got)
}

/// Sends these bytes in two parts and closes. Returns what the server received, if it was given the connection.
async fn served(first: &[u8], second: &[u8]) -> Option<Vec<u8>> {
    let (mut client, got) = enter(&upgrader(&[])).await;
    client.write_all(first).await.unwrap();
    for _ in 0..3 {
        yield_now().await;
    }
    client.write_all(second).await.unwrap();
    client.shutdown().await.unwrap();
    // Both sides close once they have read the end of the stream.
    client.read_to_end(&mut Vec::new()).await.unwrap();
    got.take().map(|(bytes, _)| bytes)
}

#[tokio::test(start_paused = true)]
async fn a_complete_upgrade_bypasses_the_server_with_the_bytes_after_it() {
    LocalSet::new()
        .run_until(async {
            let (mut client, got) = enter(&upgrader(&[])).await;
            client.write_all(&[UPGRADE, HI.0].concat()).await.unwrap();
            let mut answer = vec![0; 512];
            let mut length = 0;
            while !answer[..length].ends_with(HI.1) {
                let read = client.read(&mut answer[length..]).await.unwrap();
                assert_ne!(read, 0, "{answer:?}");
                length += read;
            }
            assert!(answer.starts_with(b"HTTP/1.1 101 Switching Protocols\r\n"));
            assert!(got.take().is_none());
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_arrives_in_parts_goes_to_the_server() {
    LocalSet::new()
        .run_until(async {
            for at in 0..UPGRADE.len() {
                let (first, second) = UPGRADE.split_at(at);
                if at > 0 {
                    assert_eq!(served(first, second).await.as_deref(), Some(UPGRADE), "cut at {at}");
                }
            }
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn anything_but_an_upgrade_goes_to_the_server() {
    LocalSet::new()
        .run_until(async {
            let huge = [b"GET / HTTP/1.1\r\nX: ", &[b'x'; 2 * FIRST_BYTES][..]].concat();
            for request in [
                &b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\nGET"[..],
                b"\x16\x03\x01\x02\0",
                &UPGRADE[5..],
                &huge,
                b"",
            ] {
                assert_eq!(served(request, b"").await.as_deref(), Some(request));
            }
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_with_a_bare_lf_is_refused_however_it_is_cut() {
    LocalSet::new()
        .run_until(async {
            let text = String::from_utf8_lossy(UPGRADE).replacen("Host: h\r\n", "Host: h\n", 1);
            let at = text.find('\n').unwrap() + 1 + "Host: h".len();
            let passed = [&text.as_bytes()[..at], b"\r\0"].concat();
            for cut in [at - 1, at, at + 1, text.len()] {
                let (first, second) = text.as_bytes().split_at(cut);
                assert_eq!(served(first, second).await, Some(passed.clone()), "cut at {cut}");
            }
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_goes_to_the_server_after_a_second() {
    LocalSet::new()
        .run_until(async {
            let begun = Instant::now();
            let (mut client, got) = enter(&upgrader(&[])).await;
            tokio::time::sleep(SILENCE * 2).await;
            client.shutdown().await.unwrap();
            client.read_to_end(&mut Vec::new()).await.unwrap();
            let (bytes, since) = got.take().unwrap();
            assert!(bytes.is_empty());
            assert_eq!((since - begun).as_secs(), SILENCE.as_secs());
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_request_head_is_cut_at_its_deadline() {
    LocalSet::new()
        .run_until(async {
            let upgrader = upgrader(&[]);
            let begun = Instant::now();
            let (mut client, got) = enter(&upgrader).await;
            client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
            client.read_to_end(&mut Vec::new()).await.unwrap();
            assert_eq!(begun.elapsed(), LIMITS.head + GRACE);
            assert_eq!((got.take(), upgrader.admission.connections()), (None, 0));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_upgrade_gets_an_http_response() {
    LocalSet::new()
        .run_until(async {
            let upgrader = upgrader(&["https://only.example"]);
            let (mut client, got) = enter(&upgrader).await;
            let request = String::from_utf8_lossy(UPGRADE).replacen("Host", "Origin: https://other.example\r\nHost", 1);
            client.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
            assert!(answer.ends_with(r#"{"code":"origin","message":"this origin may not connect"}"#));
            assert_eq!((got.take(), upgrader.admission.connections()), (None, 0));
        })
        .await;
}
