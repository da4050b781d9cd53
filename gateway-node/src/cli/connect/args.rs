//! The options of `connect`, and their parsing.

use std::{str::FromStr, time::Duration};

use clap::{Args, ValueEnum};
use shared::{client_type::ClientType, guild::GuildId};
use tokio_tungstenite::tungstenite::http::Uri;

use super::key::KeyArgs;
use crate::cli::TargetOptions;

/// Printed by `--help` after the options.
const HELP: &str = "\
Type NAME {\"a\":1} to send an event, a whole JSON object to send it as it is, \"servers 5 100 50\" to report servers, \
/help or /quit. The key comes from --key-file or UTILBOT_KEY, unless there is a --ticket.

On a terminal the output is human-readable; anywhere else, and with --json, every line is one JSON object.

Exit codes: 0 closed normally, 1 connection refused or lost, 2 error from the gateway, 3 --timeout-ms ran out, \
64 invalid options.

Examples:
  gateway-node connect --type bot --key-file bot.key
  \
echo 'announce {\"text\":\"hello\"}' | gateway-node connect --url wss://gateway.example.com --type service --exit-on-eof";

/// The options of `connect`. Exit codes: 0 closed normally, 1 the connection was refused or lost, 2 the gateway closed it
/// with an error, 3 `--timeout-ms` ran out, 64 invalid options.
#[derive(Debug, Clone, Args)]
#[command(after_help = HELP)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is an independent switch on the command line"
)]
pub struct ConnectArgs {
    /// The gateway.
    #[command(flatten)]
    pub target: TargetOptions,

    /// Where the key comes from.
    #[command(flatten)]
    pub key: KeyArgs,

    /// Client type to identify as: bot, website or service
    #[arg(long = "type", value_name = "TYPE", default_value = "bot")]
    pub client_type: ClientType,

    /// Ask for compressed messages
    #[arg(long, value_name = "METHOD")]
    pub compression: Option<Compression>,

    /// The protocol version to request (`v`); this client speaks 1
    #[arg(long, value_name = "V", default_value = "1")]
    pub version_param: String,

    /// Report these server counts once connected
    #[arg(long, value_name = "GUILDS[,MEMBERS[,CACHED]]")]
    pub servers: Option<Servers>,

    /// Watch these guilds, or report them if the type is bot
    #[arg(long, value_name = "ID,ID", value_delimiter = ',', value_parser = guild)]
    pub guilds: Option<Vec<GuildId>>,

    /// Receive the guild counts, which bots always do
    #[arg(long)]
    pub counts: bool,

    /// Show the positions of events; with --reconnect, catch up after a loss
    #[arg(long)]
    pub positions: bool,

    /// Catch up on what came after this position; implies --positions
    #[arg(long, value_name = "POSITION")]
    pub after: Option<String>,

    /// Take this many jobs at once; acknowledge each with `ack RECEIPT`
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub jobs: Option<u16>,

    /// Connect with a ticket instead of a key, as a web page does; implies --type website
    #[arg(long, value_name = "TICKET", conflicts_with_all = ["key_file", "client_type", "reconnect"])]
    pub ticket: Option<String>,

    /// Write JSON lines even on a terminal
    #[arg(long)]
    pub json: bool,

    /// Reconnect after a loss, waiting 1 s to 30 s; not after a refused key or version
    #[arg(long)]
    pub reconnect: bool,

    /// End when standard input ends, even if it is not a terminal; its lines are sent first
    #[arg(long)]
    pub exit_on_eof: bool,

    /// Exit with code 0 once N application events have arrived
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,

    /// Exit with code 3 after this many milliseconds, whatever has happened
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout_ms: Option<u64>,
}

/// Parses the id of a guild.
fn guild(text: &str) -> Result<GuildId, String> {
    GuildId::from_digits(text.trim()).ok_or_else(|| "expected ids of guilds: ID,ID,...".to_owned())
}

/// A value of `compression=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Compression {
    /// Every message from the gateway is one zlib stream.
    Zlib,
}

/// The counts of a `send_servers` report. Absent counts are left out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Servers {
    /// Number of guilds.
    pub guilds: u64,
    /// Number of members of all the guilds.
    pub members: Option<u64>,
    /// Number of members that the bot has cached.
    pub cached: Option<u64>,
}

/// The largest count that the protocol allows: 2^53 − 1.
const LARGEST_COUNT: u64 = (1 << 53) - 1;

/// The text does not parse as [`Servers`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected one to three whole numbers up to 2^53-1: GUILDS [MEMBERS [CACHED]]")]
pub struct NoServers;

impl Servers {
    /// Parses one to three counts.
    ///
    /// # Errors
    ///
    /// [`NoServers`] for fewer or more values, or anything but counts.
    pub fn parse<'a>(counts: impl Iterator<Item = &'a str>) -> Result<Self, NoServers> {
        let counts = counts
            .map(|count| count.parse().ok().filter(|count| *count <= LARGEST_COUNT))
            .collect::<Option<Vec<u64>>>()
            .ok_or(NoServers)?;
        match counts[..] {
            [guilds, ref more @ ..] if more.len() <= 2 => Ok(Self {
                guilds,
                members: more.first().copied(),
                cached: more.get(1).copied(),
            }),
            _ => Err(NoServers),
        }
    }
}

