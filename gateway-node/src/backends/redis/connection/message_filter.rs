//! Takes the messages of channels out of what the server sends, and leaves everything else to the `redis` crate.
//!
//! Every node gets a message for every event of the cluster. The crate builds a tree of values for each, and passes it
//! from task to task. Here it is found by its lengths, and handled where it lies in the read buffer.

use std::{
    io,
    ops::Range,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How many bytes are read at once. The buffer only grows for a longer message, whose size the server's
/// `client-output-buffer-limit` bounds.
const READ: usize = 64 * 1024;

/// What every message of a channel begins with, before the channel and the message as bulk strings.
const MESSAGE: &[u8] = b">3\r\n$7\r\nmessage\r\n";

/// A stream from which the messages of channels are taken.
pub(super) struct MessageFilter<S, F> {
    stream: S,
    /// Called with the channel and the message.
    on_message: F,
    buffer: Vec<u8>,
    /// The place in the buffer of what has been read and not yet handled.
    unread: Range<usize>,
    /// How many of the unread bytes belong to a frame that is no message.
    passed_on: usize,
}

impl<S, F: FnMut(&[u8], &[u8])> MessageFilter<S, F> {
    /// A stream that calls `on_message` with the channel and the bytes of each message.
    pub(super) fn new(stream: S, on_message: F) -> Self {
        Self {
            stream,
            on_message,
            buffer: vec![0; READ],
            unread: 0..0,
            passed_on: 0,
        }
    }

    /// Handles messages up to the first other frame, whose bytes are to be passed on, or up to the end of what is
    /// complete.
    fn take_messages(&mut self) -> io::Result<()> {
        while self.passed_on == 0 {
            let unread = &self.buffer[self.unread.clone()];
            match Frame::first(unread)? {
                Some(Frame::Message {
                    channel,
                    message,
                    length,
                }) => {
                    (self.on_message)(&unread[channel], &unread[message]);
                    self.unread.start += length;
                }
                Some(Frame::Other { length }) => self.passed_on = length,
                None => break,
            }
        }
        Ok(())
    }

    /// Makes room for at least one more byte after the unread ones.
    fn make_room(&mut self) {
        if self.unread.is_empty() {
            self.unread = 0..0;
            if self.buffer.len() > READ {
                self.buffer.truncate(READ);
                self.buffer.shrink_to_fit();
            }
        } else if self.unread.end == self.buffer.len() {
            let length = self.unread.len();
            if self.unread.start == 0 {
                self.buffer.resize(2 * length, 0);
            } else {
                self.buffer.copy_within(self.unread.clone(), 0);
                self.unread = 0..length;
            }
        }
    }
}

impl<S: AsyncRead + Unpin, F: FnMut(&[u8], &[u8]) + Unpin> AsyncRead for MessageFilter<S, F> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            this.take_messages()?;
            if this.passed_on > 0 {
                let length = this.passed_on.min(out.remaining());
                let start = this.unread.start;
                out.put_slice(&this.buffer[start..start + length]);
                this.unread.start += length;
                this.passed_on -= length;
                return Poll::Ready(Ok(()));
            }
            this.make_room();
            let mut free = ReadBuf::new(&mut this.buffer[this.unread.end..]);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut free))?;
            match free.filled().len() {
                // The end of the stream.
                0 => return Poll::Ready(Ok(())),
                length => this.unread.end += length,
            }
        }
    }
}

impl<S: AsyncWrite + Unpin, F: Unpin> AsyncWrite for MessageFilter<S, F> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A frame of RESP3, by its place in the bytes that begin with it.
#[derive(Debug, PartialEq, Eq)]
enum Frame {
    /// A message of a channel.
    Message {
        channel: Range<usize>,
        message: Range<usize>,
        /// The length of the whole frame.
        length: usize,
    },
    /// Anything else.
    Other { length: usize },
}

