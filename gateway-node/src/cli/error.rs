//! Why a command failed, and the exit code of it.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use crate::{backends::KeyStoreError, config::ConfigErrors};

/// Usage and configuration: what the operator can put right (`EX_USAGE` of sysexits).
const USAGE: u8 = 64;
/// A server that is not there now (`EX_UNAVAILABLE`).
const UNAVAILABLE: u8 = 69;
/// A fault of the system that no argument changes (`EX_SOFTWARE`).
const SOFTWARE: u8 = 70;
/// What was to be printed could not be (`EX_IOERR`).
const OUTPUT: u8 = 74;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CliError {
    /// The arguments are wrong, or ask for help or the version.
    #[error(transparent)]
    Arguments(#[from] clap::Error),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// What the command was asked for is not there.
    #[error("{0}")]
    Usage(String),
    /// The Redis of the configuration cannot be asked.
    #[error(transparent)]
    Store(#[from] KeyStoreError),
    /// The system gives no random bytes.
    #[error("no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    /// The output is gone.
    #[error("output: {0}")]
    Output(#[from] io::Error),
}

impl CliError {
    /// The process's exit code: 0 for help and version, 64 for what the operator can put right.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }

    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Arguments(error) if !error.use_stderr() => 0,
            Self::Arguments(_) | Self::Config(_) | Self::Usage(_) => USAGE,
            Self::Store(_) => UNAVAILABLE,
            Self::Random(_) => SOFTWARE,
            Self::Output(_) => OUTPUT,
        }
    }

    /// Tells the operator: one line on `err`, or one for each problem of a configuration, but for help, version and wrong arguments, which clap prints in colour.
    pub(super) fn report(&self, err: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Arguments(error) => error.print(),
            // Whoever reads the output has stopped on purpose, as `head` does.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            _ => writeln!(err, "{self}"),
        }
    }
}
