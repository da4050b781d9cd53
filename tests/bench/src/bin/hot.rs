//! Calls each hot function of the node a fixed number of times, for a profiler to count.

use clap::Parser;
use gateway_bench::hot::STEPS;

/// Calls each hot function of the node a fixed number of times and prints its name and that number.
#[derive(Parser)]
struct HotOptions {
    /// Prints the names without calling anything
    #[arg(long)]
    list: bool,
}

#[expect(
    clippy::print_stdout,
    reason = "printing names and numbers is what this program is for"
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
