//! Load tools: many clients from one thread against a real node, and what the node pays for them.
//!
//! A tool is a folder with `Options`, `run` and `Report`; its binary of the same name in `src/bin` only parses, prints and
//! exits, so that a test can run the same tool at a tenth of its size. What the tools share is one noun a file. Nothing
//! here judges speed: a report fails on what was lost, never on what was slow.

pub mod bare_loop;
pub mod beat;
pub mod cluster;
pub mod compare;
pub mod connect;
pub mod fanout;
pub mod heartbeat;
pub mod idle;
pub mod members;
pub mod reports;
pub mod scale;
pub mod slow;
pub mod strangers;
pub mod unfinished;

mod announcement;
mod attacker;
mod client;
mod client_set;
pub mod contest;
mod cores;
mod gateway;
mod http;
mod latencies;
mod publisher;
mod source;
mod usage;
