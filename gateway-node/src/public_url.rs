//! The URLs that libraries are told to connect to.

use std::{cell::RefCell, net::SocketAddr, sync::Arc};

use actix_http::header::{self, HeaderName};
use ipnet::IpNet;

use crate::{config::Settings, transport::UpgradeHead};

thread_local! {
    /// What was found last.
    static LATEST: RefCell<Arc<str>> = RefCell::default();
}

/// Where clients reach the gateway: as configured, or where a request has found it. Clones are the same.
///
/// Every URL is a scheme and an authority alone, since libraries append a path and a query to it.
#[derive(Debug, Clone)]
pub struct PublicUrl {
    gateway: Option<Arc<str>>,
    resume: Option<Arc<str>>,
    /// The listener, for a request that does not say whom it asks.
    address: SocketAddr,
    is_tls: bool,
    trusted_proxies: Arc<[IpNet]>,
}

impl PublicUrl {
    /// The URLs of a node with these settings, whose public listener is at `address`.
    pub fn new(settings: &Settings, address: SocketAddr) -> Self {
        let server = &settings.server;
        let configured = |url: Option<&str>| url.map(|url| Arc::<str>::from(origin(url)));
        let gateway = configured(server.public_url.as_deref());
        Self {
            resume: configured(settings.discord.resume_url.as_deref()).or_else(|| gateway.clone()),
            gateway,
            address,
            is_tls: server.tls.certificate.is_some(),
            trusted_proxies: server.trusted_proxies.as_slice().into(),
        }
    }

    /// The URL to connect to, for whoever sent this request.
    pub fn gateway(&self, request: &UpgradeHead<'_>) -> Arc<str> {
        self.gateway.clone().unwrap_or_else(|| self.found_by(request))
    }

    /// The URL to resume at, for whoever sent this request.
    pub fn resume(&self, request: &UpgradeHead<'_>) -> Arc<str> {
        self.resume.clone().unwrap_or_else(|| self.found_by(request))
    }

    fn found_by(&self, request: &UpgradeHead<'_>) -> Arc<str> {
        let is_tls = self.told_by_proxy(request).unwrap_or(self.is_tls);
        let scheme = if is_tls { "wss" } else { "ws" };
        let url = match host(request) {
            Some(host) => format!("{scheme}://{host}"),
            None => format!("{scheme}://{}", self.address),
        };
        // Most clients find the node at the same place, and their sessions share its text.
        LATEST.with_borrow_mut(|latest| {
            if **latest != *url {
                *latest = url.into();
            }
            Arc::clone(latest)
        })
    }

    /// Whether the client speaks TLS, as a proxy says that is believed. Of a chain of proxies the first one counts, which
    /// the client itself has reached.
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

/// `url` without what comes after the authority.
fn origin(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    let length = url[start..].find(['/', '?', '#']).unwrap_or(url.len() - start);
    &url[..start + length]
}

/// Whom the request asks: a whole URL in its first line goes before the header (RFC 9112, section 3.2.2).
fn host<'a>(request: &UpgradeHead<'a>) -> Option<&'a str> {
    request
        .authority
        .into_iter()
        .chain(request.text(&header::HOST))
        .find(|host| is_authority(host))
}

/// Whether `text` is a host and maybe a port, and nothing that would become another part of a URL.
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
        PublicUrl::new(settings, "127.0.0.1:8080".parse().unwrap())
    }

    fn told(settings: &Settings, peer: &str, headers: &[(&'static str, &'static str)]) -> String {
        let request = request(peer, headers);
        urls(settings).gateway(&UpgradeHead::of(request.head())).to_string()
    }

    #[test]
    fn a_client_is_told_the_host_that_it_has_asked() {
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
    fn a_host_that_is_none_is_not_repeated() {
        for host in ["", "a/b", "a?b", "a#b", "user@host", "a b", "a\\b", "\"a\""] {
            assert_eq!(
                told(&settings(), "192.0.2.1:5", &[("host", host)]),
                "ws://127.0.0.1:8080"
            );
        }
        assert_eq!(told(&settings(), "192.0.2.1:5", &[]), "ws://127.0.0.1:8080");
    }

    #[test]
    fn a_url_in_the_first_line_goes_before_the_header() {
        let mut request = request("192.0.2.1:5", &[("host", "other.example")]);
        request.head_mut().uri = "http://gateway.example:81/api/gateway".parse().unwrap();
        let url = urls(&settings()).gateway(&UpgradeHead::of(request.head()));
        assert_eq!(&*url, "ws://gateway.example:81");
    }

    #[test]
    fn a_trusted_proxy_alone_says_what_the_client_speaks() {
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
    fn what_is_configured_is_told_without_a_path() {
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
    fn the_url_for_resuming_is_for_resuming_alone() {
        let mut settings = settings();
        settings.discord.resume_url = Some("wss://resume.example/".to_owned());
        let request = request("192.0.2.1:5", &[("host", "h")]);
        let urls = urls(&settings);
        assert_eq!(&*urls.resume(&UpgradeHead::of(request.head())), "wss://resume.example");
        assert_eq!(&*urls.gateway(&UpgradeHead::of(request.head())), "ws://h");
    }
}
