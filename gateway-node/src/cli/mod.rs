//! The command line: what an operator can ask of the binary.
//!
//! One file for each command. A command gets its settings and a place to print, and returns what went wrong; only
//! [`run`] knows the process: its arguments, its environment, its output and its exit code.

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
    time::SystemTime,
};

use clap::{Args, Parser, Subcommand};

pub use error::CliError;
pub use keys::{KeysCommand, NewKey};

use crate::{config::Sources, logging, node::Preflight};

/// A clustered WebSocket gateway between bots, their website and their services.
#[derive(Debug, Parser)]
#[command(name = "gateway-node", version, propagate_version = true)]
pub struct Cli {
    /// What to do; without a command, `serve`.
    #[command(subcommand)]
    pub command: Option<CliCommand>,
    /// Where the configuration comes from.
    #[command(flatten)]
    pub config: ConfigOptions,
}

/// The flags that choose the configuration, the same for every command.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigOptions {
    /// The configuration file (TOML); environment variables and the other flags win over it
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address and port of the public listener; port 0 takes a free one
    #[arg(long, global = true, value_name = "ADDR:PORT")]
    pub bind: Option<String>,
    /// How log lines are written: text or json
    #[arg(long, global = true, value_name = "FORMAT")]
    pub log_format: Option<String>,
}

impl ConfigOptions {
    /// The sources of the configuration: these flags and `environment`.
    pub fn sources(&self, environment: impl IntoIterator<Item = (String, String)>) -> Sources {
        Sources::new()
            .file(self.config.clone())
            .environment(environment)
            .bind(self.bind.clone())
            .log_format(self.log_format.clone())
    }
}

/// What the binary can do.
#[derive(Debug, Subcommand)]
pub enum CliCommand {
    /// Run the node (the default)
    Serve,
    /// Say whether a node would start with the configuration: one line, or one for each problem
    CheckConfig,
    /// Print the effective configuration as TOML, secrets redacted, each setting with its meaning
    PrintConfig,
    /// Make, list and revoke keys
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Connect as a client: show what arrives, send what is typed
    Connect(connect::ConnectArgs),
    /// Publish one event over HTTP
    Publish(publish::PublishArgs),
    /// Ask a node whether it is well
    Healthcheck(healthcheck::HealthcheckArgs),
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    // The one place that reads the environment.
    let environment = std::env::vars_os().map(|(name, value)| (text(&name), text(&value)));
    // Stdout is not locked: the threads of a node print too.
    match execute(std::env::args_os(), environment, &mut io::stdout()) {
        Ok(code) => code,
        Err(error) => report(error),
    }
}

/// Tells the operator what went wrong. A pipe that nobody reads does not keep the process.
fn report(error: CliError) -> ExitCode {
    let code = error.exit_code();
    if let CliError::Arguments(error) = &error
        && !error.use_stderr()
    {
        // Help and the version are what was asked for, as long as they are.
        let _ = error.print();
        return code;
    }
    let (written, wait) = std::sync::mpsc::channel();
    // Nobody is left to tell when there is no thread or stderr is gone.
    let _ = std::thread::Builder::new().spawn(move || {
        let _ = error.report(&mut io::stderr().lock());
        let _ = written.send(());
    });
    let _ = wait.recv_timeout(logging::LAST_WORDS);
    code
}

/// Runs the command of `arguments`, the first of which is the binary's name.
fn execute(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (String, String)>,
    out: &mut dyn Write,
) -> Result<ExitCode, CliError> {
    let cli = Cli::try_parse_from(arguments)?;
    let sources = cli.config.sources(environment);
    match cli.command.unwrap_or(CliCommand::Serve) {
        CliCommand::Serve => return Ok(serve::run(Preflight::of(&sources, SystemTime::now())?)),
        CliCommand::CheckConfig => check_config::run(&sources, out, &mut io::stderr())?,
        CliCommand::PrintConfig => print_config::run(&sources, out)?,
        // Clients: they need no configuration, and have exit codes of their own.
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
