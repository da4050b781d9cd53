//! The binary of the node: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    gateway_node::cli::run()
}
