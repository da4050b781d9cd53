//! Which web pages may use the node: checks of `Origin` and `Host`.
//!
//! A browser lets any page open a WebSocket to any host, and names the page in `Origin`. It also lets a page talk to
//! the page's own host, whose name its owner can later point at this machine (DNS rebinding); `Host` then carries that
//! name. In development mode no key is needed, so only names of this machine are accepted there.

use std::{net::IpAddr, sync::Arc};

use actix_http::header;

use crate::{config::Settings, transport::UpgradeHead};

/// The accepted values of `Origin` and `Host`.
#[derive(Debug, Clone)]
pub struct BrowserPolicy {
    /// Accepted values of `Origin`. If empty, any is accepted, except in development mode.
    allowed_origins: Arc<[String]>,
    /// Accepted host names, without a port, in lower case. If empty, any is accepted, except in development mode.
    allowed_hosts: Arc<[String]>,
    is_development: bool,
}

/// The pages that may read a response (CORS).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AllowedReaders {
    /// Those of any origin.
    AnyOrigin,
    /// Those of the request's origin.
    ThisOrigin,
}

/// Why a browser's request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    /// The page that sent the request may not connect.
    #[error("this origin may not connect")]
    Origin,
    /// The request names a host that is not this node.
    #[error("this node is not the host that the request names; see server.allowed_hosts")]
    Host,
}

impl Foreign {
    /// The name of the reason in metrics and in responses.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Origin => "origin",
            Self::Host => "host",
        }
    }
}

impl From<&Settings> for BrowserPolicy {
    fn from(settings: &Settings) -> Self {
        let hosts = settings.server.allowed_hosts.iter();
        let hosts = hosts.map(|host| normal(host_of(host).unwrap_or(host)));
        Self {
            allowed_origins: settings.server.allowed_origins.as_slice().into(),
            allowed_hosts: hosts.collect(),
            is_development: settings.development(),
        }
    }
}

impl BrowserPolicy {
    /// Checks a request for a WebSocket.
    ///
    /// # Errors
    /// If `Host` or `Origin` is not accepted.
    pub fn check_upgrade(&self, head: &UpgradeHead<'_>) -> Result<(), Foreign> {
        self.check_host(head)?;
        self.check_origin(head)
    }

    /// Checks any other request. `/livez`, `/readyz` and `/health` may name any host, because orchestrators and
    /// balancers use any.
    ///
    /// # Errors
    /// Like [`check_upgrade`](Self::check_upgrade), but `Origin` counts in development mode only: elsewhere a page can
    /// read nothing without a key.
    pub fn check_request(&self, head: &UpgradeHead<'_>) -> Result<(), Foreign> {
        if !matches!(head.path, "/livez" | "/readyz" | "/health") {
            self.check_host(head)?;
        }
        if self.is_development {
            self.check_origin(head)
        } else {
            Ok(())
        }
    }

    /// Checks a request to the admin listener. Outside development mode it accepts every host name and page.
    ///
    /// # Errors
    /// Like [`check_request`](Self::check_request), in development mode only.
    pub fn check_admin_request(&self, head: &UpgradeHead<'_>) -> Result<(), Foreign> {
        if self.is_development {
            self.check_request(head)
        } else {
            Ok(())
        }
    }

    /// Returns which pages may read a response to a page of this origin; `None` if that page may not.
    pub fn readers(&self, origin: &[u8]) -> Option<AllowedReaders> {
        if !self.allowed_origins.is_empty() {
            let is_listed = self.allowed_origins.iter().any(|allowed| allowed.as_bytes() == origin);
            return is_listed.then_some(AllowedReaders::ThisOrigin);
        }
        if self.is_development {
            let host = str::from_utf8(origin).ok().and_then(host_of_origin);
            return host
                .is_some_and(|host| self.is_own(host))
                .then_some(AllowedReaders::ThisOrigin);
        }
        Some(AllowedReaders::AnyOrigin)
    }

    fn check_origin(&self, head: &UpgradeHead<'_>) -> Result<(), Foreign> {
        match head.first(&header::ORIGIN) {
            Some(origin) if self.readers(origin).is_none() => Err(Foreign::Origin),
            // Only browsers send `Origin`.
            _ => Ok(()),
        }
    }

    fn check_host(&self, head: &UpgradeHead<'_>) -> Result<(), Foreign> {
        if !self.is_development && self.allowed_hosts.is_empty() {
            return Ok(());
        }
        let fields = head.all(&header::HOST).map(|host| str::from_utf8(host).ok());
        let mut named = fields.chain(head.authority.map(Some));
        let is_own = |name: Option<&str>| name.and_then(host_of).is_some_and(|host| self.is_own(host));
        if named.all(is_own) { Ok(()) } else { Err(Foreign::Host) }
    }

    fn is_own(&self, host: &str) -> bool {
        let host = normal(host);
        self.allowed_hosts.contains(&host) || self.is_development && is_loopback(&host)
    }
}

