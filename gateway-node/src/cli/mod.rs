//! The command line.
//!
//! Each command has its own file. A command receives its settings and an output to print to, and returns its error.
//! Only [`run`] deals with the process: its arguments, environment, output and exit code.

#[cfg(feature = "client")]
pub mod connect;
pub mod healthcheck;
#[cfg(feature = "client")]
pub mod publish;
pub mod serve;

mod check_config;
#[cfg(feature = "client")]
mod check_key;
#[cfg(feature = "client")]
mod cluster;
mod error;
#[cfg(feature = "client")]
mod generated;
mod http_client;
mod keys;
mod options;
mod print_config;
#[cfg(feature = "client")]
mod query;
#[cfg(feature = "client")]
mod scrape;
#[cfg(feature = "client")]
mod sessions;
#[cfg(feature = "client")]
mod table;
#[cfg(feature = "client")]
mod tail;
mod target;
#[cfg(feature = "client")]
mod top;
mod trust;
#[cfg(feature = "client")]
mod units;
mod unix_connector;

use std::{
    ffi::{OsStr, OsString},
    io::{self, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

#[cfg(feature = "client")]
pub use check_key::CheckKeyArgs;
#[cfg(feature = "client")]
pub use cluster::ClusterArgs;
pub use error::CliError;
#[cfg(feature = "client")]
pub use generated::{CompletionsArgs, ManArgs};
pub use keys::{KeysCommand, NewKey};
pub use options::{DEFAULT_FILE, FileOption, NodeOptions};
#[cfg(feature = "client")]
pub use query::QueryArgs;
#[cfg(feature = "client")]
pub use sessions::{FilterArgs, KickArgs, SessionArgs, SessionsArgs};
#[cfg(feature = "client")]
pub use tail::TailArgs;
pub use target::TargetOptions;
#[cfg(feature = "client")]
pub use top::{SortBy, TopArgs};

use crate::{
    config::Sources,
    logging,
    node::{Preflight, ServiceManager},
};

/// A clustered WebSocket gateway between bots, their website and their services.
#[derive(Debug, Parser)]
#[command(
    name = "gateway-node",
    version,
    propagate_version = true,
    after_help = "Examples:\n  gateway-node                                              a node to try, with a key for development\n  \
                  gateway-node --config /etc/utilbot/gateway.toml           a node\n  \
                  gateway-node help COMMAND                                 what a command does"
)]
pub struct Cli {
    /// The command. Without one, `serve`.
    #[command(subcommand)]
    pub command: Option<CliCommand>,
    /// Where the configuration comes from.
    #[command(flatten)]
    pub options: NodeOptions,
}

/// The commands of the binary.
#[derive(Debug, Subcommand)]
pub enum CliCommand {
    /// Run the node (the default)
    #[command(
        after_help = "Examples:\n  gateway-node serve --config /etc/utilbot/gateway.toml\n  \
                            gateway-node serve --development --allow-host gateway"
    )]
    Serve(NodeOptions),
    /// Check whether a node would start with this configuration; print one line for each problem
    #[command(after_help = "Example:\n  gateway-node check-config --config /etc/utilbot/gateway.toml")]
    CheckConfig(NodeOptions),
    /// Print the effective configuration as TOML, with the meaning of each setting and without secrets
    #[command(after_help = "Example:\n  UTILBOT__LIMITS__CONNECTIONS=1000 gateway-node print-config")]
    PrintConfig(NodeOptions),
    /// Create, list and revoke keys
    Keys {
        /// What to do.
        #[command(subcommand)]
        command: KeysCommand,
        /// Where the configuration comes from.
        #[command(flatten)]
        file: FileOption,
    },
    /// Connect as a client: show what arrives and send what you type
    #[cfg(feature = "client")]
    Connect(connect::ConnectArgs),
    /// Publish one event over HTTP
    #[cfg(feature = "client")]
    Publish(publish::PublishArgs),
    /// List the nodes of a cluster, with the key of an application
    #[cfg(feature = "client")]
    Cluster(ClusterArgs),
    /// List the sessions of a cluster
    #[cfg(feature = "client")]
    Sessions(SessionsArgs),
    /// Show what a session is doing
    #[cfg(feature = "client")]
    Session(SessionArgs),
    /// End a session, wherever it is
    #[cfg(feature = "client")]
    Kick(KickArgs),
    /// Show live rates and latencies, and the busiest sessions
    #[cfg(feature = "client")]
    Top(TopArgs),
    /// Print events as they pass
    #[cfg(feature = "client")]
    Tail(TailArgs),
    /// Say what a key permits
    #[cfg(feature = "client")]
    CheckKey(CheckKeyArgs),
    /// Print the completion script of a shell
    #[cfg(feature = "client")]
    Completions(CompletionsArgs),
    /// Print the manual page, or write that of each command
    #[cfg(feature = "client")]
    Man(ManArgs),
    /// Check whether a node is healthy
    Healthcheck(healthcheck::HealthcheckArgs),
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    // The only place that reads the environment.
    let environment = std::env::vars_os().map(|(name, value)| (text(&name), text(&value)));
    // Does not lock stdout: the threads of a node print too.
    match execute(std::env::args_os(), environment, &mut io::stdout()) {
        Ok(code) => code,
        Err(error) => report(error),
    }
}

