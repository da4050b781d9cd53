//! Command-line options shared by the comparison tools.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::{
    super::{cores::Cores, gateway::binary},
    Contestant,
    contestant::ContestSetup,
};

/// Which servers are compared, how often, and on which cores.
#[derive(Debug, Clone, Args)]
pub struct ContestOptions {
    /// Rounds; each measures every contestant once
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Servers to compare: gateway, gateway-again, gateway-zlib, positions, watching, discord,
    /// discord-zlib, gateway-two, other, loop, loop-joined; from `tests/bench/peers`: bun, ws, socketio, nchan, nats, centrifuge
    #[arg(
        long = "contenders",
        value_name = "CONTENDERS",
        value_delimiter = ',',
        default_value = "gateway,gateway-again,gateway-zlib,loop,loop-joined,bun,ws,socketio,nchan,nats,centrifuge"
    )]
    pub contestants: Vec<Contestant>,
    /// Does not pin the contestants and their clients to a core each
    #[arg(long)]
    pub no_pin: bool,
    /// Path of the node's binary, if it is not in the directory of this program
    #[arg(long, value_name = "PATH")]
    pub gateway: Option<PathBuf>,
    /// The binary of the contestant `other`
    #[arg(long, value_name = "PATH")]
    pub other: Option<PathBuf>,
    /// Writes the result to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

impl ContestOptions {
    /// Returns the settings shared by all contestants, for up to `clients` simultaneous clients.
    pub(super) fn setup(&self, clients: u32) -> Result<ContestSetup> {
        Ok(ContestSetup {
            cores: if self.no_pin { None } else { Cores::choose()? },
            gateway: binary(self.gateway.as_deref())?,
            other: self.other.clone(),
            clients,
        })
    }
}
