//! Tests the driver under a paused clock, over a pipe whose capacity the test sets.

use std::{cell::Cell, net::SocketAddr, rc::Rc, time::Duration};

use actix::ActorContext;
use futures_util::FutureExt as _;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex},
    task::{JoinHandle, LocalSet, yield_now},
    time::advance,
};

use super::*;
use crate::transport::{Message, OutboxPool, text_frame};

const AGE: Duration = Duration::from_secs(10);
const LINGER: Duration = Duration::from_secs(2);

fn limits(outboxes: OutboxPool) -> Limits {
    Limits {
        message_bytes: 1024,
        outbox_bytes: 4096,
        outboxes,
        outbox_age: AGE,
        frames_per_minute: Some(60),
        linger: LINGER,
        worker: std::sync::Arc::default(),
        began: Instant::now(),
    }
}

/// How long the session pauses its inbox after "pause".
const PAUSE: Duration = Duration::from_secs(30);

/// One end of a pipe that records whether it was aborted.
struct Wire {
    stream: DuplexStream,
    aborted: Rc<Cell<bool>>,
}

impl Socket for Wire {
    fn peer(&self) -> Option<SocketAddr> {
        None
    }

    fn abort(&self) {
        self.aborted.set(true);
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Sends as many bytes as each message asks for, counts these messages and records its end.
struct TestSession {
    inbox: Inbox,
    outbox: Outbox,
    heard: Rc<Cell<usize>>,
    ended: Rc<Cell<bool>>,
}

impl Actor for TestSession {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Self::Context) {
        self.ended.set(true);
    }
}

impl StreamHandler<Inbound> for TestSession {
    fn handle(&mut self, inbound: Inbound, context: &mut Self::Context) {
        let now = Instant::now();
        match inbound {
            Inbound::Message(Message::Text(text)) if &*text == "panic" => panic!("as the client wished"),
            Inbound::Message(Message::Text(text)) if &*text == "pause" => {
                self.inbox.pause_until(now + PAUSE);
                context.run_later(PAUSE / 2, |session, _| {
                    session.outbox.push(text_frame(b"timer"), Instant::now());
                });
            }
            Inbound::Message(Message::Text(text)) => {
                self.heard.update(|heard| heard + 1);
                let bytes: usize = text.parse().unwrap();
                self.outbox.push(text_frame(&vec![b'x'; bytes]), now);
            }
            Inbound::Message(Message::Binary(_)) | Inbound::Drained => {}
            Inbound::Violation(violation) => self.outbox.close(None, violation.close(), now),
            Inbound::TooSlow => self.outbox.close(Some(text_frame(b"bye")), Close::TOO_SLOW, now),
            Inbound::Gone(_) | Inbound::Lost => context.stop(),
        }
    }
}

struct TestPeer {
    stream: DuplexStream,
    driver: JoinHandle<()>,
    aborted: Rc<Cell<bool>>,
    heard: Rc<Cell<usize>>,
    ended: Rc<Cell<bool>>,
}

impl TestPeer {
    /// Opens a connection over a pipe that holds `bytes` in each direction.
    async fn connect(bytes: usize) -> Self {
        Self::connect_in(&OutboxPool::new(usize::MAX), bytes).await
    }

    /// Like [`connect`](Self::connect), with an outbox that shares `pool`.
    async fn connect_in(pool: &OutboxPool, bytes: usize) -> Self {
        Self::connect_with(bytes, limits(pool.clone())).await
    }

    async fn connect_with(bytes: usize, limits: Limits) -> Self {
        let (stream, far) = duplex(bytes);
        let (aborted, ended, heard) = (Rc::default(), Rc::default(), Rc::default());
        let wire = Wire {
            stream: far,
            aborted: Rc::clone(&aborted),
        };
        let (session_heard, session_ended) = (Rc::clone(&heard), Rc::clone(&ended));
        let make = |inbox, outbox| TestSession {
            inbox,
            outbox,
            heard: session_heard,
            ended: session_ended,
        };
        let connection = Connection::new(wire, &[], Bytes::new(), limits, make);
        let driver = tokio::task::spawn_local(connection);
        settle().await;
        Self {
            stream,
            driver,
            aborted,
            heard,
            ended,
        }
    }

    /// Sends a masked text frame.
    async fn say(&mut self, text: &str) {
        self.stream.write_all(&masked(0x81, text)).await.unwrap();
        settle().await;
    }

