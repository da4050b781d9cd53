//! Requests ids of bots from several nodes while nodes, clocks and Redis fail, and checks that no id is issued twice.
//!
//! `nodes` and `redis` are the servers and inject what goes wrong with them; `trouble` lists it. `client` is a bot that
//! connects only to get an id; `ledger` holds all ids and catches duplicates; `plan` runs all of it. `tool` is the
//! command line of the binary of the same name.

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
