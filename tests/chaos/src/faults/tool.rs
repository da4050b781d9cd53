//! The command line.

use std::{fs, ops::RangeInclusive, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};

use super::{
    cluster::Backing,
    fault::ClusterFault,
    plan::FaultPlan,
    report::{FaultReport, FaultRow},
};

/// Runs a cluster under load and injects faults, once for each fault and seed, and checks what its clients saw.
#[derive(Debug, Clone, Parser)]
#[command(name = "faults")]
pub struct FaultOptions {
    /// A fault, several separated by commas, or all
    #[arg(long, value_name = "NAME", default_value = "all", value_parser = faults)]
    pub fault: FaultList,
    /// One seed, or the first and the last with `..` between them
    #[arg(long, value_name = "A..B", default_value = "1", value_parser = seeds)]
    pub seeds: RangeInclusive<u64>,
    /// How long events are sent in each run, in seconds
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub seconds: u32,
    /// How long each fault lasts, in milliseconds [default: decided by the seed]
    #[arg(long)]
    pub hold_ms: Option<u32>,
    /// The greatest number of faults in a run [default: as many as there is time for]
    #[arg(long)]
    pub strikes: Option<u32>,
    /// How the nodes are connected
    #[arg(long, value_enum, default_value_t = Backing::Redis)]
    pub backing: Backing,
    /// How many events each publisher sends per second [default: decided by the seed]
    #[arg(long)]
    pub rate: Option<u32>,
    /// The maximum number of entries in the log [default: that of the node]
    #[arg(long)]
    pub log_entries: Option<u32>,
    /// Writes what happened and what the nodes logged into this folder: one file for each run, and one for each node
    #[arg(long, value_name = "FOLDER")]
    pub logs: Option<PathBuf>,
    /// Writes the result to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// A list of faults.
#[derive(Debug, Clone)]
pub struct FaultList(pub Vec<ClusterFault>);

fn faults(text: &str) -> Result<FaultList, String> {
    if text == "all" {
        return Ok(FaultList(ClusterFault::value_variants().to_vec()));
    }
    let named = |name| {
        ClusterFault::from_str(name, false).map_err(|_| {
            let names: Vec<String> = ClusterFault::value_variants()
                .iter()
                .map(|fault| fault.name())
                .collect();
            format!("expected all, or some of {}", names.join(", "))
        })
    };
    text.split(',').map(named).collect::<Result<_, _>>().map(FaultList)
}

fn seeds(text: &str) -> Result<RangeInclusive<u64>, String> {
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if first <= last => Ok(first..=last),
        _ => Err("expected a number, or two such as 1..20".to_owned()),
    }
}

/// Carries out all runs, one after another, and prints a line for each.
///
/// # Errors
/// Returns an error if the logs cannot be written.
#[expect(clippy::print_stdout, reason = "a tool prints its result")]
pub async fn run(options: &FaultOptions) -> Result<FaultReport> {
    println!("{}", FaultRow::header());
    let mut rows = Vec::new();
    let is_alone = options.backing == Backing::Memory;
    let faults = options.fault.0.iter();
    for fault in faults.filter(|fault| !(is_alone && fault.needs_redis())) {
        for seed in options.seeds.clone() {
            let plan = FaultPlan {
                fault: *fault,
                seed,
                time: Duration::from_secs(options.seconds.into()),
                hold: options.hold_ms.map(|ms| Duration::from_millis(ms.into())),
                strikes: options.strikes.unwrap_or(u32::MAX),
                backing: options.backing,
                rate: options.rate,
                log_entries: options.log_entries,
            };
            let row = plan.run().await;
            println!("{}", row.line());
            if let Some(folder) = &options.logs {
                write_logs(folder, &row)?;
            }
            rows.push(row);
        }
    }
    Ok(FaultReport { rows })
}

fn write_logs(folder: &std::path::Path, row: &FaultRow) -> Result<()> {
    let context = || format!("writing to {}", folder.display());
    fs::create_dir_all(folder).with_context(context)?;
    let name = format!("{}-{}.txt", row.fault, row.seed);
    fs::write(folder.join(name), row.to_string()).with_context(context)?;
    for (node, log) in row.logs.iter().enumerate() {
        let name = format!("{}-{}-node-{node}.log", row.fault, row.seed);
        fs::write(folder.join(name), log).with_context(context)?;
    }
    Ok(())
}
