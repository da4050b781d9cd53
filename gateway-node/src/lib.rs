//! The node of Utilbot Gateway, as a library under a thin binary.

#![forbid(unsafe_code)]

pub mod accept;
pub mod admission;
pub mod applications;
pub mod auth;
pub mod backends;
pub mod backplane;
pub mod cli;
pub mod client_error_log;
pub mod config;
pub mod drain;
pub mod encode;
pub mod events;
mod fanout;
mod guilds;
pub mod http;
pub mod late_hello;
pub mod logging;
pub mod metrics;
pub mod node;
pub mod public_url;
pub mod registry;
pub mod replay;
pub mod resume;
pub mod session;
pub mod transport;
