//! Clusters of real nodes in use while something goes wrong, and what their clients see of it.
//!
//! [`faults`] has a Redis, a node or a connection go away, and [`checker`] judges what clients saw; [`ids`] is after an id
//! that is given twice; [`rolling`] is a deploy.

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
pub mod rolling;
