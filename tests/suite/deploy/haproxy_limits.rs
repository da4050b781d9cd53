//! `deploy/haproxy.cfg` in a running `haproxy`: its limits per client address. The addresses are from 127.0.0.0/8.

use std::net::SocketAddr;

use gateway_harness::{Balancer, NodeProcess, eventually, full_setup, key, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

/// The limit of requests a minute without a key, per address.
const REQUESTS: usize = 6000;
/// The limit of connections per address.
const CONNECTIONS: usize = 1000;

/// Connects from the address `source`.
async fn connect(source: &str, to: SocketAddr) -> TcpStream {
    try_connect(source, to).await.unwrap()
}

/// Like [`connect`], but the connection may be refused.
async fn try_connect(source: &str, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
    within("a connection", socket.connect(to)).await
}

/// Sends `bytes` and reads until the other side closes.
async fn exchange(mut stream: TcpStream, bytes: &str) -> String {
    // Writing fails if the peer closes at once.
    stream.write_all(bytes.as_bytes()).await.ok();
    read_to_end(&mut stream).await
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    within("the end of an answer", stream.read_to_string(&mut text))
        .await
        .ok();
    text
}

/// Sends `GET /livez` with these header lines. Returns the status.
async fn livez(source: &str, to: SocketAddr, lines: &str) -> u16 {
    let request = format!("GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{lines}\r\n");
    status(&exchange(connect(source, to).await, &request).await)
}

fn status(answer: &str) -> u16 {
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("no status: {answer:?}"))
}