impl Frame {
    /// Returns the frame that `bytes` begins with, or `None` if it is incomplete.
    fn first(bytes: &[u8]) -> io::Result<Option<Self>> {
        if !bytes.starts_with(MESSAGE) {
            return Ok(frame_length(bytes)?.map(|length| Self::Other { length }));
        }
        let Some(channel) = bulk_string(bytes, MESSAGE.len())? else {
            return Ok(None);
        };
        let Some(message) = bulk_string(bytes, channel.end + 2)? else {
            return Ok(None);
        };
        let length = message.end + 2;
        Ok(Some(Self::Message {
            channel,
            message,
            length,
        }))
    }
}

/// Returns the place of the bulk string whose frame begins at `start`, or `None` if it is incomplete. Two bytes follow it.
fn bulk_string(bytes: &[u8], start: usize) -> io::Result<Option<Range<usize>>> {
    let Some(line) = Line::at(bytes, start)? else {
        return Ok(None);
    };
    if line.kind != b'$' {
        return Err(nonsense());
    }
    let end = line.end.saturating_add(line.number()?);
    Ok((end.saturating_add(2) <= bytes.len()).then_some(line.end..end))
}

/// Returns the length of the frame that `bytes` begins with, including everything nested in it, or `None` if it is
/// incomplete.
fn frame_length(bytes: &[u8]) -> io::Result<Option<usize>> {
    let (mut place, mut missing) = (0, 1_usize);
    while missing > 0 {
        let Some(line) = Line::at(bytes, place)? else {
            return Ok(None);
        };
        place = line.end;
        missing -= 1;
        match line.kind {
            // Strings and errors with a length. A null string has the length -1.
            b'$' | b'=' | b'!' if line.text != b"-1" => {
                place = place.saturating_add(line.number()?).saturating_add(2);
                if place > bytes.len() {
                    return Ok(None);
                }
            }
            b'*' | b'~' | b'>' if line.text != b"-1" => missing = missing.saturating_add(line.number()?),
            b'%' => missing = missing.saturating_add(line.number()?.saturating_mul(2)),
            // Attributes come before the frame that they belong to.
            b'|' => missing = missing.saturating_add(line.number()?.saturating_mul(2).saturating_add(1)),
            _ => {}
        }
    }
    Ok(Some(place))
}

/// The line that begins a frame.
struct Line<'a> {
    /// The kind of the frame.
    kind: u8,
    /// What follows the kind.
    text: &'a [u8],
    /// The place after the line.
    end: usize,
}

impl<'a> Line<'a> {
    /// Returns the line that begins at `start`, or `None` if it is incomplete.
    fn at(bytes: &'a [u8], start: usize) -> io::Result<Option<Self>> {
        let rest = bytes.get(start..).unwrap_or_default();
        let Some(length) = rest.iter().position(|byte| *byte == b'\n') else {
            return Ok(None);
        };
        match &rest[..length] {
            [kind, text @ .., b'\r'] => Ok(Some(Self {
                kind: *kind,
                text,
                end: start + length + 1,
            })),
            _ => Err(nonsense()),
        }
    }

    /// Parses what follows the kind as a length.
    fn number(&self) -> io::Result<usize> {
        let number = str::from_utf8(self.text).ok().and_then(|text| text.parse().ok());
        number.ok_or_else(nonsense)
    }
}

