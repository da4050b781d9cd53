//! The integration tests: real node processes, and clients that share no code with them. They are one binary, because
//! linking takes most of the build time.
//!
//! A test's name says what the gateway does. Tests named `load_…` open a thousand sockets or more, and run alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod abuse;
mod architecture;
mod browsers;
mod catching_up;
mod chaos;
mod client_commands;
mod clients;
mod cluster_faults;
mod cluster_truth;
mod config;
mod cors;
mod dead_nodes;
mod dependencies;
mod deploy;
mod discord;
mod discord_bootstrap;
mod discord_cluster;
mod discord_compression;
mod discord_libraries;
mod discord_presence;
mod drain;
mod dropped_packets;
mod endings;
mod errors;
mod etf;
mod events;
mod examples;
mod failover;
mod fault_proxy;
mod features;
mod forced_closes;
mod fuzz;
mod guild_members;
mod guilds;
mod handshake;
mod hello_and_heartbeat;
mod hot;
mod http;
mod http_limits;
mod identify;
mod ids;
mod import_cycles;
mod intents;
mod jobs;
mod keys;
mod load;
mod load_tools;
mod logs;
mod measurements;
mod methods;
mod metrics;
mod outcomes;
mod published_data;
mod publishing_limits;
mod redis_foreign;
mod redis_refuses;
mod redis_server;
mod redis_shared;
mod redis_trouble;
mod refusals;
mod reloads;
mod reports;
mod request_heads;
mod requests;
mod scopes;
mod service_manager;
mod session_details;
mod slow_readers;
mod streams;
mod tickets;
mod tls;
mod traces;
mod unix_socket;
mod website;
mod wording;

/// Returns the root of the repository.
fn root() -> &'static std::path::Path {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
}
