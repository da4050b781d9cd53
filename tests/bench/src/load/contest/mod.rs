//! Compares the gateway with other servers: each does the same work, in turns, in one run on one machine.
//!
//! Each [`Contestant`] runs as a process of its own on one core. A `ClientPool` on another core speaks its
//! `Dialect`. CPU time and memory are read from the kernel. Only figures of the same run are
//! comparable: each round measures all contestants one after the other, and the output shows
//! medians over the rounds and of the ratios within each round.

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
