//! The URLs that Discord libraries are given to connect to.

use std::{cell::RefCell, sync::Arc};

use actix_http::header::{self, HeaderName};
use ipnet::IpNet;

use crate::{
    config::{BindAddress, Settings},
    transport::UpgradeHead,
};

thread_local! {
    /// The URL that was derived last.
    static LATEST: RefCell<Arc<str>> = RefCell::default();
}

/// The gateway's public URLs: as configured, or derived from a request. Clones are cheap.
///
/// Every URL is only a scheme and an authority, because libraries append a path and a query to it.
#[derive(Debug, Clone)]
pub struct PublicUrl {
    gateway: Option<Arc<str>>,
    resume: Option<Arc<str>>,
    /// The host and port for requests that name none.
    authority: String,
    is_tls: bool,
    trusted_proxies: Arc<[IpNet]>,
}

impl PublicUrl {
    /// Creates the URLs of a node with these settings, whose public listener is at `address`.
    pub fn new(settings: &Settings, address: &BindAddress) -> Self {
        let server = &settings.server;
        let configured = |url: Option<&str>| url.map(|url| Arc::<str>::from(origin(url)));
        let gateway = configured(server.public_url.as_deref());
        Self {
            resume: configured(settings.discord.resume_url.as_deref()).or_else(|| gateway.clone()),
            gateway,
            // Clients reach a Unix socket through a proxy, whose name only they know.
            authority: address
                .tcp()
                .map_or_else(|| "localhost".to_owned(), |address| address.to_string()),
            is_tls: server.tls.certificate.is_some(),
            trusted_proxies: server.trusted_proxies.as_slice().into(),
        }
    }

    /// Returns the URL that the sender of this request should connect to.
    pub fn gateway(&self, request: &UpgradeHead<'_>) -> Arc<str> {
        self.gateway.clone().unwrap_or_else(|| self.found_by(request))
    }

    /// Returns the URL that the sender of this request should resume at.
    pub fn resume(&self, request: &UpgradeHead<'_>) -> Arc<str> {
        self.resume.clone().unwrap_or_else(|| self.found_by(request))
    }

    fn found_by(&self, request: &UpgradeHead<'_>) -> Arc<str> {
        let is_tls = self.told_by_proxy(request).unwrap_or(self.is_tls);
        let scheme = if is_tls { "wss" } else { "ws" };
        let url = match host(request) {
            Some(host) => format!("{scheme}://{host}"),
            None => format!("{scheme}://{}", self.authority),
        };
        // Most clients use the same host, so their sessions share one string.
        LATEST.with_borrow_mut(|latest| {
            if **latest != *url {
                *latest = url.into();
            }
            Arc::clone(latest)
        })
    }

    /// Returns whether the client uses TLS according to a trusted proxy. In a chain of proxies the first entry counts:
    /// it describes the proxy that the client itself connected to.
    fn told_by_proxy(&self, request: &UpgradeHead<'_>) -> Option<bool> {
        let peer = request.peer?.ip().to_canonical();
        if !self.trusted_proxies.iter().any(|network| network.contains(&peer)) {
            return None;
        }
        let first = |name| request.text(&HeaderName::from_static(name))?.split(',').next();
        let protocol = first("forwarded").and_then(|element| {
            element.split(';').find_map(|pair| {
                let (name, value) = pair.split_once('=')?;
                name.trim().eq_ignore_ascii_case("proto").then_some(value)
            })
        });
        let protocol = protocol.or_else(|| first("x-forwarded-proto"));
        match protocol?.trim().trim_matches('"').to_ascii_lowercase().as_str() {
            "https" | "wss" => Some(true),
            "http" | "ws" => Some(false),
            _ => None,
        }
    }
}

/// Returns `url` up to the end of its authority.
fn origin(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    let length = url[start..].find(['/', '?', '#']).unwrap_or(url.len() - start);
    &url[..start + length]
}

/// Returns the host that the request is for. An absolute URL in the request line takes precedence over the `Host`
/// header (RFC 9112, section 3.2.2).
fn host<'a>(request: &UpgradeHead<'a>) -> Option<&'a str> {
    request
        .authority
        .into_iter()
        .chain(request.text(&header::HOST))
        .find(|host| is_authority(host))
}

