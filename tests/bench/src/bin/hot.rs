//! Calls each hot step of the node a fixed number of times, for a profiler to count, and prints how often.

use clap::Parser;
use gateway_bench::hot::STEPS;

/// Calls each hot step of the node a fixed number of times and prints its name and that number.
#[derive(Parser)]
struct HotOptions {
    /// Prints the names alone and calls nothing
    #[arg(long)]
    list: bool,
}

#[expect(
    clippy::print_stdout,
    reason = "names and numbers are what this program is asked for"
)]
fn main() {
    let HotOptions { list } = HotOptions::parse();
    for step in &STEPS {
        if list {
            println!("{}", step.name);
        } else {
            println!("{} {}", step.name, step.run());
        }
    }
}
