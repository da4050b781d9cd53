//! Keys: which are valid, and what they permit.

mod key;
mod keyring;
mod record;
mod session_ticket;

pub use self::{
    key::{Key, KeyError},
    keyring::{Keyring, Refused, RevokedUsers},
    record::{KeyRecord, KeyRecordError},
    session_ticket::SessionTicket,
};
