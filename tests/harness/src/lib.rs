//! What the black-box suites are written with: a real node as a process, and clients that share no code with it. Only
//! `hot` and `fuzz` call the node's own functions.
//!
//! A failure here is a failure of the test that called, so everything panics with what was waited for; nothing waits
//! without a deadline.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a panic is how a test fails"
)]

mod balancer;
pub mod checker;
mod client;
mod clock;
mod command;
mod deadline;
pub mod discord;
pub mod faults;
pub mod fuzz;
pub mod hot;
mod http;
pub mod ids;
pub mod load;
mod node;
mod port;
mod proxy;
mod raw;
mod redis;
pub mod rolling;
mod setup;

pub use self::{
    balancer::Balancer,
    client::{Client, Encoding, deflate, inflate},
    clock::Clock,
    command::{Ran, gateway, run, tool},
    deadline::{WAIT, eventually, within, within_time},
    http::{Answer, NoAnswer, ask, get, metric, post, publish, ready, request},
    node::Node,
    proxy::Proxy,
    raw::{Frame, Raw, frame, header, read_frames},
    redis::RedisServer,
    setup::{KEYS, SECRET, Setup, full_setup, key},
};
