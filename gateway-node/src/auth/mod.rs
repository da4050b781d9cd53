//! Which keys are good, and what for.

mod key;
mod keyring;

pub use self::{
    key::{Key, KeyError},
    keyring::{Keyring, Refused},
};
