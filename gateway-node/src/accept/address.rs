//! Where a client is, through proxies.

use std::net::{IpAddr, SocketAddr};

use actix_http::header::{self, HeaderName};
use ipnet::IpNet;

use crate::transport::UpgradeHead;

/// The address that a request counts for: the peer's, or the one that a trusted proxy names.
///
/// A chain of proxies is read from its end, and the first address that is not a trusted proxy is believed: whatever
/// stands before it, the client may have written itself.
pub fn client_address(head: &UpgradeHead<'_>, peer: SocketAddr, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| is_proxy(*address, trusted);
    let peer = peer.ip().to_canonical();
    if !is_trusted(&peer) {
        return peer;
    }
    let mut chain = forwarded(head);
    if chain.is_empty() {
        chain = listed(head, &HeaderName::from_static("x-forwarded-for"));
    }
    chain
        .into_iter()
        .rev()
        .map_while(|address| address)
        .find(|address| !is_trusted(address))
        .unwrap_or(peer)
}

/// Whether an address is one of the proxies, which no limit counts.
pub fn is_proxy(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(&address))
}

/// `for=` of `Forwarded` (RFC 7239), in order.
fn forwarded(head: &UpgradeHead<'_>) -> Vec<Option<IpAddr>> {
    head.texts(&header::FORWARDED)
        .flat_map(|list| list.split(','))
        .map(|element| {
            element
                .split(';')
                .filter_map(|pair| pair.split_once('='))
                .find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))
                .and_then(|(_, node)| address(node))
        })
        .collect()
}

fn listed(head: &UpgradeHead<'_>, name: &HeaderName) -> Vec<Option<IpAddr>> {
    head.texts(name).flat_map(|list| list.split(',')).map(address).collect()
}

/// An address as proxies write it: quoted or not, with a port or not, IPv6 in brackets or not.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let bare = text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    bare.or_else(with_port)
        .or_else(bracketed)
        .map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use actix_http::test::TestRequest;

    use super::*;

    fn client(peer: &str, header: Option<(&'static str, &'static str)>) -> String {
        let mut request = TestRequest::default();
        if let Some(header) = header {
            request.append_header(header);
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        client_address(
            &UpgradeHead::of(request.finish().head()),
            peer.parse().unwrap(),
            &trusted,
        )
        .to_string()
    }

    #[test]
    fn a_stranger_is_who_it_is_whatever_it_claims() {
        let claim = Some(("x-forwarded-for", "1.2.3.4"));
        assert_eq!(client("192.0.2.1:5", claim), "192.0.2.1");
        assert_eq!(client("[::ffff:192.0.2.1]:5", claim), "192.0.2.1");
    }

    #[test]
    fn a_proxy_is_believed_from_the_end_of_the_chain() {
        for (header, value, expected) in [
            ("x-forwarded-for", "6.6.6.6, 192.0.2.7, 10.9.9.9", "192.0.2.7"),
            ("x-forwarded-for", "192.0.2.7:4711", "192.0.2.7"),
            ("x-forwarded-for", "192.0.2.7, nonsense", "10.1.1.1"),
            (
                "forwarded",
                "for=6.6.6.6, for=\"[2001:db8::1]:80\";proto=wss",
                "2001:db8::1",
            ),
            ("forwarded", "proto=ws;for=192.0.2.7", "192.0.2.7"),
        ] {
            assert_eq!(
                client("10.1.1.1:5", Some((header, value))),
                expected,
                "{header}: {value}"
            );
        }
        assert_eq!(client("10.1.1.1:5", None), "10.1.1.1");
    }
}
