//! `keys`: makes, lists and revokes keys. They are in the configuration file, which these commands read and never write,
//! and in Redis where one is configured, where they come and go while the nodes run.

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

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key: print it once, and the block for the configuration file, which holds only its hash
    New(NewKey),
    /// List the keys of the configuration file, and those in Redis where one is configured
    List,
    /// Remove a key from Redis, or say which lines of the configuration file to delete
    Revoke {
        /// The key's id
        id: String,
    },
}

/// Runs one of the commands; `file` is that of `--config`.
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
