//! What the black-box suites are written with: a real node as a process, and clients that share no code with it.
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
mod client;
mod clock;
mod command;
mod deadline;
pub mod discord;
pub mod frame;
mod http;
mod node;
mod outcome;
mod port;
mod proxy;
mod raw;
mod redis;
mod setup;

pub use self::{
    balancer::Balancer,
    client::{Client, Encoding, deflate, inflate},
    clock::Clock,
    command::{Ran, gateway, run, tool},
    deadline::{WAIT, eventually, within, within_time},
    http::{Answer, NoAnswer, ask, get, metric, post, publish, ready, request},
    node::Node,
    outcome::{Outcome, conclude, conclude_quietly},
    proxy::Proxy,
    raw::{Frame, Raw, frame, header, read_frames},
    redis::RedisServer,
    setup::{KEYS, SECRET, Setup, full_setup, key},
};
