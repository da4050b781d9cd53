//! HTTP requests, written and parsed by hand, each on a connection of its own.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    NodeProcess,
    deadline::{eventually, within},
};

/// An HTTP response.
#[derive(Debug)]
pub struct ApiResponse {
    /// The status code.
    pub status: u16,
    /// The status line and the headers.
    pub head: String,
    /// The body.
    pub body: String,
}

impl ApiResponse {
    /// Returns the value of a header; `name` is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// Parses the body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

/// Why there is no response.
#[derive(Debug)]
pub enum RequestError {
    /// Nothing listens at the address, so the request was not sent.
    NotSent,
    /// The connection ended, or time ran out, before the response was complete. The request may or may not have taken
    /// effect.
    Broken,
}

/// Sends a request with these headers and returns the response. The connection is then closed.
pub async fn request(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> ApiResponse {
    let what = format!("the answer to {method} {target}");
    let answer = within(&what, ask(address, method, target, headers, body)).await;
    answer.unwrap_or_else(|error| panic!("{what}: {error:?}"))
}

/// Like [`request`], for a node that may go away meanwhile, and without a deadline.
///
/// # Errors
/// Returns an error if there is no complete response.
pub async fn ask(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<ApiResponse, RequestError> {
    let mut request = format!("{method} {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for (name, value) in headers {
        request.extend([*name, ": ", *value, "\r\n"]);
    }
    request.extend(["content-length: ", &body.len().to_string(), "\r\n\r\n"]);
    let mut stream = TcpStream::connect(address).await.map_err(|_| RequestError::NotSent)?;
    // A node may answer and close before it has read the whole of a body that is too large.
    let (mut read, mut write) = stream.split();
    let send = async {
        if write.write_all(request.as_bytes()).await.is_ok() {
            write.write_all(body.as_bytes()).await.ok();
        }
    };
    let mut bytes = Vec::new();
    futures_util::future::join(send, read.read_to_end(&mut bytes))
        .await
        .1
        .ok();
    let text = String::from_utf8(bytes).expect("the answer is text");
    let (head, body) = text.split_once("\r\n\r\n").ok_or(RequestError::Broken)?;
    let mut answer = ApiResponse {
        status: head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .unwrap_or_else(|| panic!("no status: {head:?}")),
        head: head.to_owned(),
        body: body.to_owned(),
    };
    if answer.header("transfer-encoding") == Some("chunked") {
        answer.body = join_chunks(&answer.body).ok_or(RequestError::Broken)?;
    }
    let length = answer
        .header("content-length")
        .and_then(|length| length.parse::<usize>().ok());
    // The response to HEAD has the content length that GET would have.
    let is_whole = method == "HEAD" || length.is_none_or(|length| answer.body.len() >= length);
    if is_whole {
        Ok(answer)
    } else {
        Err(RequestError::Broken)
    }
}

/// Returns the body without its chunk headers, or `None` if the last chunk is missing.
fn join_chunks(mut body: &str) -> Option<String> {
    let mut joined = String::new();
    loop {
        let (length, rest) = body.split_once("\r\n")?;
        let length = usize::from_str_radix(length, 16).ok()?;
        if length == 0 {
            return Some(joined);
        }
        joined.push_str(rest.get(..length)?);
        body = rest.get(length..)?.strip_prefix("\r\n")?;
    }
}

/// Sends `GET target`.
pub async fn get(node: &NodeProcess, target: &str) -> ApiResponse {
    request(node.address(), "GET", target, &[], "").await
}

/// Sends `POST /api/v1/events` with a key.
pub async fn post(node: &NodeProcess, key: &str, body: &str) -> ApiResponse {
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    request(node.address(), "POST", "/api/v1/events", &headers, body).await
}

/// Publishes an event, and asserts that it is accepted. Returns the response's body.
pub async fn publish(node: &NodeProcess, key: &str, event: &Value) -> Value {
    let answer = post(node, key, &event.to_string()).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json()
}

/// Waits until the node is ready.
pub async fn ready(node: &NodeProcess) {
    eventually("a ready node", async || {
        (get(node, "/readyz").await.status == 200).then_some(())
    })
    .await;
}

/// Returns the value of a metric of `/metrics`, named with its labels, or 0 if it is not listed yet.
pub async fn metric(node: &NodeProcess, name: &str) -> u64 {
    let answer = get(node, "/metrics").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let line = answer
        .body
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |value| value.trim().parse().expect("a whole number"))
}
