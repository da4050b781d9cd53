//! `gateway-node connect`: a client for people and scripts that shows everything it sends and receives.
//!
//! `packet` parses messages, `connection` is the state machine of one connection, `client` holds what outlives a
//! connection, `reconnect` runs it, and `render` formats the output. No framing code is shared with the gateway.

mod args;
mod client;
mod close_code;
mod connection;
mod heartbeat;
mod input;
pub mod key;
mod line;
mod packet;
mod reconnect;
mod render;
#[cfg(test)]
mod tests;

use std::{
    io::{self, ErrorKind, IsTerminal as _, Write},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

pub use self::{
    args::{Compression, ConnectArgs, NoServers, ServerUrlError, Servers},
    key::{ConnectKeyError, KeyArgs},
};
use self::{
    client::{ClientEnd, ClientOptions, ConnectClient, OnEof, StopReason},
    packet::IdentifyScope,
    render::{OutputStyle, Renderer},
};
pub(super) use self::{line::object, packet::compact};
use super::{complain, target::KeyUse, trust::client_config};
use secrecy::SecretString;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};

/// Invalid options or no key: `EX_USAGE`.
const EXIT_USAGE: u8 = 64;
/// Ended by a second Ctrl-C, in the convention of shells.
const EXIT_INTERRUPTED: u8 = 130;
/// How long a stopping client may take to close its connection.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of lines queued between standard input and the client.
const INPUT_LINES: usize = 16;

/// Runs the client until it is done. See [`ConnectArgs`] for the exit codes.
pub fn run(args: &ConnectArgs, environment: impl IntoIterator<Item = (String, String)>) -> ExitCode {
    let target = match args.target.target(true, environment) {
        Ok(target) => target,
        Err(error) => return usage(&error),
    };
    let key = match &args.ticket {
        Some(ticket) => Ok(SecretString::from(ticket.as_str())),
        None => args.key.load(target.key(KeyUse::Identify(args.kind()))),
    };
    let (url, key) = match (args.url_on(&target.url), key) {
        (Ok(url), Ok(key)) => (url, key),
        (Err(error), _) => return usage(&error),
        (_, Err(error)) => return usage(&error),
    };
    let tls = if url.starts_with("wss:") {
        match client_config(&target.trust) {
            Ok(tls) => Some(Arc::new(tls)),
            Err(error) => return usage(&error),
        }
    } else {
        None
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return usage(&error),
    };
    let stdout = io::stdout();
    let style = if args.json || !stdout.is_terminal() {
        OutputStyle::Json
    } else {
        // Respects NO_COLOR, CLICOLOR and TERM.
        let colour = anstream::AutoStream::choice(&stdout) != anstream::ColorChoice::Never;
        OutputStyle::Terminal { colour }
    };
    let on_eof = match (io::stdin().is_terminal(), args.exit_on_eof) {
        (true, _) => OnEof::Close,
        (false, true) => OnEof::CloseWhenSent,
        (false, false) => OnEof::Stay,
    };
    let options = ClientOptions {
        url,
        unix: target.unix.clone(),
        tls,
        key: key.clone(),
        client_type: args.kind(),
        scope: IdentifyScope {
            guilds: args
                .guilds
                .as_ref()
                .map(|guilds| guilds.iter().map(|guild| guild.get().to_string()).collect()),
            counts: args.counts,
            positions: args.positions || args.after.is_some(),
            jobs: args.jobs,
            after: args.after.clone(),
        },
        servers: args.servers,
        reconnect: args.reconnect,
        count: args.count,
        on_eof,
    };
    let (lines, input) = mpsc::channel(INPUT_LINES);
    let (stop, stopped) = watch::channel(None);
    let client = ConnectClient::new(options, Renderer::new(stdout, style, key), input, stopped);
    input::spawn(io::stdin(), lines);
    let code = runtime.block_on(supervise(client, &stop, args.timeout()));
    // A DNS lookup in progress must not delay the exit.
    runtime.shutdown_background();
    ExitCode::from(code)
}

/// Runs `client`, stops it on Ctrl-C or when the time is up, and limits how long it may take to stop.
async fn supervise<W: Write>(
    mut client: ConnectClient<W>,
    stop: &watch::Sender<Option<StopReason>>,
    limit: Option<Duration>,
) -> u8 {
    let deadline = limit.map(|limit| Instant::now() + limit);
    let mut run = std::pin::pin!(client.run());
    let why = tokio::select! {
        end = &mut run => return exit_code(end),
        Ok(()) = tokio::signal::ctrl_c() => StopReason::Interrupted,
        () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => StopReason::OutOfTime,
    };
    // If there is no receiver, the client is done already.
    let _ = stop.send(Some(why));
    tokio::select! {
        end = &mut run => exit_code(end),
        Ok(()) = tokio::signal::ctrl_c() => EXIT_INTERRUPTED,
        () = sleep(STOP_TIMEOUT) => ClientEnd::Stopped(why).exit_code(),
    }
}

fn exit_code(end: io::Result<ClientEnd>) -> u8 {
    match end {
        Ok(end) => end.exit_code(),
        // The reader has stopped on purpose, as in `connect | head -1`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => 0,
        Err(error) => {
            complain(&format!("cannot write to standard output: {error}"));
            1
        }
    }
}

fn usage(error: &dyn std::error::Error) -> ExitCode {
    complain(&error.to_string());
    ExitCode::from(EXIT_USAGE)
}
