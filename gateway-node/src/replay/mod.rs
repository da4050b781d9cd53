//! The latest entries of each log, from which sessions that resume or catch up are served.

mod buffer;
pub(crate) mod buffers;
mod page;

pub use self::{
    buffer::ReplayLimits,
    page::{ReadFrom, ReplayError, ReplayPage},
};
