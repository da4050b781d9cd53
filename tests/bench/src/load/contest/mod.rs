//! The gateway beside others: the same work for each, in turns, in one run on one machine.
//!
//! A [`Contestant`] is started as a process of its own on one core; a [`ClientPool`] of clients on another core speaks its
//! [`Dialect`]. What a contender has used is read from the kernel. Figures of one run alone are comparable: each
//! [`Round`](rounds::Rounds) measures all contenders one after the other, and what is printed are medians over the rounds
//! and of the ratios within each.

mod benchmark;
mod client_pool;
mod contestant;
mod dialect;
mod discord;
mod options;
mod peers;
mod rounds;
mod table;

pub(super) use self::{
    benchmark::Benchmark,
    client_pool::ClientPool,
    contestant::{ContestServer, ContestTarget},
    dialect::ClientRole,
    rounds::{Sample, cpu_us_each},
    table::Figure,
};
pub use self::{
    benchmark::ContestReport,
    contestant::{Contestant, PeerServer},
    options::ContestOptions,
    rounds::FigureSpread,
    table::ContestTable,
};
