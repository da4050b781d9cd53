//! The address of a client, also behind proxies.

use std::net::{IpAddr, SocketAddr};

use actix_http::header::{self, HeaderName};
use ipnet::IpNet;

use crate::transport::UpgradeHead;

/// Returns the address that a request is counted for: the peer's, or the one that a trusted proxy names.
///
/// The chain of proxies is read from its end. The first address that is not a trusted proxy is the client's: anything
/// before it may have been written by the client itself.
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

/// Whether an address belongs to a trusted proxy. The limits per address do not count proxies.
pub fn is_proxy(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(&address))
}

/// The `for=` parameters of `Forwarded` (RFC 7239), in order. `None` stands for an element without a usable address.
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

/// Parses an address as proxies write it: quoted or not, with or without a port, IPv6 with or without brackets.
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
    fn forwarding_headers_of_an_untrusted_peer_are_ignored() {
        let claim = Some(("x-forwarded-for", "1.2.3.4"));
        assert_eq!(client("192.0.2.1:5", claim), "192.0.2.1");
        assert_eq!(client("[::ffff:192.0.2.1]:5", claim), "192.0.2.1");
    }

    #[test]
    fn the_last_untrusted_address_of_a_chain_is_the_client() {
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
