//! The baseline of the comparison: a WebSocket broadcaster that is nothing but an `epoll` loop on one thread.
//!
//! A text message from a client is sent to all other clients; `ping` is answered with `pong`. There are no sessions,
//! limits, timers or checks, so nearly all of its cost is the kernel's.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::SocketAddr,
};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use mio::{Events, Interest, Poll, Token, net::TcpListener, net::TcpStream};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::source;

/// How events are written to sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// One write per event and socket
    Single,
    /// One write per socket for all events that arrived together
    Joined,
}

const LISTENER: Token = Token(usize::MAX);
const BACKLOG: i32 = 4096;
/// How many clients it can serve.
const CLIENTS: u32 = 19_500;

struct LoopClient {
    stream: TcpStream,
    is_upgraded: bool,
    /// An incomplete request or frame.
    rest: Vec<u8>,
    /// Bytes that the socket has not accepted yet.
    unsent: Vec<u8>,
}

/// Serves on a free loopback port and passes the address to `listening`. It only returns with an error.
///
/// # Errors
/// Fails if a system call fails, or if a client sends anything other than short WebSocket text messages.
pub fn serve(mode: Mode, listening: impl FnOnce(SocketAddr)) -> Result<()> {
    source::raise_descriptor_limit(CLIENTS)?;
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    socket.listen(BACKLOG)?;
    let mut listener = TcpListener::from_std(socket.into());
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    listening(listener.local_addr()?);
    let mut clients: Vec<Option<LoopClient>> = Vec::new();
    let mut events = Events::with_capacity(1024);
    let mut scratch = vec![0; 65_536];
    // The frames that arrived in one turn, each with its sender.
    let mut arrived: Vec<(usize, Vec<u8>)> = Vec::new();
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            result => result?,
        }
        for event in &events {
            if event.token() == LISTENER {
                accept(&listener, &poll, &mut clients)?;
                continue;
            }
            let number = event.token().0;
            let Some(client) = &mut clients[number] else { continue };
            if event.is_writable() && !client.unsent.is_empty() {
                let unsent = std::mem::take(&mut client.unsent);
                client.send(&unsent);
            }
            if event.is_readable() && !client.read(&mut scratch, |frame| arrived.push((number, frame)))? {
                clients[number] = None;
            }
        }
        match mode {
            Mode::Single => {
                for (sender, frame) in arrived.drain(..) {
                    broadcast(&mut clients, sender, &frame);
                }
            }
            Mode::Joined => {
                // One sender at a time, because a sender does not receive its own events.
                while let Some(&(sender, _)) = arrived.first() {
                    let joined: Vec<u8> = arrived
                        .extract_if(.., |(other, _)| *other == sender)
                        .flat_map(|(_, frame)| frame)
                        .collect();
                    broadcast(&mut clients, sender, &joined);
                }
            }
        }
    }
}

fn accept(listener: &TcpListener, poll: &Poll, clients: &mut Vec<Option<LoopClient>>) -> Result<()> {
    loop {
        match listener.accept() {
            Ok((mut stream, _)) => {
                stream.set_nodelay(true)?;
                let interests = Interest::READABLE | Interest::WRITABLE;
                poll.registry().register(&mut stream, Token(clients.len()), interests)?;
                clients.push(Some(LoopClient {
                    stream,
                    is_upgraded: false,
                    rest: Vec::new(),
                    unsent: Vec::new(),
                }));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("accepting"),
        }
    }
}

fn broadcast(clients: &mut [Option<LoopClient>], sender: usize, bytes: &[u8]) {
    for (number, client) in clients.iter_mut().enumerate() {
        if let Some(client) = client.as_mut().filter(|client| number != sender && client.is_upgraded) {
            client.send(bytes);
        }
    }
}

impl LoopClient {
    /// Sends `bytes` now, or as soon as the socket accepts them. A broken socket is noticed on the next read.
    fn send(&mut self, bytes: &[u8]) {
        let sent = if self.unsent.is_empty() {
            self.stream.write(bytes).unwrap_or(0)
        } else {
            0
        };
        if sent < bytes.len() {
            self.unsent.extend_from_slice(&bytes[sent..]);
        }
    }

    /// Reads everything available. Returns `false` if the client has disconnected.
    fn read(&mut self, scratch: &mut [u8], mut each: impl FnMut(Vec<u8>)) -> Result<bool> {
        loop {
            match self.stream.read(scratch) {
                Ok(0) => return Ok(false),
                Ok(count) => {
                    self.take(&scratch[..count], &mut each)?;
                    if count < scratch.len() {
                        return Ok(true);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(_) => return Ok(false),
            }
        }
    }

    fn take(&mut self, bytes: &[u8], each: &mut impl FnMut(Vec<u8>)) -> Result<()> {
        let mut rest = std::mem::take(&mut self.rest);
        rest.extend_from_slice(bytes);
        let mut used = 0;
        if !self.is_upgraded {
            let Some(end) = rest.windows(4).position(|four| four == b"\r\n\r\n") else {
                self.rest = rest;
                return Ok(());
            };
            self.upgrade(&rest[..end])?;
            used = end + 4;
        }
        while let Some((payload, length)) = unmasked(&rest[used..])? {
            if payload == b"ping" {
                self.send(b"\x81\x04pong");
            } else {
                each(framed(&payload));
            }
            used += length;
        }
        if used < rest.len() {
            rest.drain(..used);
            self.rest = rest;
        }
        Ok(())
    }

    fn upgrade(&mut self, request: &[u8]) -> Result<()> {
        let request = std::str::from_utf8(request)?;
        let key = request
            .lines()
            .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))
            .context("an upgrade request without Sec-WebSocket-Key")?;
        let accept = derive_accept_key(key.as_bytes());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        self.send(answer.as_bytes());
        self.is_upgraded = true;
        Ok(())
    }
}

/// Returns the first frame of `bytes`, unmasked, and its length on the wire, or `None` if it is incomplete.
fn unmasked(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>> {
    let [first, second, after @ ..] = bytes else {
        return Ok(None);
    };
    let (length, head) = match (first, second) {
        (0x81, 0xfe) => match after.first_chunk() {
            Some(length) => (usize::from(u16::from_be_bytes(*length)), 4),
            None => return Ok(None),
        },
        (0x81, 0x80..=0xfd) => (usize::from(second & 0x7f), 2),
        _ => bail!("unexpected frame that starts with {first:#04x} {second:#04x}"),
    };
    let Some((mask, payload)) = bytes
        .get(head..head + 4 + length)
        .and_then(|masked| masked.split_first_chunk::<4>())
    else {
        return Ok(None);
    };
    let payload = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    Ok(Some((payload.collect(), head + 4 + length)))
}

/// Builds an unmasked text frame.
fn framed(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81];
    if let Ok(length @ ..126) = u8::try_from(payload.len()) {
        frame.push(length);
    } else {
        frame.push(126);
        // Longer payloads cannot occur: `unmasked` accepts 16-bit lengths at most.
        frame.extend(u16::try_from(payload.len()).unwrap_or(u16::MAX).to_be_bytes());
    }
    frame.extend(payload);
    frame
}
