//! Benchmarks of the node: as a process under load ([`load`]) and function by function ([`hot`]).

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a panic is how a test fails"
)]

pub mod hot;
pub mod load;
