//! The routing table of application events: who may send an event, who receives it, and which of them.
//!
//! Only rules live here; the sessions they select live in the node.

mod definition;
mod error;
mod route;
mod table;

pub use definition::{DeliverMode, EventDefinition, ReceiverType};
pub use error::TableError;
pub use route::{Delivery, Route};
pub use table::EventTable;
pub(crate) use table::shape_of_data;
