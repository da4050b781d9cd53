//! Keys: which are valid, and what they permit.

mod key;
mod keyring;
mod record;

pub use self::{
    key::{Key, KeyError},
    keyring::{Keyring, Refused},
    record::{KeyRecord, KeyRecordError},
};
