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
mod peer_server;
mod peers;
mod rounds;
mod table;

pub(super) use self::{
    benchmark::Benchmark,
    client_pool::ClientPool,
    contestant::{ContestServer, ContestTarget},
    dialect::{ClientRole, Dialect, HandshakeStep},
    rounds::{Sample, cpu_us_each},
    table::Figure,
};
pub use self::{
    benchmark::ContestReport, contestant::Contestant, options::ContestOptions, peer_server::PeerServer,
    rounds::FigureSpread, table::ContestTable,
};
