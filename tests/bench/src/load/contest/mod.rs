//! The gateway beside others: the same work for each, in turns, in one run on one machine.
//!
//! A [`Contender`] is started as a process of its own on one core; a [`Crowd`] of clients on another core speaks its
//! [`Dialect`]. What a contender has used is read from the kernel. Figures of one run alone are comparable: each
//! [`Round`](rounds::Rounds) measures all contenders one after the other, and what is printed are medians over the rounds
//! and of the ratios within each.

mod contender;
mod crowd;
mod dialect;
mod discord;
mod options;
mod peers;
mod rounds;
mod table;
mod verdict;

pub use self::{
    contender::{Contender, Peer},
    options::ContestOptions,
    rounds::Spread,
    table::Table,
    verdict::Verdict,
};
pub(super) use self::{
    contender::{Server, Target},
    crowd::Crowd,
    dialect::Part,
    rounds::{Sample, cpu_us_each},
    table::Figure,
    verdict::Discipline,
};
