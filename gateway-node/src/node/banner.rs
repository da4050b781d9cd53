//! The banner: what a node prints on standard output once it accepts connections.

use std::{
    fmt::Write,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use serde_json::json;

use crate::config::BindAddress;

/// The banner of a node: JSON for programs, a few lines for people.
#[derive(Debug, Clone)]
pub struct Banner {
    /// The address of the public listener.
    pub address: BindAddress,
    /// The address of the echo listener, if there is one.
    pub echo_address: Option<SocketAddr>,
    /// The address of the administration listener, if there is one.
    pub admin_address: Option<SocketAddr>,
    /// Whether the public listener uses TLS.
    pub is_tls: bool,
    /// The node's name.
    pub node: String,
    /// The URL that clients use, if it differs from the listener's.
    pub public_url: Option<String>,
}

impl Banner {
    /// Returns the URL of the WebSocket.
    pub fn url(&self) -> String {
        self.public_url.clone().unwrap_or_else(|| match &self.address {
            BindAddress::Tcp(address) => format!("{}://{address}/", if self.is_tls { "wss" } else { "ws" }),
            BindAddress::Unix(path) => format!("ws+unix://{}", path.display()),
        })
    }

    /// Formats the banner as one line of JSON. `key` is the development key.
    pub fn json(&self, key: Option<&str>) -> String {
        let mut line = json!({
            "event": "listening",
            "address": self.address.to_string(),
            "url": self.url(),
            "node": self.node,
            "version": env!("CARGO_PKG_VERSION"),
        });
        let optional = [
            ("echo_address", self.echo_address.map(|address| address.to_string())),
            ("admin_address", self.admin_address.map(|address| address.to_string())),
            ("development_key", key.map(str::to_owned)),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                line[name] = value.into();
            }
        }
        line.to_string()
    }

    /// Formats the banner for a person, with commands to paste. `key` is the development key, and `program` the command
    /// that this node was started with.
    pub fn text(&self, key: Option<&str>, program: &str) -> String {
        let (http, web_socket) = if self.is_tls { ("https", "wss") } else { ("http", "ws") };
        let mut text = format!(
            "Utilbot Gateway {} listens on {}\n  node      {}\n",
            env!("CARGO_PKG_VERSION"),
            self.url(),
            self.node,
        );
        // Of a Unix socket, curl takes the path as an option, and the host is of no importance.
        let (here, curl) = match &self.address {
            BindAddress::Tcp(address) => (address_here(*address).to_string(), "curl".to_owned()),
            BindAddress::Unix(path) => ("localhost".to_owned(), format!("curl --unix-socket {}", path.display())),
        };
        if self.address.tcp().is_some() {
            let _ = write!(
                text,
                "  health    {http}://{here}/health\n  protocol  {http}://{here}/protocol\n"
            );
        }
        let Some(key) = key else {
            return text;
        };
        let _ = write!(
            text,
            "  key       {key}\n            (development mode: a new key at every start, with every permission; it is \
             also the token\n            of a bot, of the application utilbot)\n"
        );
        if !self.address.is_local() {
            text.push_str(
                "\nAnyone who reaches this port can try keys against it, without encryption. Use it in a network that \
                 you trust.\n",
            );
        }
        if self.address.tcp().is_some() {
            let _ = write!(
                text,
                "\nConnect a bot from a second terminal, and publish an event from a third:\n\n  \
                 UTILBOT_KEY={key} {program} connect --url {web_socket}://{here}/\n  \
                 UTILBOT_KEY={key} {program} publish --url {http}://{here} announce '{{\"text\":\"hello\"}}'\n\n\
                 or without this program:\n\n"
            );
        } else {
            text.push_str("\nPublish an event from a second terminal:\n\n");
        }
        let _ = write!(
            text,
            "  {curl} -H 'Authorization: Bearer {key}' {http}://{here}/api/v1/events \\\n    \
             -d '{{\"t\":\"announce\",\"d\":{{\"text\":\"hello\"}}}}'\n"
        );
        text
    }
}

/// Returns the address at which programs of this machine reach a listener that is bound to `address`.
pub(crate) fn address_here(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    fn banner(address: &str) -> Banner {
        Banner {
            address: address.parse().unwrap(),
            echo_address: None,
            admin_address: None,
            is_tls: false,
            node: "n".to_owned(),
            public_url: None,
        }
    }

    #[test]
    fn commands_name_an_address_that_this_machine_reaches() {
        for (bind, here) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
        ] {
            let text = banner(bind).text(Some("development.s"), "/usr/bin/gateway-node");
            for part in [
                format!("UTILBOT_KEY=development.s /usr/bin/gateway-node connect --url ws://{here}/"),
                format!("/usr/bin/gateway-node publish --url http://{here} announce"),
                format!("Bearer development.s' http://{here}/api/v1/events"),
                format!("http://{here}/protocol"),
            ] {
                assert!(text.contains(&part), "{part} is not in {text}");
            }
        }
    }

    #[test]
    fn a_unix_socket_is_named_by_its_path() {
        let banner = banner("unix:/run/u.sock");
        assert!(banner.json(None).contains("\"address\":\"unix:/run/u.sock\""));
        let text = banner.text(Some("development.s"), "p");
        assert!(text.contains("listens on ws+unix:///run/u.sock\n"), "{text}");
        assert!(text.contains("curl --unix-socket /run/u.sock -H "), "{text}");
        assert!(!text.contains("connect --url"), "{text}");
    }

    #[test]
    fn a_listener_for_other_machines_says_what_that_means() {
        let warns = |bind| {
            banner(bind)
                .text(Some("k"), "p")
                .contains("Anyone who reaches this port")
        };
        assert!(warns("0.0.0.0:80") && warns("192.168.1.2:80") && !warns("127.0.0.1:80"));
    }

    #[test]
    fn without_a_development_key_only_addresses_are_printed() {
        let text = banner("127.0.0.1:80").text(None, "p");
        assert!(text.contains("/health") && !text.contains("UTILBOT_KEY"));
    }
}
