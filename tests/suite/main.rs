//! The black-box suites: real node processes, independent clients. One binary, since linking dominates.
//!
//! A name is a sentence about the gateway. Tests named `load_…` open a thousand sockets and more, and run alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a panic is how a test fails"
)]

mod abuse;
mod architecture;
mod browsers;
mod chaos;
mod clients;
mod cluster_faults;
mod config;
mod dependencies;
mod deploy;
mod discord;
mod discord_bootstrap;
mod discord_cluster;
mod discord_compression;
mod discord_libraries;
mod discord_presence;
mod drain;
mod errors;
mod etf;
mod events;
mod examples;
mod failover;
mod faults;
mod fuzz;
mod ghosts;
mod guild_members;
mod guilds;
mod handshake;
mod hello_and_heartbeat;
mod hot;
mod http;
mod http_limits;
mod identify;
mod ids;
mod ignored;
mod intents;
mod keys;
mod load;
mod load_tools;
mod logs;
mod methods;
mod proxy;
mod published_data;
mod publishing_limits;
mod redis;
mod redis_foreign;
mod redis_refuses;
mod redis_shared;
mod redis_trouble;
mod refusals;
mod reports;
mod request_heads;
mod slow_readers;
mod streams;
mod tls;

/// The top of the repository.
fn root() -> &'static std::path::Path {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
}
