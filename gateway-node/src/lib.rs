//! The Utilbot Gateway node: a library under a thin binary.
//!
//! A map, from the socket to the log and back:
//!
//! | where | what |
//! |---|---|
//! | [`accept`] | counts a connection, reads its first bytes, decides who may open a WebSocket |
//! | [`transport`] | WebSocket over bytes: handshake, frames, inbox, outbox, the driver of a connection, TLS |
//! | [`session`] | one actor per session, and a state machine without I/O for each protocol (`v1`, `discord`) |
//! | [`requests`] | requests of this node's clients that wait for a reply |
//! | [`cluster_sessions`] | the sessions of the whole cluster, seen and commanded from any node |
//! | [`registry`] | the node-local registry: which sessions are connected, with a shard on every worker |
//! | `fanout` | carries an event from the log to the outboxes of the sessions that receive it |
//! | [`encode`] | writes an event in each wire format, once for all sessions |
//! | [`replay`] | the latest events of each log, for sessions that resume or catch up |
//! | [`backplane`] | the contract between nodes: one log per application, membership, counts |
//! | [`resume`] | the contract of Discord sessions that any node can resume |
//! | [`backends`] | the implementations of both contracts: in memory, and in Redis |
//! | `guilds` | the state of Discord guilds, folded from events |
//! | [`http`] | health, metrics, publishing, the requests that Discord libraries make before they connect |
//! | [`node`] | builds all of this from a configuration, reloads, drains and stops it |
//! | [`app_state`] | the handles that workers, HTTP API and sessions share |
//! | [`config`], [`cli`], [`logging`], [`metrics`] | settings, commands, log lines, counters |
//!
//! `docs/architecture.md` says which of these may use which, and a test checks that the code agrees.

#![forbid(unsafe_code)]

pub mod accept;
pub mod admission;
pub mod app_state;
pub mod applications;
pub mod auth;
pub mod backends;
mod backoff;
pub mod backplane;
pub mod certificates;
pub mod cli;
pub mod client_error_log;
mod clock;
pub mod cluster_sessions;
pub mod config;
pub mod drain;
pub mod encode;
pub mod events;
mod fanout;
mod guilds;
pub mod hello_delay;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod node;
pub mod public_url;
mod random;
pub mod registry;
pub mod replay;
pub mod requests;
pub mod resume;
pub mod session;
#[cfg(test)]
mod tests;
pub mod transport;