/// Whether a host is a loopback name or address.
fn is_loopback(host: &str) -> bool {
    let address = host.parse().map(|address: IpAddr| address.to_canonical());
    host == "localhost" || host.ends_with(".localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// Returns a host name in lower case and without a trailing dot.
fn normal(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// Returns the host in `host`, `host:port`, `[v6]` or `[v6]:port`.
fn host_of(authority: &str) -> Option<&str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, rest.strip_prefix(':').or(rest.is_empty().then_some("")))
        }
        // More than one colon without brackets is an IPv6 address, which a setting may contain.
        None => match authority.split_once(':') {
            Some((host, port)) if !port.contains(':') => (host, Some(port)),
            _ => (authority, Some("")),
        },
    };
    let is_port = port?.bytes().all(|byte| byte.is_ascii_digit());
    let is_name = !host.is_empty() && !host.contains(['@', '/', '\\', '?', '#', ' ']);
    (is_port && is_name).then_some(host)
}

/// Returns the host of an origin such as `https://example.org:8443`. The origin `null` has none.
fn host_of_origin(origin: &str) -> Option<&str> {
    let (scheme, authority) = origin.split_once("://")?;
    let is_web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    if is_web { host_of(authority) } else { None }
}

#[cfg(test)]
mod tests {
    use actix_http::test::TestRequest;

    use super::*;

    fn policy(origins: &[&str], hosts: &[&str], is_development: bool) -> BrowserPolicy {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        BrowserPolicy {
            allowed_origins: owned(origins),
            allowed_hosts: owned(hosts),
            is_development,
        }
    }

    fn check(policy: &BrowserPolicy, path: &str, host: &str, origin: Option<&str>) -> [Result<(), Foreign>; 2] {
        let mut request = TestRequest::with_uri(path);
        request.insert_header((header::HOST, host));
        if let Some(origin) = origin {
            request.insert_header((header::ORIGIN, origin));
        }
        let request = request.finish();
        let head = UpgradeHead::of(request.head());
        [policy.check_upgrade(&head), policy.check_request(&head)]
    }

    #[test]
    fn development_mode_accepts_only_names_of_this_machine() {
        let policy = policy(&[], &["box", "10.1.2.3"], true);
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "localhost.",
            "app.localhost:1",
            "127.0.0.1:8080",
            "127.9.9.9",
            "[::1]:8080",
            "[::ffff:127.0.0.1]",
            "box:8080",
            "10.1.2.3",
        ] {
            assert_eq!(check(&policy, "/", host, None), [Ok(()); 2], "{host}");
            for origin in [format!("http://{host}"), format!("https://{host}")] {
                assert_eq!(check(&policy, "/", "localhost", Some(&origin)), [Ok(()); 2], "{origin}");
            }
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "evil-localhost",
            "127.0.0.1.evil.example",
            "128.0.0.1",
            "0.0.0.0",
            "[::2]",
            "localhost@evil.example",
            "localhost:80@evil.example",
            "evil.example:127.0.0.1",
            "",
        ] {
            assert_eq!(check(&policy, "/", host, None), [Err(Foreign::Host); 2], "{host}");
            let origin = format!("http://{host}");
            assert_eq!(
                check(&policy, "/", "localhost", Some(&origin)),
                [Err(Foreign::Origin); 2],
                "{origin}"
            );
        }
        for origin in ["null", "file://localhost", "http://localhost/path", "localhost"] {
            assert_eq!(
                check(&policy, "/", "localhost", Some(origin)),
                [Err(Foreign::Origin); 2],
                "{origin}"
            );
        }
    }

    #[test]
    fn probes_may_name_any_host_but_not_come_from_a_foreign_page() {
        let policy = policy(&[], &[], true);
        for path in ["/livez", "/readyz", "/health"] {
            assert_eq!(check(&policy, path, "10.0.0.7:8080", None)[1], Ok(()), "{path}");
            assert_eq!(
                check(&policy, path, "10.0.0.7:8080", Some("https://evil.example"))[1],
                Err(Foreign::Origin),
                "{path}"
            );
        }
        assert_eq!(check(&policy, "/metrics", "10.0.0.7:8080", None)[1], Err(Foreign::Host));
    }

    #[test]
    fn outside_development_mode_any_name_is_accepted_unless_some_are_listed() {
        let open = policy(&[], &[], false);
        let foreign = Some("https://evil.example");
        assert_eq!(check(&open, "/", "any.example", foreign), [Ok(()); 2]);
        let listed = policy(&["https://only.example"], &["gateway.example"], false);
        assert_eq!(
            check(&listed, "/", "gateway.example", Some("https://only.example")),
            [Ok(()); 2]
        );
        assert_eq!(
            check(&listed, "/", "gateway.example", foreign),
            [Err(Foreign::Origin), Ok(())]
        );
        assert_eq!(check(&listed, "/", "localhost", None), [Err(Foreign::Host); 2]);
    }
}