    /// Reads until the connection's FIN.
    async fn read_to_end(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        self.stream.read_to_end(&mut all).await.unwrap();
        all
    }
}

/// Returns a frame with a mask of zeros.
fn masked(first: u8, payload: &str) -> Vec<u8> {
    let mut frame = vec![first, 0x80 | u8::try_from(payload.len()).unwrap(), 0, 0, 0, 0];
    frame.extend_from_slice(payload.as_bytes());
    frame
}

/// Lets all tasks run until they are idle at the current time.
async fn settle() {
    for _ in 0..20 {
        yield_now().await;
    }
}

async fn locally(test: impl AsyncFnOnce()) {
    LocalSet::new().run_until(async { test().await }).await;
}

fn close_frame_of(close: Close) -> Vec<u8> {
    crate::transport::frame::catalogued_close(close).to_vec()
}

#[tokio::test(start_paused = true)]
async fn a_session_that_panics_closes_its_own_connection_with_1011() {
    locally(async || {
        let mut peer = TestPeer::connect(4096).await;
        peer.say("panic").await;
        assert_eq!(peer.read_to_end().await, close_frame_of(Close::INTERNAL));
        assert!(peer.ended.get());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_is_reset_after_age_and_linger() {
    locally(async || {
        let mut peer = TestPeer::connect(64).await;
        peer.say("1000").await;
        advance(AGE).await;
        settle().await;
        assert!(peer.ended.get(), "the session is still running");
        assert!(
            !peer.driver.is_finished(),
            "the peer had no time to read the close frame"
        );
        advance(LINGER).await;
        settle().await;
        assert!(peer.driver.is_finished() && peer.aborted.get());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_evicted_peer_still_gets_the_started_frame_and_the_error() {
    locally(async || {
        let mut peer = TestPeer::connect(64).await;
        peer.say("1000").await;
        peer.say("7").await;
        advance(AGE).await;
        settle().await;
        let expected = [
            text_frame(&[b'x'; 1000]).to_vec(),
            text_frame(b"bye").to_vec(),
            close_frame_of(Close::TOO_SLOW),
        ];
        assert_eq!(peer.read_to_end().await, expected.concat());
        drop(peer.stream);
        settle().await;
        assert!(peer.driver.is_finished() && !peer.aborted.get());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn over_the_budget_of_the_node_the_fullest_connection_is_evicted() {
    locally(async || {
        let pool = OutboxPool::new(3000);
        let mut fullest = TestPeer::connect_in(&pool, 64).await;
        let mut other = TestPeer::connect_in(&pool, 64).await;
        fullest.say("1000").await;
        fullest.say("1000").await;
        other.say("900").await;
        assert!(!fullest.ended.get() && !other.ended.get());
        other.say("900").await;
        assert!(fullest.ended.get() && !other.ended.get());
        let all = fullest.read_to_end().await;
        assert!(all.ends_with(&close_frame_of(Close::TOO_SLOW)));
        assert_eq!(pool.condemned(), 1);
        drop((fullest.stream, other.stream));
        settle().await;
        assert_eq!(pool.bytes(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_outbox_over_its_limit_is_evicted_at_once() {
    locally(async || {
        let mut peer = TestPeer::connect(64).await;
        for _ in 0..5 {
            peer.say("1000").await;
        }
        assert!(peer.ended.get());
        let all = peer.read_to_end().await;
        assert!(all.ends_with(&[text_frame(b"bye").to_vec(), close_frame_of(Close::TOO_SLOW)].concat()));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_close_from_the_client_is_echoed_and_later_bytes_are_discarded() {
    locally(async || {
        let mut peer = TestPeer::connect(4096).await;
        peer.say("3").await;
        let close = [0x88, 0x82, 0, 0, 0, 0, 0x0f, 0xa0];
        peer.stream.write_all(&close).await.unwrap();
        peer.stream.write_all(&[0xff; 2000]).await.unwrap();
        let expected = [text_frame(b"xxx").to_vec(), vec![0x88, 2, 0x0f, 0xa0]];
        assert_eq!(peer.read_to_end().await, expected.concat());
        settle().await;
        assert!(
            !peer.driver.is_finished(),
            "the driver ended before the peer closed its side"
        );
        peer.stream.shutdown().await.unwrap();
        settle().await;
        assert!(peer.driver.is_finished() && !peer.aborted.get());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn messages_sent_before_a_disconnect_are_received() {
    locally(async || {
        let mut peer = TestPeer::connect(4096).await;
        let frame = [0x81, 0x81, 0, 0, 0, 0, b'5'];
        peer.stream.write_all(&frame).await.unwrap();
        peer.stream.shutdown().await.unwrap();
        settle().await;
        assert_eq!(peer.heard.get(), 1);
        assert!(peer.ended.get() && peer.driver.is_finished());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_pause_holds_back_messages_that_were_already_read() {
    locally(async || {
        let mut peer = TestPeer::connect(4096).await;
        let frames = [masked(0x81, "pause"), masked(0x81, "3"), masked(0x81, "4")].concat();
        peer.stream.write_all(&frames).await.unwrap();
        settle().await;
        advance(PAUSE / 2).await;
        settle().await;
        assert_eq!(peer.heard.get(), 0);
        advance(PAUSE / 2 + Duration::from_millis(1)).await;
        settle().await;
        assert_eq!(peer.heard.get(), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_connection_is_not_read() {
    locally(async || {
        let mut peer = TestPeer::connect(64).await;
        peer.say("pause").await;
        let frames = masked(0x81, "0").repeat(20);
        assert!(
            peer.stream.write_all(&frames).now_or_never().is_none(),
            "140 bytes fit into a 64-byte pipe"
        );
        advance(PAUSE / 2).await;
        settle().await;
        assert!(
            peer.stream.write_all(b"\0").now_or_never().is_none(),
            "the socket is read during the pause"
        );
        advance(PAUSE / 2 + Duration::from_millis(1)).await;
        settle().await;
        assert_eq!(peer.heard.get(), 9, "as many frames as fit into 64 bytes");
        assert!(peer.stream.write_all(b"\0").now_or_never().is_some());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn timers_and_writes_continue_during_a_pause() {
    locally(async || {
        let mut peer = TestPeer::connect(4096).await;
        peer.say("pause").await;
        advance(PAUSE / 2 + Duration::from_millis(1)).await;
        let mut sent = vec![0; text_frame(b"timer").len()];
        peer.stream.read_exact(&mut sent).await.unwrap();
        assert_eq!(sent, text_frame(b"timer"));
        assert_eq!(peer.heard.get(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_peer_is_evicted_during_a_pause() {
    locally(async || {
        let mut peer = TestPeer::connect(64).await;
        let frames = [masked(0x81, "1000"), masked(0x81, "pause"), masked(0x81, "7")].concat();
        peer.stream.write_all(&frames).await.unwrap();
        settle().await;
        advance(AGE).await;
        settle().await;
        assert!(peer.ended.get());
        let expected = [
            text_frame(&[b'x'; 1000]).to_vec(),
            text_frame(b"bye").to_vec(),
            close_frame_of(Close::TOO_SLOW),
        ];
        assert_eq!(peer.read_to_end().await, expected.concat());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn messages_sent_before_a_disconnect_are_received_after_a_pause() {
    locally(async || {
        let mut peer = TestPeer::connect(4096).await;
        let frames = [masked(0x81, "pause"), masked(0x81, "5")].concat();
        peer.stream.write_all(&frames).await.unwrap();
        peer.stream.shutdown().await.unwrap();
        settle().await;
        assert!(!peer.driver.is_finished());
        advance(PAUSE + Duration::from_millis(1)).await;
        settle().await;
        assert_eq!(peer.heard.get(), 1);
        assert!(peer.ended.get() && peer.driver.is_finished());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn control_and_continuation_frames_are_rate_limited() {
    locally(async || {
        // Pings, pongs and empty continuations, each one frame more than a minute allows.
        for (start, first) in [("", 0x89), ("", 0x8a), ("7", 0x00)] {
            let mut peer = TestPeer::connect(4096).await;
            if !start.is_empty() {
                peer.stream.write_all(&masked(0x01, start)).await.unwrap();
            }
            peer.stream.write_all(&masked(first, "").repeat(61)).await.unwrap();
            settle().await;
            let end = if start.is_empty() { 0x81 } else { 0x80 };
            peer.stream.write_all(&masked(end, "0")).await.unwrap();
            settle().await;
            assert_eq!(peer.heard.get(), 0, "{first:#x}");
            advance(Duration::from_millis(1900)).await;
            settle().await;
            assert_eq!(peer.heard.get(), 0, "{first:#x}");
            advance(Duration::from_millis(101)).await;
            settle().await;
            assert_eq!(peer.heard.get(), 1, "{first:#x}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_of_frames_per_minute_every_ping_is_answered() {
    locally(async || {
        let limits = Limits {
            frames_per_minute: None,
            ..limits(OutboxPool::new(usize::MAX))
        };
        let mut peer = TestPeer::connect_with(65_536, limits).await;
        for _ in 0..10 {
            peer.stream.write_all(&masked(0x89, "").repeat(500)).await.unwrap();
            let mut pongs = vec![0; 1000];
            peer.stream.read_exact(&mut pongs).await.unwrap();
        }
        peer.say("0").await;
        assert_eq!(peer.heard.get(), 1);
    })
    .await;
}

#[test]
fn an_idle_connection_is_small() {
    let bytes = size_of::<Connection<crate::transport::Plain, TestSession>>();
    assert!(bytes <= 512, "{bytes} bytes");
}