impl FromStr for Servers {
    type Err = NoServers;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text.split(',').map(str::trim))
    }
}

/// Why `connect` cannot use a URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerUrlError {
    /// It is not a URL with a host.
    #[error("--url: expected a URL of the form ws://HOST:PORT/")]
    Malformed,
    /// Its scheme is not that of a WebSocket.
    #[error("--url: expected ws:// or wss://, not {0}://")]
    Scheme(String),
    /// It contains a user name or password.
    #[error("--url: a user name or password in the URL is not supported")]
    UserInformation,
}

impl ConnectArgs {
    /// Returns the URL to connect to: `url` with `v` and `compression` added to its query.
    ///
    /// # Errors
    ///
    /// [`ServerUrlError`] for anything but a URL of a WebSocket.
    pub fn url_on(&self, url: &str) -> Result<String, ServerUrlError> {
        let uri: Uri = url.parse().map_err(|_| ServerUrlError::Malformed)?;
        let scheme = match uri.scheme_str() {
            Some(scheme @ ("ws" | "wss")) => scheme,
            Some(other) => return Err(ServerUrlError::Scheme(other.to_owned())),
            None => return Err(ServerUrlError::Malformed),
        };
        let authority = uri.authority().ok_or(ServerUrlError::Malformed)?;
        if authority.as_str().contains('@') {
            return Err(ServerUrlError::UserInformation);
        }
        let mut query = form_urlencoded::Serializer::new(uri.query().unwrap_or_default().to_owned());
        query.append_pair("v", &self.version_param);
        if let Some(Compression::Zlib) = self.compression {
            query.append_pair("compression", "zlib");
        }
        let path = uri.path();
        Ok(format!("{scheme}://{authority}{path}?{}", query.finish()))
    }

    /// Returns the client type: that of a web page if there is a ticket.
    pub fn kind(&self) -> ClientType {
        match self.ticket {
            Some(_) => ClientType::Website,
            None => self.client_type,
        }
    }

    /// Returns the time limit of the whole run, if there is one.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout_ms.map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct ArgsTestCli {
        #[command(flatten)]
        connect: ConnectArgs,
    }

    fn parse(options: &[&str]) -> ConnectArgs {
        ArgsTestCli::try_parse_from([&["connect"], options].concat())
            .unwrap()
            .connect
    }

    #[test]
    fn the_url_gets_the_version_and_the_compression() {
        let url = |options: &[&str], url: &str| parse(options).url_on(url).unwrap();
        assert_eq!(url(&[], "ws://127.0.0.1:8080/"), "ws://127.0.0.1:8080/?v=1");
        assert_eq!(url(&[], "wss://h/"), "wss://h/?v=1");
        assert_eq!(
            url(&["--compression", "zlib", "--version-param", ""], "ws://h:1"),
            "ws://h:1/?v=&compression=zlib"
        );
        assert_eq!(
            url(&["--version-param", "a&b"], "ws://[::1]:1//?a=b"),
            "ws://[::1]:1//?a=b&v=a%26b"
        );
    }

    #[test]
    fn unsupported_urls_are_refused_with_the_reason() {
        let refused = |url| parse(&[]).url_on(url).unwrap_err();
        assert_eq!(refused("http://h/"), ServerUrlError::Scheme("http".into()));
        assert_eq!(refused("ws://a:b@h/"), ServerUrlError::UserInformation);
        assert_eq!(refused("127.0.0.1:8080"), ServerUrlError::Malformed);
        assert_eq!(refused("/"), ServerUrlError::Malformed);
        assert_eq!(refused(""), ServerUrlError::Malformed);
    }

    #[test]
    fn server_counts_are_one_to_three_numbers() {
        let servers = |text: &str| text.parse::<Servers>();
        assert_eq!(
            servers("5"),
            Ok(Servers {
                guilds: 5,
                members: None,
                cached: None
            })
        );
        assert_eq!(
            servers("5,100, 50"),
            Ok(Servers {
                guilds: 5,
                members: Some(100),
                cached: Some(50)
            })
        );
        for bad in ["", "5,", "a", "-1", "1,2,3,4", "9007199254740992"] {
            assert_eq!(servers(bad), Err(NoServers), "{bad}");
        }
    }

    #[test]
    fn invalid_option_values_are_refused() {
        for bad in [
            &["--type", "Bot"][..],
            &["--compression", "gzip"],
            &["--count", "0"],
            &["--jobs", "0"],
            &["--jobs", "1001"],
            &["--timeout-ms", "0"],
            &["--servers", "x"],
            &["--guilds", "1,x"],
            &["--ticket", "ticket.a.b", "--type", "bot"],
            &["--ticket", "ticket.a.b", "--reconnect"],
        ] {
            assert!(
                ArgsTestCli::try_parse_from([&["connect"], bad].concat()).is_err(),
                "{bad:?}"
            );
        }
    }
}
