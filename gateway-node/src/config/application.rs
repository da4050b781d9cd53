//! The applications that share a cluster without seeing each other.

use super::{setting::section, words::is_application_id};

/// The application of a key that names none. It needs no entry.
pub const DEFAULT_APPLICATION: &str = "utilbot";

section! {
    /// One `[[applications]]`: a log, its clients and its counts of its own.
    pub struct ApplicationSettings {
        /// The application's id.
        id: String, check is_application_id, expect "1 to 64 of a-z 0-9 _ -";
    }
}

impl From<&str> for ApplicationSettings {
    fn from(id: &str) -> Self {
        Self { id: id.to_owned() }
    }
}
