//! The routing table of application events: which client types may send an event, and which sessions receive it.
//!
//! Only the rules live here; the sessions that they select live in the node.

mod definition;
mod error;
mod route;
mod schema;
mod table;

pub use definition::{DeliverMode, EventDefinition, JobDefinition, ReceiverType, ReplyDefinition};
pub use error::TableError;
pub use route::{Delivery, Route};
pub use schema::SchemaError;
pub(crate) use table::shape_of_data;
pub use table::{EventTable, object_of};
