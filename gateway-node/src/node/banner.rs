//! The banner: what a node prints on standard output once it accepts connections.

use std::{fmt::Write, net::SocketAddr};

use serde_json::json;

/// The banner of a node: JSON for programs, a few lines for people.
#[derive(Debug, Clone)]
pub struct Banner {
    /// The address of the public listener.
    pub address: SocketAddr,
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
        self.public_url
            .clone()
            .unwrap_or_else(|| format!("{}://{}/", if self.is_tls { "wss" } else { "ws" }, self.address))
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

    /// Formats the banner for a person, with a command to paste. `key` is the development key.
    pub fn text(&self, key: Option<&str>) -> String {
        let mut text = format!(
            "Utilbot Gateway {} listens on {}\n  node    {}\n  health  {}://{}/health\n",
            env!("CARGO_PKG_VERSION"),
            self.url(),
            self.node,
            if self.is_tls { "https" } else { "http" },
            self.address
        );
        if let Some(key) = key {
            let url = self.url();
            let _ = write!(
                text,
                "  key     {key}\n          (development mode: a new key at every start, with every permission)\n\n\
                 Connect a bot from a second terminal:\n\n  \
                 UTILBOT_KEY={key} cargo run --release -- connect --url {url}\n"
            );
        }
        text
    }
}
