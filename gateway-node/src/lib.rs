//! The node of Utilbot Gateway, as a library under a thin binary.

pub mod auth;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod events;
pub mod logging;
pub mod metrics;
pub mod problems;
pub mod registry;
pub mod session;
pub mod transport;
