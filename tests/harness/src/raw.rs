//! A WebSocket client on a bare socket, which sends any bytes and reads only when the test wants it to.

use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Socket, Type};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use super::deadline::within;

/// The key of RFC 6455, section 1.3, and the answer to it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The mask of every frame.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame from the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawFrame {
    /// 1 text, 2 binary, 8 close, 9 ping, 10 pong.
    pub opcode: u8,
    /// The payload.
    pub payload: Vec<u8>,
}

impl RawFrame {
    /// Returns the code of a Close frame.
    pub fn close_code(&self) -> Option<u16> {
        match (self.opcode, &*self.payload) {
            (8, [high, low, ..]) => Some(u16::from_be_bytes([*high, *low])),
            _ => None,
        }
    }

    /// Returns the payload as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).expect("text")
    }
}

/// Encodes the header of a masked frame with this first byte and declared length.
pub fn header(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match length {
        0..=125 => bytes.push(0x80 | u8::try_from(length).expect("short")),
        126..=0xffff => {
            bytes.push(0xfe);
            bytes.extend_from_slice(&u16::try_from(length).expect("short").to_be_bytes());
        }
        _ => {
            bytes.push(0xff);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
    }
    bytes.extend_from_slice(&MASK);
    bytes
}

/// Encodes a whole masked frame.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(first, payload.len() as u64);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// Parses the complete frames in these bytes; an incomplete one at the end is left out.
pub fn read_frames(mut bytes: &[u8]) -> Vec<RawFrame> {
    let mut frames = Vec::new();
    while let Some((frame, rest)) = split_frame(bytes) {
        frames.push(frame);
        bytes = rest;
    }
    frames
}

fn split_frame(bytes: &[u8]) -> Option<(RawFrame, &[u8])> {
    let [first, second, rest @ ..] = bytes else { return None };
    assert_eq!(second & 0x80, 0, "a server does not mask");
    let (length, rest) = match second & 0x7f {
        126 => (usize::from(u16::from_be_bytes(*rest.first_chunk()?)), &rest[2..]),
        127 => (
            usize::try_from(u64::from_be_bytes(*rest.first_chunk()?)).ok()?,
            &rest[8..],
        ),
        short => (usize::from(short), rest),
    };
    let (payload, rest) = rest.split_at_checked(length)?;
    let frame = RawFrame {
        opcode: first & 0x0f,
        payload: payload.to_vec(),
    };
    Some((frame, rest))
}

/// A connection to the node.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    head: String,
    unread: Vec<u8>,
}

impl Raw {
    /// Opens a WebSocket at `target`.
    pub async fn open(address: SocketAddr, target: &str) -> Self {
        Self::open_with(address, target, &[]).await
    }

    /// Opens a WebSocket with additional headers.
    pub async fn open_with(address: SocketAddr, target: &str, headers: &[(&str, &str)]) -> Self {
        Self::connect(address).await.upgrade(target, headers).await
    }

    /// Opens a WebSocket with the smallest receive buffer that the kernel allows.
    pub async fn open_small(address: SocketAddr, target: &str) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        socket.connect(&address.into()).expect("the node listens");
        socket.set_nonblocking(true).expect("a socket that does not block");
        let stream = TcpStream::from_std(socket.into()).expect("a socket of the runtime");
        Self::new(stream).upgrade(target, &[]).await
    }

    /// Opens a connection without sending anything.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::new(
            within("connecting", TcpStream::connect(address))
                .await
                .expect("the node listens"),
        )
    }

    /// Opens a connection from another local address, such as `127.0.0.2`, without sending anything. Returns `None` if
    /// the connection fails, as it may if the node refuses it at once.
    pub async fn connect_from(source: Ipv4Addr, address: SocketAddr) -> Option<Self> {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((source, 0).into()).expect("an address of loopback");
        within("connecting", socket.connect(address)).await.ok().map(Self::new)
    }

    /// Sends an HTTP request without a body and returns the whole response. The connection is then closed.
    pub async fn ask(mut self, method: &str, target: &str, headers: &[(&str, &str)]) -> String {
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        for (name, value) in headers {
            request.extend([*name, ": ", *value, "\r\n"]);
        }
        // A node that refuses the connection may have closed it already.
        self.try_send((request + "\r\n").as_bytes()).await.ok();
        self.text_to_end().await
    }

    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            head: String::new(),
            unread: Vec::new(),
        }
    }

    async fn upgrade(mut self, target: &str, headers: &[(&str, &str)]) -> Self {
        self.request(target, headers).await;
        self.head = self.head_of_answer().await;
        assert!(self.head.starts_with("HTTP/1.1 101 "), "{}", self.head);
        assert!(self.head.contains(ACCEPT), "{}", self.head);
        self
    }

    /// Sends the request of a WebSocket handshake.
    pub async fn request(&mut self, target: &str, headers: &[(&str, &str)]) {
        self.request_of("localhost", target, headers).await;
    }

    /// Like [`Self::request`], with this `Host`.
    pub async fn request_of(&mut self, host: &str, target: &str, headers: &[(&str, &str)]) {
        let mut request = format!(
            "GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n"
        );
        for (name, value) in headers {
            request.extend([*name, ": ", *value, "\r\n"]);
        }
        request.push_str("\r\n");
        self.send(request.as_bytes()).await;
    }

    /// Reads the head of an HTTP response.
    pub async fn head_of_answer(&mut self) -> String {
        loop {
            if let Some(end) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = self.unread.drain(..end + 4).collect();
                return String::from_utf8(head).expect("the head is text");
            }
            assert!(self.read_some(4096).await > 0, "the node closed before it answered");
        }
    }

    /// Returns how many bytes were read and not consumed yet.
    pub fn unread(&self) -> usize {
        self.unread.len()
    }

    /// The head of the response to the handshake.
    pub fn head(&self) -> &str {
        &self.head
    }

    /// Reads to the end of the stream and returns the text.
    pub async fn text_to_end(mut self) -> String {
        within("the end of the stream", async {
            while self.read_some(4096).await > 0 {}
        })
        .await;
        String::from_utf8(self.unread).expect("the answer is text")
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).await.expect("the node takes bytes");
    }

    /// Sends bytes to a node that may have closed the connection.
    ///
    /// # Errors
    /// Returns the error if the connection has ended.
    pub async fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        within("sending", self.stream.write_all(bytes)).await
    }

    /// Sends a text message.
    pub async fn send_text(&mut self, text: &str) {
        self.send(&frame(0x81, text.as_bytes())).await;
    }

    /// Reads up to `most` bytes and returns how many arrived; 0 means the end of the stream.
    pub async fn read_some(&mut self, most: usize) -> usize {
        let mut buffer = vec![0; most];
        let count = within("bytes of the node", self.stream.read(&mut buffer))
            .await
            .unwrap_or(0);
        self.unread.extend_from_slice(&buffer[..count]);
        count
    }

    /// Returns the next frame, pings and pongs included, or `None` at the end of the stream.
    pub async fn frame(&mut self) -> Option<RawFrame> {
        loop {
            if let Some((frame, rest)) = split_frame(&self.unread) {
                self.unread = rest.to_vec();
                return Some(frame);
            }
            if self.read_some(65_536).await == 0 {
                return None;
            }
        }
    }

    /// Reads to the end of the stream and returns all frames.
    pub async fn rest(mut self) -> Vec<RawFrame> {
        within("the end of the stream", async {
            while self.read_some(1 << 20).await > 0 {}
        })
        .await;
        read_frames(&self.unread)
    }
}
