//! One HTTP request to a node, as the commands make it: plain HTTP, no proxy, no redirect, a deadline over all of it.

use std::time::Duration;

use ureq::{Agent, Body, http::Response};

/// The most that is read of an answer, in bytes.
const BODY_BYTES: u64 = 1 << 20;

/// Why a URL is none that can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum UrlError {
    #[error("--url: this client has no TLS; ask the node itself with http://")]
    Tls,
    #[error("--url: expected http://HOST:PORT")]
    Scheme,
}

/// Refuses what is no `http://` URL, with the reason.
pub(super) fn check_url(url: &str) -> Result<(), UrlError> {
    match url.split_once("://") {
        Some(("http", rest)) if !rest.is_empty() => Ok(()),
        Some(("https", _)) => Err(UrlError::Tls),
        _ => Err(UrlError::Scheme),
    }
}

/// A client whose requests take `limit` at most, from the name's look-up to the last byte.
pub(super) fn agent(limit: Duration) -> Agent {
    Agent::config_builder()
        .timeout_global(Some(limit))
        // A node beside us is not behind the proxy of the environment, and a key must not get there.
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .user_agent(concat!("gateway-node/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent()
}

/// The body of an answer as text.
pub(super) fn body(response: &mut Response<Body>) -> Result<String, ureq::Error> {
    response
        .body_mut()
        .with_config()
        .limit(BODY_BYTES)
        .lossy_utf8(true)
        .read_to_string()
}

#[cfg(test)]
pub(super) mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
        thread::JoinHandle,
    };

    use super::*;

    /// Answers one request with `answer`, byte for byte; returns its URL and what was asked.
    pub(in crate::cli) fn serve(answer: &'static str) -> (String, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let served = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let mut request = Vec::new();
            let mut part = [0; 4096];
            while !complete(&request) {
                let read = socket.read(&mut part).unwrap();
                assert_ne!(read, 0, "the request was cut off");
                request.extend(&part[..read]);
            }
            socket.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request).unwrap()
        });
        (url, served)
    }

    fn complete(request: &[u8]) -> bool {
        let text = String::from_utf8_lossy(request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            return false;
        };
        let length = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map_or(0, |(_, length)| length.trim().parse().unwrap());
        body.len() >= length
    }

    /// A URL at which nobody answers: a connection is refused.
    pub(in crate::cli) fn nobody() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    }

    #[test]
    fn only_plain_http_is_asked() {
        assert_eq!(check_url("http://127.0.0.1:8080"), Ok(()));
        assert_eq!(check_url("https://h"), Err(UrlError::Tls));
        for bad in ["", "127.0.0.1:8080", "ws://h", "http://", "file:///etc"] {
            assert_eq!(check_url(bad), Err(UrlError::Scheme), "{bad}");
        }
    }
}
