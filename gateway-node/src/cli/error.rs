//! Errors of commands, and their exit codes.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use crate::{backends::KeyStoreError, config::ConfigErrors};

/// An invalid usage or configuration, which the operator can fix (`EX_USAGE` of sysexits).
const USAGE: u8 = 64;
/// A server is unavailable (`EX_UNAVAILABLE`).
const UNAVAILABLE: u8 = 69;
/// A system error that no argument changes (`EX_SOFTWARE`).
const SOFTWARE: u8 = 70;
/// The output could not be written (`EX_IOERR`).
const OUTPUT: u8 = 74;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CliError {
    /// The arguments are invalid, or ask for help or the version.
    #[error(transparent)]
    Arguments(#[from] clap::Error),
    /// The configuration is invalid.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The command cannot do what its arguments ask for.
    #[error("{0}")]
    Usage(String),
    /// The configured Redis cannot be queried.
    #[error(transparent)]
    Store(#[from] KeyStoreError),
    /// The system provides no random bytes.
    #[error("cannot get random bytes: {0}")]
    Random(#[from] getrandom::Error),
    /// The output cannot be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

impl CliError {
    /// Returns the process's exit code: 0 for help and version, 64 for what the operator can fix.
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

    /// Reports the error on `err`: one line, or one for each problem of a configuration. Help, the version and invalid
    /// arguments are printed by clap, in colour.
    pub(super) fn report(&self, err: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Arguments(error) => error.print(),
            // The reader of the output stopped on purpose, as `head` does.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            _ => writeln!(err, "{self}"),
        }
    }
}
