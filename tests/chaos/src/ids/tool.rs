//! The command line.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use clap::Parser;

use super::{plan::IdPlan, report::IdReport};

/// Requests ids of bots from several nodes while nodes, clocks and Redis fail, and checks that none is issued twice.
#[derive(Debug, Clone, Parser)]
#[command(name = "ids")]
pub struct IdOptions {
    /// The number of ids
    #[arg(long, default_value_t = 1_000_000)]
    pub ids: usize,
    /// The number of nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(2..=64))]
    pub nodes: u16,
    /// How often each trouble occurs, at least
    #[arg(long, default_value_t = 2)]
    pub times: u64,
    /// The number of bots that request ids at the same time
    #[arg(long, default_value_t = 48, value_parser = clap::value_parser!(u16).range(1..))]
    pub visitors: u16,
    /// Decides the schedule
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Writes what the nodes logged into this folder, one file for each
    #[arg(long, value_name = "FOLDER")]
    pub logs: Option<PathBuf>,
    /// Writes the result to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Carries out the run.
///
/// # Errors
/// Returns an error if the logs cannot be written.
pub async fn run(options: &IdOptions) -> Result<IdReport> {
    let plan = IdPlan {
        ids: options.ids,
        nodes: options.nodes.into(),
        times: options.times,
        clients: options.visitors.into(),
        seed: options.seed,
    };
    let report = plan.run().await;
    if let Some(folder) = &options.logs {
        let context = || format!("writing to {}", folder.display());
        fs::create_dir_all(folder).with_context(context)?;
        for (node, log) in report.logs.iter().enumerate() {
            fs::write(folder.join(format!("node-{node}.log")), log).with_context(context)?;
        }
    }
    Ok(report)
}
