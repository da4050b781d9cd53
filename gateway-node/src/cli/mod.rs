//! Temporary: the command line's other half declares these.

pub mod connect;
pub mod healthcheck;
mod http_client;
pub mod publish;
