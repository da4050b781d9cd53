//! A cluster under load while something goes wrong, and the checker's judgement of what its clients saw.
//!
//! `cluster` is the Redis, the proxies before it and the nodes; `fault` is what goes wrong; `member`, `shard` and
//! `publisher` are those who connect and send, and `table` is what they send; `book` is where they write it down; `world` puts all of it together, and a seed decides
//! what happens when. `tool` is the command line of the binary of the same name. Nothing here judges: that is the checker.

mod book;
mod cluster;
mod fault;
mod member;
mod publisher;
mod report;
mod shard;
mod socket;
mod stage;
mod table;
mod tool;
mod world;

pub use self::{
    cluster::Backing,
    fault::Fault,
    report::{Report, Row},
    tool::{Options, run},
    world::World,
};
