//! Runs clusters of real nodes under load while something fails, and checks what their clients see.
//!
//! [`faults`] takes away Redis, nodes or connections, and [`checker`] checks what the clients received; [`ids`] looks
//! for an id that is issued twice; [`jobs`] checks what became of every job, and [`requests`] the outcome of every
//! request; [`rolling`] is a rolling deploy.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a panic is how a test fails"
)]

pub mod checker;
pub mod faults;
pub mod ids;
pub mod jobs;
pub mod requests;
pub mod rolling;
mod socket;
