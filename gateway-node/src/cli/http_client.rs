//! The HTTP client of the commands: plain HTTP, no proxy, no redirects, one deadline for the whole request.

use std::time::Duration;

use ureq::{Agent, Body, http::Response};

/// Maximum bytes read of a response body.
const BODY_BYTES: u64 = 1 << 20;

/// Why a URL cannot be requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum UrlError {
    #[error("--url: this client does not support TLS; request the node itself with http://")]
    Tls,
    #[error("--url: expected http://HOST:PORT")]
    Scheme,
}

/// Refuses a URL that does not start with `http://`.
pub(super) fn check_url(url: &str) -> Result<(), UrlError> {
    match url.split_once("://") {
        Some(("http", rest)) if !rest.is_empty() => Ok(()),
        Some(("https", _)) => Err(UrlError::Tls),
        _ => Err(UrlError::Scheme),
    }
}

/// Returns a client whose requests take at most `limit`, from the DNS lookup to the last byte.
pub(super) fn agent(limit: Duration) -> Agent {
    Agent::config_builder()
        .timeout_global(Some(limit))
        // A local node is not behind the proxy of the environment, and a key must not be sent to that proxy.
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .user_agent(concat!("gateway-node/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent()
}

/// Reads the body of a response as text.
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

    /// Serves one request with `answer`, byte for byte. Returns the URL and a thread that yields the request.
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

    /// Returns a URL at which connections are refused.
    pub(in crate::cli) fn nobody() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    }

    #[test]
    fn only_http_urls_are_accepted() {
        assert_eq!(check_url("http://127.0.0.1:8080"), Ok(()));
        assert_eq!(check_url("https://h"), Err(UrlError::Tls));
        for bad in ["", "127.0.0.1:8080", "ws://h", "http://", "file:///etc"] {
            assert_eq!(check_url(bad), Err(UrlError::Scheme), "{bad}");
        }
    }
}