fn nonsense() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it does not speak RESP3")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const HELLO: &str = "%3\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n$7\r\nmodules\r\n*0\r\n";
    const SUBSCRIBED: &str = ">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n";
    const OTHERS: [&str; 8] = [
        HELLO,
        SUBSCRIBED,
        "+PONG\r\n",
        "$-1\r\n",
        "_\r\n",
        "*2\r\n$2\r\na\n\r\n*-1\r\n",
        "|1\r\n+key\r\n~1\r\n,1.5\r\n=7\r\ntxt:a\r\n\r\n",
        "!9\r\nERR wrong\r\n",
    ];

    fn message(channel: &str, text: &str) -> String {
        let (channel_length, length) = (channel.len(), text.len());
        format!(">3\r\n$7\r\nmessage\r\n${channel_length}\r\n{channel}\r\n${length}\r\n{text}\r\n")
    }

    /// Sends `text` in parts of `size` bytes. Returns the messages, and what is passed on.
    async fn filtered(text: &str, size: usize) -> (Vec<(String, String)>, String) {
        let (mut server, client) = duplex(size);
        let mut messages = Vec::new();
        let mut filter = MessageFilter::new(client, |channel: &[u8], message: &[u8]| {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            messages.push((text(channel), text(message)));
        });
        let sending = async {
            server.write_all(text.as_bytes()).await.unwrap();
            drop(server);
        };
        let mut rest = String::new();
        let ((), read) = tokio::join!(sending, filter.read_to_string(&mut rest));
        read.unwrap();
        drop(filter);
        (messages, rest)
    }

    #[tokio::test]
    async fn messages_are_taken_out_and_everything_else_is_passed_on() {
        let contents = ["", "one", "two\r\n$3\r\nlines", ">3\r\n$7\r\nmessage\r\n"];
        let mut text = String::new();
        for (other, content) in OTHERS.iter().zip(contents.iter().cycle()) {
            text.push_str(other);
            text.push_str(&message("app:é", content));
            text.push_str(&message("c", content));
        }
        let expected: Vec<_> = contents
            .iter()
            .cycle()
            .take(OTHERS.len())
            .flat_map(|content| ["app:é", "c"].map(|channel| (channel.to_owned(), (*content).to_owned())))
            .collect();
        for size in [1, 2, 7, 100, 4096] {
            let (messages, rest) = filtered(&text, size).await;
            assert_eq!(
                (messages, rest),
                (expected.clone(), OTHERS.concat()),
                "in parts of {size}"
            );
        }
    }

    #[tokio::test]
    async fn a_message_longer_than_the_buffer_arrives_whole() {
        let long = "x".repeat(5 * READ);
        let text = [
            message("c", "before"),
            message("c", &long),
            "+PONG\r\n".into(),
            message("c", "after"),
        ];
        let (messages, rest) = filtered(&text.concat(), 3 * READ).await;
        let contents: Vec<_> = messages.iter().map(|(_, content)| &**content).collect();
        assert_eq!((contents, &*rest), (vec!["before", &long, "after"], "+PONG\r\n"));
    }

    #[test]
    fn the_buffer_shrinks_after_a_long_message() {
        let mut filter = MessageFilter::new((), |_: &[u8], _: &[u8]| {});
        filter.unread = 0..READ;
        filter.make_room();
        assert_eq!(filter.buffer.len(), 2 * READ);
        filter.unread.start = filter.unread.end;
        filter.make_room();
        assert_eq!((filter.buffer.len(), filter.unread), (READ, 0..0));
    }

    #[test]
    fn nonsense_is_an_error() {
        for text in [
            "hello\n",
            "\r\n",
            "$x\r\n",
            "*-2\r\n",
            ">3\r\n$7\r\nmessage\r\n+channel\r\n",
            ">3\r\n$7\r\nmessage\r\n$-1\r\n",
        ] {
            assert!(Frame::first(text.as_bytes()).is_err(), "{text:?}");
        }
        let endless = format!("*{}\r\n%{0}\r\n|{0}\r\n${0}\r\n", usize::MAX);
        assert_eq!(Frame::first(endless.as_bytes()).unwrap(), None);
    }

    proptest! {
        #[test]
        fn bytes_after_a_frame_change_nothing(text in "[$*>%|~_:+\\-0-3a\r\n]{0,24}", more in "[$*>0-3\r\n]{0,8}") {
            let bytes = text.as_bytes();
            if let Ok(Some(frame)) = Frame::first(bytes) {
                let (Frame::Message { length, .. } | Frame::Other { length }) = frame;
                prop_assert!((1..=bytes.len()).contains(&length));
                prop_assert_eq!(Frame::first(&bytes[..length]).unwrap(), Some(frame));
                for incomplete in 0..length {
                    prop_assert!(matches!(Frame::first(&bytes[..incomplete]), Ok(None)));
                }
                let longer = Frame::first(format!("{text}{more}").as_bytes()).unwrap();
                prop_assert_eq!(longer, Frame::first(bytes).unwrap());
            }
        }
    }
}
