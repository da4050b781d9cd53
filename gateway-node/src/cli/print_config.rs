//! `print-config`: the effective configuration as a file.

use std::io::Write;

use super::CliError;
use crate::config::Sources;

/// Prints the effective settings as commented TOML without secrets.
pub(super) fn run(sources: &Sources, out: &mut dyn Write) -> Result<(), CliError> {
    out.write_all(sources.load()?.to_toml().as_bytes())?;
    Ok(())
}
