//! Runs the yardstick of the benchmarks and prints where it listens.

use anyhow::Result;
use clap::Parser;
use gateway_bench::load::bare_loop::{Mode, serve};

/// Broadcasts what a WebSocket client sends to all others, with nothing but a loop around epoll.
#[derive(Parser)]
struct BareLoopOptions {
    /// How events leave
    mode: Mode,
}

#[expect(clippy::print_stdout, reason = "the address is what this program is asked for")]
fn main() -> Result<()> {
    serve(BareLoopOptions::parse().mode, |address| println!("{address}"))
}
