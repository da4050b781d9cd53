//! The binary of the node. Everything is in the library, except one call that has to come before the first thread.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod malloc;

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    malloc::give_memory_back();
    gateway_node::cli::run()
}