/// Asserts that a WebSocket opens and that Hello arrives through it.
async fn assert_websocket_opens(source: &str, to: SocketAddr) {
    let request = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut stream = connect(source, to).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    let hello = async {
        while !String::from_utf8_lossy(&seen).contains("heartbeat") {
            let mut buffer = [0; 1024];
            let count = stream.read(&mut buffer).await.unwrap();
            assert!(count > 0, "closed after {:?}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&buffer[..count]);
        }
    };
    within("Hello", hello).await;
    assert!(
        seen.starts_with(b"HTTP/1.1 101 "),
        "{:?}",
        String::from_utf8_lossy(&seen)
    );
}

/// Sends `count` requests at once on one connection. Returns their statuses.
async fn statuses(source: &str, to: SocketAddr, count: usize, lines: &str) -> Vec<u16> {
    let (mut read, mut write) = connect(source, to).await.into_split();
    let request = format!("GET /livez HTTP/1.1\r\nhost: a\r\n{lines}\r\n");
    let last = format!("GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{lines}\r\n");
    let requests = request.repeat(count - 1) + &last;
    let mut text = String::new();
    let sending = async { write.write_all(requests.as_bytes()).await.unwrap() };
    let both = futures_util::future::join(sending, read.read_to_string(&mut text));
    within("all answers", both).await.1.unwrap();
    text.split("HTTP/1.1 ")
        .skip(1)
        .map(|answer| answer[..3].parse().unwrap())
        .collect()
}

/// Starts a node that refuses no request. It does not trust the balancer, so otherwise the balancer's health checks would
/// share an allowance with its clients.
async fn unlimited_node() -> NodeProcess {
    let setup = full_setup().set("limits.connection_attempts_per_minute", 1_000_000);
    setup.start().await
}

async fn balancer_for(node: &NodeProcess) -> Balancer {
    Balancer::start([node.address(); 3]).await
}

#[tokio::test]
async fn unfinished_requests_take_no_descriptors_of_a_node() {
    let node = full_setup()
        .set("server.trusted_proxies", "127.0.0.1/32")
        .descriptors(400)
        .start()
        .await;
    let balancer = balancer_for(&node).await;
    assert_eq!(livez("127.0.0.3", balancer.address(), "").await, 200);
    let at_rest = node.descriptors();
    // Half of a body as large as the largest event.
    let head = "POST /api/v1/events HTTP/1.1\r\nhost: a\r\ncontent-length: 65536\r\n\r\n";
    let request = format!("{head}{}", "x".repeat(32_768));
    let mut unfinished = Vec::new();
    for _ in 0..450 {
        let mut stream = connect("127.0.0.2", balancer.address()).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        unfinished.push(stream);
    }
    assert_eq!(livez("127.0.0.3", balancer.address(), "").await, 200);
    assert_eq!(livez("127.0.0.3", node.address(), "").await, 200);
    assert_websocket_opens("127.0.0.3", balancer.address()).await;
    assert!(
        node.descriptors() < at_rest + 50,
        "{} after {at_rest}",
        node.descriptors()
    );
    // 408 comes from the balancer: a node would have answered 401.
    for stream in &mut unfinished {
        assert_eq!(status(&read_to_end(stream).await), 408);
    }
}

#[tokio::test]
async fn a_body_larger_than_the_buffer_needs_a_key() {
    let node = full_setup().start().await;
    let balancer = balancer_for(&node).await;
    let request = |lines: &str, length: usize| {
        format!(
            "POST /api/v1/events HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{lines}content-length: {length}\r\n\r\n"
        )
    };
    let stream = connect("127.0.0.2", balancer.address()).await;
    // HAProxy decides once its buffer is full.
    let answer = exchange(stream, &(request("", 1_000_000) + &"x".repeat(200_000))).await;
    assert_eq!(status(&answer), 401);
    assert!(answer.contains(r#""code":"unauthorised""#), "{answer}");
    // With a key, a body larger than the buffer arrives.
    let event = format!(r#"{{"t":"announce","d":{{"x":"{}"}}}}"#, "x".repeat(60_000));
    let list = format!("[{event},{event},{event}]");
    let bearer = format!("authorization: Bearer {}\r\n", key("service"));
    let stream = connect("127.0.0.2", balancer.address()).await;
    let answer = exchange(stream, &(request(&bearer, list.len()) + &list)).await;
    assert_eq!(status(&answer), 202, "{answer}");
}

#[tokio::test]
async fn requests_are_limited_per_address() {
    let node = unlimited_node().await;
    let balancer = balancer_for(&node).await;
    let statuses = statuses("127.0.0.2", balancer.address(), REQUESTS + 100, "").await;
    let served = statuses.iter().filter(|status| **status == 200).count();
    assert!((REQUESTS - 1..REQUESTS + 100).contains(&served), "{served} were served");
    assert_eq!(statuses[..served], vec![200; served]);
    assert_eq!(statuses.last(), Some(&429));
    assert_eq!(livez("127.0.0.3", balancer.address(), "").await, 200);
    assert_websocket_opens("127.0.0.3", balancer.address()).await;
    // With a key the limit is ten times as high, and the node checks the key.
    assert_eq!(
        livez("127.0.0.2", balancer.address(), "authorization: Bearer a.b\r\n").await,
        200
    );
}

#[tokio::test]
async fn requests_of_a_proxy_in_front_count_for_the_forwarded_address() {
    let node = unlimited_node().await;
    let balancer = Balancer::start_with([node.address(); 3], Some("127.0.0.9/32")).await;
    let from = |address: &str| format!("x-forwarded-for: 203.0.113.1, {address}\r\n");
    let first = statuses("127.0.0.9", balancer.address(), REQUESTS + 100, &from("192.0.2.1")).await;
    assert_eq!(first.last(), Some(&429));
    for (source, lines, expected) in [
        ("127.0.0.9", from("192.0.2.1"), 429),
        ("127.0.0.9", from("192.0.2.2"), 200),
        ("127.0.0.9", String::new(), 200),
        // A header from an untrusted source is ignored.
        ("127.0.0.8", from("192.0.2.1"), 200),
    ] {
        assert_eq!(
            livez(source, balancer.address(), &lines).await,
            expected,
            "{source} {lines}"
        );
    }
    // An IPv6 client is counted by its /64.
    let v6 = statuses("127.0.0.9", balancer.address(), REQUESTS + 100, &from("2001:db8::1")).await;
    assert_eq!(v6.last(), Some(&429));
    assert_eq!(livez("127.0.0.9", balancer.address(), &from("2001:db8::2")).await, 429);
    assert_eq!(
        livez("127.0.0.9", balancer.address(), &from("2001:db8:0:1::1")).await,
        200
    );
}

#[tokio::test]
async fn load_connections_are_limited_per_address() {
    let node = full_setup().start().await;
    let balancer = balancer_for(&node).await;
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS {
        open.push(connect("127.0.0.2", balancer.address()).await);
    }
    eventually("the balancer has accepted all connections", async || {
        (livez("127.0.0.2", balancer.address(), "").await == 429).then_some(())
    })
    .await;
    assert_eq!(livez("127.0.0.3", balancer.address(), "").await, 200);
    for _ in CONNECTIONS..1250 {
        open.extend(try_connect("127.0.0.2", balancer.address()).await);
    }
    // Once the balancer has accepted all of them, further connections are closed without an answer.
    let request = "GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    eventually("a connection is closed at once", async || {
        let answer = match try_connect("127.0.0.2", balancer.address()).await {
            Ok(stream) => exchange(stream, request).await,
            Err(_) => String::new(),
        };
        answer.is_empty().then_some(())
    })
    .await;
    assert_websocket_opens("127.0.0.3", balancer.address()).await;
}
