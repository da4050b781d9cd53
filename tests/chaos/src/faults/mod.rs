//! Injects faults into a cluster under load. The checker then decides whether its clients saw what they should.
//!
//! `cluster` has Redis, the nodes and a proxy between each node and Redis; `fault` has the faults. `member`,
//! `reconnecting`, `shard` and `publisher` are the clients; `table` has their events, and `recorder` records what they do and see. `plan` runs
//! all of it, and a seed decides what happens when. `tool` is the command line of the binary of the same name.

mod cluster;
mod context;
mod fault;
mod member;
mod plan;
mod publisher;
mod reconnecting;
mod recorder;
mod report;
mod shard;
mod table;
mod tool;

pub use self::{
    cluster::Backing,
    fault::ClusterFault,
    plan::FaultPlan,
    report::{FaultReport, FaultRow},
    tool::{FaultOptions, run},
};
