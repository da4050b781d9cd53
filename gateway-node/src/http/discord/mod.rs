//! What libraries for Discord ask over HTTP before they connect, answered as Discord does. The gateway's own API is not
//! here, and neither is anything that they would ask a platform for.

mod bootstrap;
mod error;
mod start_budget;

pub use self::error::RestError;
pub(super) use self::{
    bootstrap::{application, gateway, gateway_for_bot, user},
    error::not_found,
};
