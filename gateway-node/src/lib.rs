//! The node of Utilbot Gateway, as a library under a thin binary.

pub mod config;
pub mod logging;
pub mod transport;
