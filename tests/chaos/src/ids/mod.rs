//! Ids of bots from several nodes while what they depend on goes wrong: none may be given twice.
//!
//! `nodes` is the nodes, `server` their Redis, and each says what goes wrong with it; `trouble` is the list of that.
//! `visitor` is a bot that connects for nothing but its id; `tally` is where all ids are, and what catches one that comes
//! twice; `world` puts all of it together. `tool` is the command line of the binary of the same name.

mod client;
mod ledger;
mod nodes;
mod plan;
mod redis;
mod report;
mod tool;
mod trouble;

pub use self::{
    ledger::{Duplicate, Issuance},
    plan::IdPlan,
    report::{IdReport, NodeRow},
    tool::{IdOptions, run},
    trouble::Trouble,
};
