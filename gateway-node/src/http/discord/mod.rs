//! The endpoints that Discord libraries request before they connect, answered as Discord does. The gateway's own API is
//! not here, and neither are any other endpoints of Discord's API.

mod bootstrap;
mod error;
mod start_budget;

pub use self::error::RestError;
pub(super) use self::{
    bootstrap::{application, gateway, gateway_for_bot, user},
    error::not_found,
};
