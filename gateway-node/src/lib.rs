//! The node.

pub mod logging;
