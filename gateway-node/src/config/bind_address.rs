//! Where the public listener listens.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::setting::{Setting, SettingKind};

/// What the address of a Unix socket begins with.
const UNIX: &str = "unix:";
/// The longest path that the kernel takes for a Unix socket, in bytes.
const PATH_BYTES: usize = 107;

/// The address of a listener: `127.0.0.1:8080`, or `unix:/run/utilbot/gateway.sock`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindAddress {
    /// An address and port.
    Tcp(SocketAddr),
    /// The absolute path of a Unix socket.
    Unix(PathBuf),
}

/// The error for a text that is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an address")]
pub struct NotAnAddress;

impl BindAddress {
    /// Returns the address and port, if it has one.
    pub const fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// Returns the path of the Unix socket, if it is one.
    pub fn unix(&self) -> Option<&Path> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(path) => Some(path),
        }
    }

    /// Returns whether only programs of this machine reach it.
    pub const fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl From<SocketAddr> for BindAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl FromStr for BindAddress {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let Some(path) = text.strip_prefix(UNIX) else {
            return text.parse().map(Self::Tcp).map_err(|_| NotAnAddress);
        };
        let is_usable =
            path.starts_with('/') && !path.ends_with('/') && path.len() <= PATH_BYTES && !path.contains('\0');
        if is_usable {
            Ok(Self::Unix(path.into()))
        } else {
            Err(NotAnAddress)
        }
    }
}

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl Serialize for BindAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BindAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

impl Setting for BindAddress {
    const KIND: SettingKind = SettingKind::Text;
    const EXPECTED: &'static str =
        "an address and port such as 127.0.0.1:8080, or unix: and the absolute path of a socket (at most 107 bytes)";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_a_round_trip_through_text() {
        for text in [
            "127.0.0.1:8080",
            "[::1]:0",
            "unix:/run/utilbot/gateway.sock",
            "unix:/a b:c",
        ] {
            assert_eq!(text.parse::<BindAddress>().unwrap().to_string(), text);
        }
        let longest = format!("unix:/{}", "x".repeat(PATH_BYTES - 1));
        assert!(longest.parse::<BindAddress>().is_ok());
        for wrong in [
            "",
            "here",
            "127.0.0.1",
            "unix:",
            "unix:relative",
            "unix:/",
            "unix:/folder/",
            "/run/a.sock",
            &format!("{longest}x"),
        ] {
            assert_eq!(wrong.parse::<BindAddress>(), Err(NotAnAddress), "{wrong}");
        }
    }
}
