//! Which keys are good, and what for.

mod key;
mod keyring;
mod record;

pub use self::{
    key::{Key, KeyError},
    keyring::{Keyring, Refused},
    record::{KeyRecord, KeyRecordError},
};
