//! The binary of the node: everything is in the library, but for one call that has to come before any thread.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod malloc;

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    malloc::give_memory_back();
    gateway_node::cli::run()
}