/// Returns whether `text` is a host with an optional port, and contains nothing that could start another part of a URL.
fn is_authority(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~%:[]".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use actix_http::{Request, test::TestRequest};

    use super::*;

    fn request(peer: &str, headers: &[(&'static str, &'static str)]) -> Request {
        let mut request = TestRequest::default();
        for header in headers {
            request.append_header(*header);
        }
        let mut request = request.finish();
        request.head_mut().peer_addr = Some(peer.parse().unwrap());
        request
    }

    fn settings() -> Settings {
        let mut settings = Settings::default();
        settings.server.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
        settings
    }

    fn urls(settings: &Settings) -> PublicUrl {
        PublicUrl::new(settings, &"127.0.0.1:8080".parse().unwrap())
    }

    fn told(settings: &Settings, peer: &str, headers: &[(&'static str, &'static str)]) -> String {
        let request = request(peer, headers);
        urls(settings).gateway(&UpgradeHead::of(request.head())).to_string()
    }

    #[test]
    fn the_public_url_uses_the_host_of_the_request() {
        for host in ["gateway.example", "gateway.example:8443", "[::1]:8080", "127.0.0.1:1"] {
            assert_eq!(
                told(&settings(), "192.0.2.1:5", &[("host", host)]),
                format!("ws://{host}")
            );
        }
        let mut secured = settings();
        secured.server.tls.certificate = Some("/c.pem".into());
        assert_eq!(
            told(&secured, "192.0.2.1:5", &[("host", "gateway.example")]),
            "wss://gateway.example"
        );
    }

    #[test]
    fn an_invalid_host_falls_back_to_the_listener_address() {
        for host in ["", "a/b", "a?b", "a#b", "user@host", "a b", "a\\b", "\"a\""] {
            assert_eq!(
                told(&settings(), "192.0.2.1:5", &[("host", host)]),
                "ws://127.0.0.1:8080"
            );
        }
        assert_eq!(told(&settings(), "192.0.2.1:5", &[]), "ws://127.0.0.1:8080");
    }

    #[test]
    fn an_absolute_request_url_takes_precedence_over_the_host_header() {
        let mut request = request("192.0.2.1:5", &[("host", "other.example")]);
        request.head_mut().uri = "http://gateway.example:81/api/gateway".parse().unwrap();
        let url = urls(&settings()).gateway(&UpgradeHead::of(request.head()));
        assert_eq!(&*url, "ws://gateway.example:81");
    }

    #[test]
    fn only_a_trusted_proxy_decides_the_scheme() {
        for (headers, expected) in [
            (("x-forwarded-proto", "https"), "wss"),
            (("x-forwarded-proto", "HTTPS, http"), "wss"),
            (("x-forwarded-proto", "http"), "ws"),
            (("x-forwarded-proto", "gopher"), "ws"),
            (("forwarded", "for=192.0.2.7; Proto=https, proto=http"), "wss"),
            (("forwarded", "proto=\"wss\""), "wss"),
            (("forwarded", "for=192.0.2.7"), "ws"),
        ] {
            let with_host = [("host", "h"), headers];
            assert_eq!(
                told(&settings(), "10.1.1.1:5", &with_host),
                format!("{expected}://h"),
                "{headers:?}"
            );
            assert_eq!(told(&settings(), "192.0.2.1:5", &with_host), "ws://h", "{headers:?}");
        }
        let mut secured = settings();
        secured.server.tls.certificate = Some("/c.pem".into());
        let plain = [("host", "h"), ("x-forwarded-proto", "http")];
        assert_eq!(told(&secured, "10.1.1.1:5", &plain), "ws://h");
    }

    #[test]
    fn configured_urls_lose_their_path_and_query() {
        let mut settings = settings();
        let request = request("10.1.1.1:5", &[("host", "h"), ("x-forwarded-proto", "http")]);
        for (url, expected) in [
            ("wss://gateway.example/", "wss://gateway.example"),
            ("wss://gateway.example:8443", "wss://gateway.example:8443"),
            ("ws://[::1]:1/path?v=1#x", "ws://[::1]:1"),
            ("ws://gateway.example?v=1", "ws://gateway.example"),
        ] {
            settings.server.public_url = Some(url.to_owned());
            let urls = urls(&settings);
            assert_eq!(&*urls.gateway(&UpgradeHead::of(request.head())), expected);
            assert_eq!(&*urls.resume(&UpgradeHead::of(request.head())), expected);
        }
    }

    #[test]
    fn the_resume_url_does_not_affect_the_gateway_url() {
        let mut settings = settings();
        settings.discord.resume_url = Some("wss://resume.example/".to_owned());
        let request = request("192.0.2.1:5", &[("host", "h")]);
        let urls = urls(&settings);
        assert_eq!(&*urls.resume(&UpgradeHead::of(request.head())), "wss://resume.example");
        assert_eq!(&*urls.gateway(&UpgradeHead::of(request.head())), "ws://h");
    }
}
