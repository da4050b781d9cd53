//! The node.

pub mod cli;
pub mod logging;
