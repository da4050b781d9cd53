//! The HTTP client of the commands: no proxy, no redirects, one deadline for the whole request.

use std::time::Duration;

use ureq::{Agent, unversioned::resolver::DefaultResolver};
#[cfg(feature = "client")]
use ureq::{Body, http::Response};

use super::{target::Target, unix_connector::UnixConnector};

/// Maximum bytes read of a response body.
#[cfg(feature = "client")]
const BODY_BYTES: u64 = 8 << 20;

/// Why a URL cannot be requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum UrlError {
    #[error("--url: expected http://HOST:PORT or https://HOST")]
    Scheme,
}

/// Refuses a URL that does not start with `http://` or `https://`.
pub(super) fn check_url(url: &str) -> Result<(), UrlError> {
    match url.split_once("://") {
        Some(("http" | "https", rest)) if !rest.is_empty() => Ok(()),
        _ => Err(UrlError::Scheme),
    }
}

/// Returns a client of a node whose requests take at most `limit`, from the DNS lookup to the last byte.
pub(super) fn agent(target: &Target, limit: Duration) -> Agent {
    let config = Agent::config_builder()
        .tls_config(target.trust.of_http(target.url.starts_with("https:")))
        .timeout_global(Some(limit))
        // A local node is not behind the proxy of the environment, and a key must not be sent to that proxy.
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .user_agent(concat!("gateway-node/", env!("CARGO_PKG_VERSION")))
        .build();
    match &target.unix {
        Some(path) => Agent::with_parts(config, UnixConnector(path.clone()), DefaultResolver::default()),
        None => config.new_agent(),
    }
}

/// Reads the body of a response as text.
#[cfg(feature = "client")]
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
        assert_eq!(check_url("https://h"), Ok(()));
        for bad in ["", "127.0.0.1:8080", "ws://h", "http://", "file:///etc"] {
            assert_eq!(check_url(bad), Err(UrlError::Scheme), "{bad}");
        }
    }
}
