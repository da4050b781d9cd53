//! Load tools: one thread opens many clients to a real node and measures what they cost it.
//!
//! A tool is a module with an options struct, `run` and a report. The binary of the same name in `src/bin` only
//! parses arguments, prints and exits, so that a test can run the same tool at a tenth of its size. Each thing that
//! the tools share has a file of its own. Nothing here judges speed: a report fails on lost events and sessions,
//! never on slow ones.

pub mod bare_loop;
pub mod beat;
pub mod cluster;
pub mod compare;
pub mod connect;
pub mod fanout;
pub mod heartbeat;
pub mod idle;
pub mod members;
mod node_counters;
pub mod replies;
pub mod reports;
pub mod scale;
pub mod slow;
pub mod strangers;
pub mod unfinished;

mod announcement;
mod attacker;
mod blocking_session;
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
