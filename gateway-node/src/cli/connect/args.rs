//! The options of `connect` and what they come to.

use std::{str::FromStr, time::Duration};

use clap::{Args, ValueEnum};
use shared::client_type::ClientType;
use tokio_tungstenite::tungstenite::http::Uri;

use super::key::KeyArgs;

/// What `--help` says beside the options.
const HELP: &str = "\
Type NAME {\"a\":1} to send an event, a whole JSON object to send it as it is, \"servers 5 100 50\" to report servers, \
/help or /quit. The key comes from --key-file or UTILBOT_KEY.

On a terminal every line is for reading; anywhere else, and with --json, every line is one JSON object.

Exit codes: 0 a normal close, 1 refused or lost, 2 an error of the gateway, 3 --timeout-ms ran out, 64 wrong options.";

/// The options of `connect`. Exit codes: 0 a normal close, 1 refused or lost, 2 an error of the gateway, 3
/// `--timeout-ms` ran out, 64 wrong options.
#[derive(Debug, Clone, Args)]
#[command(after_help = HELP)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "every one is a switch of its own on the command line"
)]
pub struct ConnectArgs {
    /// The gateway's address
    #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:8080/")]
    pub url: String,

    /// Where the key comes from.
    #[command(flatten)]
    pub key: KeyArgs,

    /// What to identify as: bot, website or service
    #[arg(long = "type", value_name = "TYPE", default_value = "bot")]
    pub client_type: ClientType,

    /// Ask for compressed messages
    #[arg(long, value_name = "METHOD")]
    pub compression: Option<Compression>,

    /// The `v` that is asked for; this client speaks 1
    #[arg(long, value_name = "V", default_value = "1")]
    pub version_param: String,

    /// Report these servers once connected
    #[arg(long, value_name = "GUILDS[,MEMBERS[,CACHED]]")]
    pub servers: Option<Servers>,

    /// Write JSON lines on a terminal too
    #[arg(long)]
    pub json: bool,

    /// Connect again after a loss, waiting 1 s to 30 s; not after a refused key or version
    #[arg(long)]
    pub reconnect: bool,

    /// End when standard input does, even if it is no terminal; lines are sent first
    #[arg(long)]
    pub exit_on_eof: bool,

    /// End with 0 once N application events have arrived
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,

    /// End with 3 after so many milliseconds, whatever has happened
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout_ms: Option<u64>,
}

/// A method for `compression=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Compression {
    /// Every message of the gateway is one zlib stream.
    Zlib,
}

/// The counts of a `send_servers` report; what is absent is left out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Servers {
    /// Guilds.
    pub guilds: u64,
    /// Members of all the guilds.
    pub members: Option<u64>,
    /// Members that the bot has cached.
    pub cached: Option<u64>,
}

/// The largest count that the protocol takes: 2^53 − 1.
const LARGEST_COUNT: u64 = (1 << 53) - 1;

/// The text is no [`Servers`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected one to three whole numbers up to 2^53-1: GUILDS [MEMBERS [CACHED]]")]
pub struct NoServers;

impl Servers {
    /// Reads one to three counts.
    ///
    /// # Errors
    ///
    /// [`NoServers`] for fewer, more, or anything else than counts.
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

/// Why a URL is none that `connect` can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerUrlError {
    /// It is no URL with a host.
    #[error("--url is no URL of the form ws://HOST:PORT/")]
    Malformed,
    /// TLS is asked for.
    #[error("--url: this client has no TLS; connect to the node itself with ws://")]
    Tls,
    /// Another scheme than `ws`.
    #[error("--url: expected ws://, not {0}://")]
    Scheme(String),
    /// A name or password stands in it.
    #[error("--url: a name or password in the URL is not used here")]
    UserInformation,
}

impl ConnectArgs {
    /// The URL to connect to, with `v` and `compression` added to its query.
    ///
    /// # Errors
    ///
    /// [`ServerUrlError`] for what is no `ws://` URL.
    pub fn target(&self) -> Result<String, ServerUrlError> {
        let uri: Uri = self.url.parse().map_err(|_| ServerUrlError::Malformed)?;
        match uri.scheme_str() {
            Some("ws") => {}
            Some("wss") => return Err(ServerUrlError::Tls),
            Some(other) => return Err(ServerUrlError::Scheme(other.to_owned())),
            None => return Err(ServerUrlError::Malformed),
        }
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
        Ok(format!("ws://{authority}{path}?{}", query.finish()))
    }

    /// How long all of it may take, if that is limited.
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
        assert_eq!(parse(&[]).target().unwrap(), "ws://127.0.0.1:8080/?v=1");
        assert_eq!(
            parse(&["--url", "ws://h:1", "--compression", "zlib", "--version-param", ""])
                .target()
                .unwrap(),
            "ws://h:1/?v=&compression=zlib"
        );
        assert_eq!(
            parse(&["--url", "ws://[::1]:1//?a=b", "--version-param", "a&b"])
                .target()
                .unwrap(),
            "ws://[::1]:1//?a=b&v=a%26b"
        );
    }

    #[test]
    fn urls_that_cannot_work_are_refused_with_the_reason() {
        let target = |url| parse(&["--url", url]).target().unwrap_err();
        assert_eq!(target("wss://h/"), ServerUrlError::Tls);
        assert_eq!(target("http://h/"), ServerUrlError::Scheme("http".into()));
        assert_eq!(target("ws://a:b@h/"), ServerUrlError::UserInformation);
        assert_eq!(target("127.0.0.1:8080"), ServerUrlError::Malformed);
        assert_eq!(target("/"), ServerUrlError::Malformed);
        assert_eq!(target(""), ServerUrlError::Malformed);
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
    fn options_that_mean_nothing_are_refused() {
        for bad in [
            &["--type", "Bot"][..],
            &["--compression", "gzip"],
            &["--count", "0"],
            &["--timeout-ms", "0"],
            &["--servers", "x"],
        ] {
            assert!(
                ArgsTestCli::try_parse_from([&["connect"], bad].concat()).is_err(),
                "{bad:?}"
            );
        }
    }
}
