//! What the node costs: as a process under load, in [`load`], and function by function, in [`hot`].

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a panic is how a test fails"
)]

pub mod hot;
pub mod load;
