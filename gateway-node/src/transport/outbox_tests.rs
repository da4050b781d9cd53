//! Tests the queue and its writes, over a pipe that accepts as much as a test allows, and over TCP.

use std::{future::poll_fn, task::Waker};

use tokio::io::AsyncReadExt;

use super::*;
use crate::transport::{Plain, Socket};

/// A writer that accepts `a_call` bytes in each of `calls` calls, then blocks.
struct Pipe {
    taken: Vec<u8>,
    a_call: usize,
    calls: usize,
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.calls == 0 {
            return Poll::Pending;
        }
        self.calls -= 1;
        let count = self.a_call.min(bytes.len());
        self.taken.extend_from_slice(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let joined: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        self.poll_write(cx, &joined)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn write(outbox: &Outbox, pipe: &mut Pipe) -> bool {
    outbox
        .poll_write(pipe, &WorkerMetrics::default(), &mut Context::from_waker(Waker::noop()))
        .is_ready()
}

#[tokio::test(start_paused = true)]
async fn queued_frames_leave_in_one_write() {
    let outbox = Outbox::new(100);
    for part in ["one", "two", "three"] {
        assert_eq!(
            outbox.push(Bytes::from_static(part.as_bytes()), Instant::now()),
            Push::Taken
        );
    }
    let mut pipe = Pipe {
        taken: vec![],
        a_call: 100,
        calls: 1,
    };
    assert!(write(&outbox, &mut pipe));
    assert_eq!(pipe.taken, b"onetwothree");
    assert_eq!(outbox.0.borrow().queue.capacity(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_bytes_and_frames_that_the_socket_takes_are_counted_without_the_handshake() {
    let (outbox, worker) = (Outbox::new(100), WorkerMetrics::default());
    outbox.begin_with(Bytes::from_static(b"HTTP"), Instant::now());
    assert_eq!(outbox.push(Bytes::from_static(b"first"), Instant::now()), Push::Taken);
    assert_eq!(
        outbox.push_answer(Bytes::from_static(b"2nd"), Instant::now()),
        Push::Taken
    );
    let mut pipe = Pipe {
        taken: vec![],
        a_call: 3,
        calls: 0,
    };
    let mut counts = Vec::new();
    for _ in 0..4 {
        pipe.calls += 1;
        let cx = &mut Context::from_waker(Waker::noop());
        let is_empty = outbox.poll_write(&mut pipe, &worker, cx).is_ready();
        counts.push((worker.bytes_out.get(), worker.frames_out.get(), is_empty));
        assert_eq!(outbox.take_answered(), is_empty);
    }
    assert_eq!(counts, [(0, 0, false), (2, 0, false), (5, 1, false), (8, 2, true)]);
    assert!(!outbox.take_answered());
}

#[tokio::test(start_paused = true)]
async fn an_eviction_finishes_the_started_frame_and_drops_the_others() {
    let outbox = Outbox::new(8);
    assert_eq!(outbox.push(Bytes::from_static(b"first"), Instant::now()), Push::Taken);
    assert_eq!(outbox.push(Bytes::from_static(b"2nd"), Instant::now()), Push::Taken);
    let mut pipe = Pipe {
        taken: vec![],
        a_call: 2,
        calls: 1,
    };
    assert!(!write(&outbox, &mut pipe));
    assert_eq!(outbox.push(Bytes::from_static(b"3rd"), Instant::now()), Push::Full);
    assert!(outbox.has_overflowed());
    outbox.drop_unstarted();
    outbox.close(Some(Bytes::from_static(b"bye")), Close::TOO_SLOW, Instant::now());
    pipe.calls = 100;
    assert!(write(&outbox, &mut pipe));
    assert!(pipe.taken.starts_with(b"firstbye\x88"), "{:?}", pipe.taken);
    assert_eq!(outbox.push(Bytes::new(), Instant::now()), Push::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_frame_over_the_limit_is_accepted_only_into_an_empty_outbox() {
    let (large, small) = (Bytes::from_static(&[b'x'; 200]), Bytes::from_static(b"small"));
    for deliver in [false, true] {
        let give = |outbox: &Outbox, frame: &Bytes| {
            if deliver {
                outbox.deliver(&Batch::from(frame.clone()), Instant::now())
            } else {
                outbox.push(frame.clone(), Instant::now())
            }
        };
        let outbox = Outbox::new(100);
        assert_eq!(give(&outbox, &large), Push::Taken);
        assert_eq!(outbox.waiting(), 200);
        assert_eq!(give(&outbox, &small), Push::Full);
        let outbox = Outbox::new(100);
        assert_eq!(give(&outbox, &small), Push::Taken);
        assert_eq!(give(&outbox, &large), Push::Full);
        assert!(outbox.has_overflowed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_partial_write_resumes_in_the_middle_of_a_frame() {
    let outbox = Outbox::new(100);
    for part in ["abc", "defg", "h"] {
        outbox.push(Bytes::from_static(part.as_bytes()), Instant::now());
    }
    let mut pipe = Pipe {
        taken: vec![],
        a_call: 5,
        calls: 1,
    };
    assert!(!write(&outbox, &mut pipe));
    assert_eq!(outbox.0.borrow().bytes, 3);
    pipe.calls = 1;
    assert!(write(&outbox, &mut pipe));
    assert_eq!(pipe.taken, b"abcdefgh");
}

/// Opens a TCP connection whose small buffers accept the same number of bytes in every run. The server's socket sends.
async fn tcp() -> (Plain, tokio::net::TcpStream) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = tokio::net::TcpSocket::new_v4().unwrap();
    client.set_recv_buffer_size(4096).unwrap();
    let client = client.connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    socket2::SockRef::from(&server).set_send_buffer_size(4096).unwrap();
    server.writable().await.unwrap();
    (server.into(), client)
}

#[tokio::test]
async fn delivery_to_an_empty_outbox_is_written_at_once() {
    let (server, mut client) = tcp().await;
    let outbox = Outbox::over(server.direct(), 100);
    let batch = Batch::of(&["one", "two"].map(|frame| Bytes::from_static(frame.as_bytes())));
    assert_eq!(outbox.deliver(&batch, Instant::now()), Push::Taken);
    assert_eq!(outbox.waiting_since(), None);
    let mut read = [0; 6];
    client.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"onetwo");
}

#[tokio::test]
async fn delivery_behind_queued_frames_waits_for_the_driver() {
    let (mut server, mut client) = tcp().await;
    let outbox = Outbox::over(server.direct(), 100);
    outbox.push(Bytes::from_static(b"first "), Instant::now());
    outbox.deliver(&Bytes::from_static(b"second").into(), Instant::now());
    assert!(outbox.waiting_since().is_some());
    poll_fn(|cx| outbox.poll_write(&mut server, &WorkerMetrics::default(), cx))
        .await
        .unwrap();
    let mut read = [0; 12];
    client.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"first second");
}

#[tokio::test]
async fn a_partial_direct_write_queues_the_remaining_frames() {
    const FRAME: usize = 1000;
    let (mut server, mut client) = tcp().await;
    let outbox = Outbox::over(server.direct(), usize::MAX);
    let frames: Vec<Bytes> = (0..=u8::MAX).map(|byte| vec![byte; FRAME].into()).collect();
    assert_eq!(outbox.deliver(&Batch::of(&frames), Instant::now()), Push::Taken);
    let (waiting, bytes, started) = {
        let state = outbox.0.borrow();
        (state.queue.len(), state.bytes, state.started)
    };
    assert!((1..frames.len()).contains(&waiting), "{waiting} frames wait");
    assert_eq!(bytes, waiting * FRAME - started);
    outbox.drop_unstarted();
    outbox.close(Some(Bytes::from_static(b"bye")), Close::TOO_SLOW, Instant::now());
    let to_the_end = async {
        poll_fn(|cx| outbox.poll_write(&mut server, &WorkerMetrics::default(), cx))
            .await
            .unwrap();
        poll_fn(|cx| Pin::new(&mut server).poll_shutdown(cx)).await.unwrap();
    };
    let mut read = Vec::new();
    let ((), result) = tokio::join!(to_the_end, client.read_to_end(&mut read));
    result.unwrap();
    let whole = frames.len() - waiting + usize::from(started > 0);
    assert_eq!(read[..whole * FRAME], frames[..whole].concat());
    assert!(read[whole * FRAME..].starts_with(b"bye\x88"));
}

#[tokio::test]
async fn delivery_after_the_socket_is_gone_stays_queued() {
    let (server, mut client) = tcp().await;
    let outbox = Outbox::over(server.direct(), 100);
    // As the driver does when it ends.
    outbox.disconnect();
    drop(server);
    assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
    assert_eq!(
        outbox.deliver(&Bytes::from_static(b"late").into(), Instant::now()),
        Push::Taken
    );
    assert!(outbox.waiting_since().is_some());
}

#[tokio::test(start_paused = true)]
async fn frames_do_not_age_while_the_session_waits_and_the_peer_reads() {
    let outbox = Outbox::new(100);
    outbox.push(Bytes::from_static(b"0123456789"), Instant::now());
    let mut pipe = Pipe {
        taken: Vec::new(),
        a_call: 1,
        calls: 0,
    };
    let mut read_one = || {
        pipe.calls = 1;
        write(&outbox, &mut pipe);
    };
    let age = || outbox.waiting_since().unwrap().elapsed();
    let second = std::time::Duration::from_secs(1);
    tokio::time::advance(second).await;
    read_one();
    assert_eq!(age(), second);
    outbox.tell_when_drained();
    assert_eq!(age(), second);
    read_one();
    assert_eq!(age(), std::time::Duration::ZERO);
    tokio::time::advance(second).await;
    assert_eq!(age(), second);
}
