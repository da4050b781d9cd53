//! The command line.
//!
//! Each command has its own file. A command receives its settings and an output to print to, and returns its error.
//! Only [`run`] deals with the process: its arguments, environment, output and exit code.

pub mod connect;
pub mod healthcheck;
pub mod publish;
pub mod serve;

mod check_config;
mod error;
mod http_client;
mod keys;
mod print_config;

use std::{
    ffi::{OsStr, OsString},
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};

pub use error::CliError;
pub use keys::{KeysCommand, NewKey};

use crate::{config::Sources, logging, node::Preflight};

/// A clustered WebSocket gateway between bots, their website and their services.
#[derive(Debug, Parser)]
#[command(name = "gateway-node", version, propagate_version = true)]
pub struct Cli {
    /// The command. Without one, `serve`.
    #[command(subcommand)]
    pub command: Option<CliCommand>,
    /// Where the configuration comes from.
    #[command(flatten)]
    pub config: ConfigOptions,
}

/// The flags that choose the configuration. Every command accepts them.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigOptions {
    /// Configuration file (TOML); environment variables and other flags override it
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address and port of the public listener; port 0 picks a free one
    #[arg(long, global = true, value_name = "ADDR:PORT")]
    pub bind: Option<String>,
    /// Format of log lines: text or json
    #[arg(long, global = true, value_name = "FORMAT")]
    pub log_format: Option<String>,
}

impl ConfigOptions {
    /// Returns the sources of the configuration: these flags and `environment`.
    pub fn sources(&self, environment: impl IntoIterator<Item = (String, String)>) -> Sources {
        Sources::new()
            .file(self.config.clone())
            .environment(environment)
            .bind(self.bind.clone())
            .log_format(self.log_format.clone())
    }
}

/// The commands of the binary.
#[derive(Debug, Subcommand)]
pub enum CliCommand {
    /// Run the node (the default)
    Serve,
    /// Check whether a node would start with this configuration; print one line for each problem
    CheckConfig,
    /// Print the effective configuration as TOML, with the meaning of each setting and without secrets
    PrintConfig,
    /// Create, list and revoke keys
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Connect as a client: show what arrives and send what you type
    Connect(connect::ConnectArgs),
    /// Publish one event over HTTP
    Publish(publish::PublishArgs),
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
    let sources = cli.config.sources(environment);
    match cli.command.unwrap_or(CliCommand::Serve) {
        CliCommand::Serve => return Ok(serve::run(Preflight::of(&sources, crate::clock::wall_clock())?)),
        CliCommand::CheckConfig => check_config::run(&sources, out, &mut io::stderr())?,
        CliCommand::PrintConfig => print_config::run(&sources, out)?,
        // Clients: they need no configuration and have their own exit codes.
        CliCommand::Connect(args) => return Ok(connect::run(&args)),
        CliCommand::Publish(args) => return Ok(publish::run(&args)),
        CliCommand::Healthcheck(args) => return Ok(healthcheck::run(&args)),
        CliCommand::Keys(command) => keys::run(&command, cli.config.config.as_deref(), &sources, out)?,
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn text(text: &OsStr) -> String {
    text.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests;
