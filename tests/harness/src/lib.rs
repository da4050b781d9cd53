//! What the black-box suites are written with: a real node as a process, and clients that share no code with it.
//!
//! A failure here fails the test that called, so everything panics and names what it waited for. Nothing waits without
//! a deadline.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a panic is how a test fails"
)]

mod balancer;
mod client;
mod clock;
mod command;
mod deadline;
pub mod discord;
pub mod frame;
mod http;
mod nginx;
mod node;
mod port;
mod prometheus;
mod proxy;
mod raw;
mod redis;
mod redis_user;
mod setup;
mod tool_report;
mod unix_bridge;

pub use self::{
    balancer::Balancer,
    client::{PacketEncoding, V1Client, deflate, inflate},
    clock::Clock,
    command::{Ran, gateway, gateway_without_features, run, tool},
    deadline::{WAIT, eventually, within, within_time},
    http::{ApiResponse, RequestError, ask, get, metric, post, publish, ready, request},
    nginx::Nginx,
    node::NodeProcess,
    prometheus::{Alert, Prometheus},
    proxy::Proxy,
    raw::{Raw, RawFrame, frame, header, read_frames},
    redis::RedisProcess,
    redis_user::documented_redis_rights,
    setup::{KEYS, SECRET, Setup, full_setup, key},
    tool_report::{ToolReport, conclude, conclude_quietly},
};
