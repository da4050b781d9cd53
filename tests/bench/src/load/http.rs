//! A blocking HTTP connection to a node, kept alive between requests.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

/// How long the node may take to answer.
const ANSWER: Duration = Duration::from_secs(30);

/// A connection that sends one request at a time.
pub(super) struct Http {
    stream: TcpStream,
    address: SocketAddr,
    authorization: String,
}

impl Http {
    /// Connects to `address`. Every request carries `key`.
    pub(super) fn connect(address: SocketAddr, key: &str) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, ANSWER).context("connecting for HTTP")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_write_timeout(Some(ANSWER))?;
        Ok(Self {
            stream,
            address,
            authorization: format!("Bearer {key}"),
        })
    }

    /// Publishes one event or a list of events. Any status but 202 is an error.
    pub(super) fn publish(&mut self, event: &str) -> Result<()> {
        let (status, body) = self.ask("POST", "/api/v1/events", event)?;
        ensure!(status == 202, "publishing failed with {status}: {body}");
        Ok(())
    }

    /// Sends a PUT request and returns the status and body of the response.
    pub(super) fn put(&mut self, path: &str, body: &str) -> Result<(u16, String)> {
        self.ask("PUT", path, body)
    }

    /// Returns the node's metrics in the text format.
    pub(super) fn metrics(&mut self) -> Result<String> {
        let (status, body) = self.ask("GET", "/metrics", "")?;
        ensure!(status == 200, "reading the metrics failed with {status}: {body}");
        Ok(body)
    }

    /// Returns whether the node reports that it is ready for clients.
    pub(super) fn is_ready(&mut self) -> Result<bool> {
        Ok(self.ask("GET", "/readyz", "")?.0 == 200)
    }

    fn ask(&mut self, method: &str, path: &str, body: &str) -> Result<(u16, String)> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.address,
            self.authorization,
            body.len()
        );
        self.stream.write_all(request.as_bytes()).context("sending a request")?;
        let mut answer = Vec::new();
        let mut part = [0; 16_384];
        loop {
            if let Some(whole) = parse(&answer)? {
                return Ok(whole);
            }
            let count = self.stream.read(&mut part).context("waiting for a response")?;
            ensure!(
                count > 0,
                "the node closed the connection before it had answered {method} {path}"
            );
            answer.extend_from_slice(&part[..count]);
        }
    }
}

/// Returns the status and body, or `None` if the response is incomplete.
fn parse(answer: &[u8]) -> Result<Option<(u16, String)>> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&answer[..end])?;
    let status = head.split(' ').nth(1).context("a response without a status")?.parse()?;
    let length: usize = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .context("a response without Content-Length")?
        .1
        .trim()
        .parse()?;
    let body = answer.get(end + 4..end + 4 + length);
    Ok(body.map(|body| (status, String::from_utf8_lossy(body).into_owned())))
}
