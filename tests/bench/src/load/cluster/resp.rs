//! A minimal Redis connection for the baseline. It shares no code with the node's.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};

/// How long Redis may take to answer.
const ANSWER: Duration = Duration::from_secs(30);

/// A blocking RESP2 connection.
pub(super) struct RespConnection {
    stream: TcpStream,
    output: Vec<u8>,
    input: Vec<u8>,
    /// How much of `input` has been parsed.
    used: usize,
}

/// A reply of Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RespValue {
    /// A status, string or number, as text; `None` for nil.
    Text(Option<String>),
    /// An array.
    List(Vec<RespValue>),
}

impl RespValue {
    /// Returns the text of this reply or of its first element, or an empty string.
    pub(super) fn first(&self) -> &str {
        match self {
            Self::Text(text) => text.as_deref().unwrap_or_default(),
            Self::List(replies) => replies.first().map_or("", Self::first),
        }
    }
}

impl RespConnection {
    /// Connects to Redis at `port`.
    pub(super) fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("connecting to Redis")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER))?;
        Ok(Self {
            stream,
            output: Vec::new(),
            input: Vec::new(),
            used: 0,
        })
    }

    /// Sends a command and waits for its reply.
    pub(super) fn ask(&mut self, words: &[&str]) -> Result<RespValue> {
        self.put(words);
        self.flush()?;
        self.reply()
    }

    /// Queues a command, which [`Self::flush`] sends.
    pub(super) fn put(&mut self, words: &[&str]) {
        self.output.extend(format!("*{}\r\n", words.len()).as_bytes());
        for word in words {
            self.output.extend(format!("${}\r\n", word.len()).as_bytes());
            self.output.extend(word.as_bytes());
            self.output.extend(b"\r\n");
        }
    }

    /// Sends the queued commands.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.stream.write_all(&self.output).context("sending to Redis")?;
        self.output.clear();
        Ok(())
    }

    /// Returns the next reply, or the next message of a subscription.
    pub(super) fn reply(&mut self) -> Result<RespValue> {
        loop {
            if let Some((reply, length)) = parse(&self.input[self.used..])? {
                self.used += length;
                return Ok(reply);
            }
            self.input.drain(..self.used);
            self.used = 0;
            let mut part = [0; 16_384];
            let count = self.stream.read(&mut part).context("waiting for Redis")?;
            ensure!(count > 0, "Redis closed the connection");
            self.input.extend_from_slice(&part[..count]);
        }
    }
}

/// Returns the first reply of `input` and its length, or `None` if it is incomplete. A Redis error is an `Err`.
fn parse(input: &[u8]) -> Result<Option<(RespValue, usize)>> {
    let Some(end) = input.windows(2).position(|two| two == b"\r\n") else {
        return Ok(None);
    };
    let line = std::str::from_utf8(&input[..end])?;
    let (kind, rest) = line.split_at_checked(1).context("an empty line from Redis")?;
    let mut used = end + 2;
    let reply = match kind {
        "+" | ":" => RespValue::Text(Some(rest.to_owned())),
        "-" => bail!("Redis replied with an error: {rest}"),
        "$" | "*" if rest.starts_with('-') => RespValue::Text(None),
        "$" => {
            let length: usize = rest.parse()?;
            let Some(text) = input.get(used..used + length + 2) else {
                return Ok(None);
            };
            used += text.len();
            RespValue::Text(Some(std::str::from_utf8(&text[..length])?.to_owned()))
        }
        "*" => {
            let mut replies = Vec::new();
            for _ in 0..rest.parse()? {
                let Some((reply, length)) = parse(&input[used..])? else {
                    return Ok(None);
                };
                replies.push(reply);
                used += length;
            }
            RespValue::List(replies)
        }
        _ => bail!("not RESP2: {line}"),
    };
    Ok(Some((reply, used)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_parsed_once_it_is_complete() {
        let whole = b"*3\r\n$2\r\nok\r\n:12\r\n$-1\r\n";
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]).unwrap(), None, "{length} bytes");
        }
        let (reply, length) = parse(&[whole, &b"+rest"[..]].concat()).unwrap().unwrap();
        assert_eq!((reply.first(), length), ("ok", whole.len()));
        let text = |text: &str| RespValue::Text(Some(text.to_owned()));
        assert_eq!(
            reply,
            RespValue::List(vec![text("ok"), text("12"), RespValue::Text(None)])
        );
        assert!(parse(b"-ERR no\r\n").is_err());
    }
}
