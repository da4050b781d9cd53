//! `keys`: creates, lists and revokes keys.
//!
//! Keys are in the configuration file, which these commands read but never write, and, if Redis is configured, in
//! Redis, where keys can be added and removed while the nodes run.

mod list;
mod new;
mod revoke;
mod store;

use std::{io::Write, path::Path};

use clap::Subcommand;

pub use new::NewKey;

use self::store::KeyFileStore;
use super::CliError;
use crate::config::Sources;

/// The commands for keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Create a key: print it once, with the block for the configuration file, which contains only its hash
    #[command(after_help = "Example:\n  gateway-node keys new --id web --type website --permission publish")]
    New(NewKey),
    /// List the keys in the configuration file and, if Redis is configured, in Redis
    #[command(after_help = "Example:\n  gateway-node keys list --config /etc/utilbot/gateway.toml")]
    List,
    /// Remove a key from Redis, or show which lines of the configuration file to delete
    #[command(after_help = "Example:\n  gateway-node keys revoke web --config /etc/utilbot/gateway.toml")]
    Revoke {
        /// The key's id
        id: String,
    },
}

/// Runs one of the commands. `file` is the value of `--config`.
pub(super) fn run(
    command: &KeysCommand,
    file: Option<&Path>,
    sources: &Sources,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    match command {
        KeysCommand::New(new) => {
            let mut random = [0; 32];
            getrandom::fill(&mut random)?;
            new::run(new, random, sources, out)
        }
        KeysCommand::List => {
            let settings = sources.load()?;
            let stored = KeyFileStore::of(&settings)?.map(|store| store.all()).transpose()?;
            list::run(&settings.keys, stored.as_deref(), out)
        }
        KeysCommand::Revoke { id } => revoke::run(id, file, sources, out),
    }
}
