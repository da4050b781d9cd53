//! A cluster under load while something goes wrong, and the checker's judgement of what its clients saw.
//!
//! `cluster` is the Redis, the proxies before it and the nodes; `fault` is what goes wrong; `member`, `shard` and
//! `publisher` are those who connect and send, and `table` is what they send; `book` is where they write it down; `world` puts all of it together, and a seed decides
//! what happens when. `tool` is the command line of the binary of the same name. Nothing here judges: that is the checker.

mod cluster;
mod context;
mod fault;
mod member;
mod plan;
mod publisher;
mod recorder;
mod report;
mod shard;
mod socket;
mod table;
mod tool;

pub use self::{
    cluster::Backing,
    fault::ClusterFault,
    plan::FaultPlan,
    report::{FaultReport, FaultRow},
    tool::{FaultOptions, run},
};
