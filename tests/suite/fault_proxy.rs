//! The harness's fault-injecting proxy: each of its faults, in front of an echo server.

use std::{
    io::ErrorKind,
    net::SocketAddr,
    num::NonZero,
    time::{Duration, Instant},
};

use gateway_harness::{Proxy, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// How long to wait for bytes that must not arrive. It is long enough for bytes that the proxy passes.
const SILENCE: Duration = Duration::from_millis(200);

/// Starts an echo server that runs as long as the test.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                copy(&mut read, &mut write).await.ok();
            });
        }
    });
    address
}

async fn connect(proxy: &Proxy) -> TcpStream {
    let stream = within("connecting", TcpStream::connect(proxy.address())).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

async fn reads(stream: &mut TcpStream, bytes: &[u8]) {
    let mut buffer = vec![0; bytes.len()];
    within("the echo", stream.read_exact(&mut buffer)).await.unwrap();
    assert!(buffer == bytes, "different bytes");
}

async fn echoes(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).await.unwrap();
    reads(stream, bytes).await;
}

async fn is_reset(stream: &mut TcpStream) {
    let end = within("the reset", stream.read(&mut [0])).await;
    assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

async fn is_silent(stream: &mut TcpStream) {
    let read = timeout(SILENCE, stream.read(&mut [0])).await;
    assert!(read.is_err(), "{read:?}");
}

#[tokio::test]
async fn bytes_and_half_closes_pass_unchanged() {
    let proxy = Proxy::start(echo().await).await;
    let mut stream = connect(&proxy).await;
    let bytes: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(1 << 20).collect();
    let (mut read, mut write) = stream.split();
    let mut back = Vec::new();
    let send = async {
        write.write_all(&bytes).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let both = futures_util::future::join(send, read.read_to_end(&mut back));
    within("the echo", both).await.1.unwrap();
    assert!(back == bytes, "different bytes");
}

#[tokio::test]
async fn new_connections_go_to_the_new_target() {
    let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(first.local_addr().unwrap()).await;
    let mut old = connect(&proxy).await;
    let (mut at_first, _) = within("a connection at the first target", first.accept())
        .await
        .unwrap();
    proxy.retarget(echo().await);
    echoes(&mut connect(&proxy).await, b"second").await;
    old.write_all(b"first").await.unwrap();
    reads(&mut at_first, b"first").await;
    // If the target refuses connections, the proxy resets its own.
    drop((first, at_first));
    proxy.retarget(SocketAddr::from(([127, 0, 0, 1], 1)));
    is_reset(&mut connect(&proxy).await).await;
}

#[tokio::test]
async fn a_delay_applies_once_per_direction_and_keeps_the_order() {
    let proxy = Proxy::start(echo().await).await;
    let mut stream = connect(&proxy).await;
    echoes(&mut stream, b"before").await;
    proxy.delay(Duration::from_millis(100));
    let begin = Instant::now();
    // The interval keeps the chunks apart.
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    for part in [b"one ", b"two ", b"thre"] {
        tick.tick().await;
        stream.write_all(part).await.unwrap();
    }
    reads(&mut stream, b"one two thre").await;
    let taken = begin.elapsed();
    // The delays of chunks overlap; they do not add up.
    assert!((200..400).contains(&taken.as_millis()), "{taken:?}");
    proxy.heal();
    echoes(&mut stream, b"after").await;
}

#[tokio::test]
async fn frozen_connections_stay_open_and_deliver_everything_once_healed() {
    let proxy = Proxy::start(echo().await).await;
    let mut open = connect(&proxy).await;
    echoes(&mut open, b"before").await;
    proxy.freeze();
    open.write_all(b"held").await.unwrap();
    let mut new = connect(&proxy).await;
    new.write_all(b"held too").await.unwrap();
    let mut ended = connect(&proxy).await;
    ended.shutdown().await.unwrap();
    for stream in [&mut open, &mut new, &mut ended] {
        is_silent(stream).await;
    }
    proxy.heal();
    reads(&mut open, b"held").await;
    reads(&mut new, b"held too").await;
    assert_eq!(within("the end", ended.read(&mut [0])).await.unwrap(), 0);
}

#[tokio::test]
async fn a_black_hole_discards_everything_and_resets_once_healed() {
    let proxy = Proxy::start(echo().await).await;
    let mut open = connect(&proxy).await;
    echoes(&mut open, b"before").await;
    proxy.black_hole();
    let mut new = connect(&proxy).await;
    for stream in [&mut open, &mut new] {
        stream.write_all(b"lost").await.unwrap();
        is_silent(stream).await;
    }
    proxy.heal();
    is_reset(&mut open).await;
    is_reset(&mut new).await;
    echoes(&mut connect(&proxy).await, b"after").await;
}

#[tokio::test]
async fn a_reset_closes_both_sides_and_new_connections_are_accepted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap()).await;
    let mut clients = Vec::new();
    let mut servers = Vec::new();
    for _ in 0..3 {
        clients.push(connect(&proxy).await);
        servers.push(within("the other side", listener.accept()).await.unwrap().0);
    }
    proxy.reset();
    for stream in clients.iter_mut().chain(&mut servers) {
        is_reset(stream).await;
    }
    let mut client = connect(&proxy).await;
    let (mut server, _) = within("the other side", listener.accept()).await.unwrap();
    client.write_all(b"after").await.unwrap();
    reads(&mut server, b"after").await;
    // A reset of one side reaches the other.
    socket2::SockRef::from(&server)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(server);
    is_reset(&mut client).await;
}

#[tokio::test]
async fn a_throttle_limits_the_bytes_per_second() {
    let proxy = Proxy::start(echo().await).await;
    let mut stream = connect(&proxy).await;
    proxy.throttle(NonZero::new(20_000).unwrap());
    let begin = Instant::now();
    echoes(&mut stream, &[7; 10_000]).await;
    let taken = begin.elapsed();
    assert!((400..1500).contains(&taken.as_millis()), "{taken:?}");
}

#[tokio::test]
async fn a_sliced_stream_arrives_in_pieces() {
    let proxy = Proxy::start(echo().await).await;
    let mut stream = connect(&proxy).await;
    // The kernel joins waiting pieces, so the throttle gives the reader time for each one.
    proxy.slice(NonZero::new(2).unwrap());
    proxy.throttle(NonZero::new(40).unwrap());
    stream.write_all(b"a text of 18 bytes").await.unwrap();
    let (mut seen, mut pieces) = (Vec::new(), 0);
    while seen.len() < 18 {
        let mut buffer = [0; 64];
        let count = within("a piece", stream.read(&mut buffer)).await.unwrap();
        seen.extend_from_slice(&buffer[..count]);
        pieces += 1;
    }
    assert_eq!(seen, b"a text of 18 bytes");
    assert!(pieces >= 4, "{pieces} pieces");
}

#[tokio::test]
async fn a_refusing_proxy_resets_new_connections_and_keeps_open_ones() {
    let proxy = Proxy::start(echo().await).await;
    let mut open = connect(&proxy).await;
    echoes(&mut open, b"before").await;
    proxy.refuse();
    is_reset(&mut connect(&proxy).await).await;
    echoes(&mut open, b"meanwhile").await;
    proxy.heal();
    echoes(&mut connect(&proxy).await, b"after").await;
}