/// Prints `error` for the operator and returns its exit code. Waits only briefly, so that a pipe that is not read
/// cannot keep the process alive.
fn report(error: CliError) -> ExitCode {
    let code = error.exit_code();
    if let CliError::Arguments(error) = &error
        && !error.use_stderr()
    {
        // Help and the version are the requested output, so they are written without a time limit.
        let _ = error.print();
        return code;
    }
    let (written, wait) = std::sync::mpsc::channel();
    // Without a thread or stderr, there is nowhere left to report to.
    let _ = std::thread::Builder::new().spawn(move || {
        let _ = error.report(&mut io::stderr().lock());
        let _ = written.send(());
    });
    let _ = wait.recv_timeout(logging::LAST_WORDS);
    code
}

/// Runs the command that `arguments` name. The first argument is the binary's name.
fn execute(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (String, String)>,
    out: &mut dyn Write,
) -> Result<ExitCode, CliError> {
    let cli = Cli::try_parse_from(arguments)?;
    let before = cli.options;
    match cli.command.unwrap_or_else(|| CliCommand::Serve(NodeOptions::default())) {
        CliCommand::Serve(options) => {
            let environment: Vec<_> = environment.into_iter().collect();
            let manager = ServiceManager::of(&environment, std::process::id());
            let sources = options.or(before).sources(environment);
            return Ok(serve::run(
                Preflight::of(&sources, crate::clock::wall_clock())?,
                manager,
            ));
        }
        CliCommand::CheckConfig(options) => {
            check_config::run(&options.or(before).sources(environment), out, &mut io::stderr())?;
        }
        CliCommand::PrintConfig(options) => print_config::run(&options.or(before).sources(environment), out)?,
        // Clients: they need no configuration and have their own exit codes.
        #[cfg(feature = "client")]
        CliCommand::Connect(args) => return Ok(connect::run(&args, environment)),
        #[cfg(feature = "client")]
        CliCommand::Publish(args) => return Ok(queried(publish::run(&args, environment, out))),
        #[cfg(feature = "client")]
        CliCommand::Cluster(args) => return Ok(queried(cluster::run(&args, environment, out))),
        #[cfg(feature = "client")]
        CliCommand::Sessions(args) => return Ok(queried(sessions::list(&args, environment, out))),
        #[cfg(feature = "client")]
        CliCommand::Session(args) => return Ok(queried(sessions::show(&args, environment, out))),
        #[cfg(feature = "client")]
        CliCommand::Top(args) => return Ok(queried(top::run(&args, environment, out))),
        #[cfg(feature = "client")]
        CliCommand::Tail(args) => return Ok(queried(tail::run(&args, environment, out))),
        #[cfg(feature = "client")]
        CliCommand::CheckKey(args) => return Ok(queried(check_key::run(&args, environment, out))),
        #[cfg(feature = "client")]
        CliCommand::Completions(args) => generated::completions(&args, out),
        #[cfg(feature = "client")]
        CliCommand::Man(args) => generated::man(&args, out)?,
        #[cfg(feature = "client")]
        CliCommand::Kick(args) => return Ok(queried(sessions::kick(&args, environment, out))),
        CliCommand::Healthcheck(args) => return Ok(healthcheck::run(&args, environment)),
        CliCommand::Keys { command, file } => {
            let config = file.config.or(before.config).or_else(options::default_file);
            let sources = Sources::new().file(config.clone()).environment(environment);
            keys::run(&command, config.as_deref(), &sources, out)?;
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the exit code of a request, after printing why it failed.
#[cfg(feature = "client")]
fn queried(result: Result<(), query::QueryError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            error.exit_code()
        }
    }
}

/// Prints a line for the person who runs a command.
fn complain(message: &str) {
    let _ = writeln!(io::stderr(), "gateway-node: {}", logging::escape(message));
}

fn text(text: &OsStr) -> String {
    text.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests;
