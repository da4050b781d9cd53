//! Runs the baseline of the comparison and prints its address.

use anyhow::Result;
use clap::Parser;
use gateway_bench::load::bare_loop::{Mode, serve};

/// Forwards each WebSocket text message to all other clients, with nothing but an epoll loop.
#[derive(Parser)]
struct BareLoopOptions {
    /// How events are written to sockets
    mode: Mode,
}

#[expect(clippy::print_stdout, reason = "printing the address is what this program is for")]
fn main() -> Result<()> {
    serve(BareLoopOptions::parse().mode, |address| println!("{address}"))
}
