//! The sessions of the whole cluster, seen and commanded from any node.
//!
//! A question goes to every node that has sessions of the application, as a command does, and each one replies to the
//! node that asked, as to a request. No node keeps a list of the sessions of others.

mod answer;
mod ask;
mod question;

pub use self::ask::{ClusterPage, ClusterSessions, CommandOutcome, Incomplete};
