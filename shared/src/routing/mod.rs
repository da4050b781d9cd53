//! The routing table of application events: who may send an event, who receives it, and which of them.
//!
//! Only rules live here; the sessions they select live in the node.

mod definition;

pub use definition::{Deliver, EventDefinition, ReceiverType};
