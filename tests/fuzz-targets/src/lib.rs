//! The fuzz targets. Each takes arbitrary bytes and asserts what must hold for them.
//!
//! The programs in `tests/fuzz` pass libFuzzer's input to these functions, and the suite replays the committed corpus
//! through them. Nothing here depends on libFuzzer, so the workspace builds without it.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a panic is how a test fails"
)]

mod discord;
mod frames;
mod log_entries;
mod request_head;
mod v1;
mod zstd_blocks;

pub use self::{
    discord::{discord_etf, discord_json},
    frames::frames,
    log_entries::log_entries,
    request_head::request_head,
    v1::{v1_text, v1_zlib},
    zstd_blocks::zstd_blocks,
};

/// A fuzz target.
#[derive(Debug)]
pub struct FuzzTarget {
    /// The target's name, which is also the name of its program in `tests/fuzz/targets` and of its folder in
    /// `tests/fuzz/corpus`.
    pub name: &'static str,
    /// Takes an input, and panics if something does not hold.
    pub run: fn(&[u8]),
}

macro_rules! targets {
    ($($name:ident),* $(,)?) => {
        [$(FuzzTarget { name: stringify!($name), run: $name }),*]
    };
}

/// All targets, in the order in which a packet passes through the node.
pub static TARGETS: [FuzzTarget; 8] = targets![
    request_head,
    frames,
    v1_text,
    v1_zlib,
    discord_json,
    discord_etf,
    log_entries,
    zstd_blocks,
];
