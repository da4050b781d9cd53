//! Errors in the messages of clients.

use std::str::Utf8Error;

use super::VERSION;

/// Why a message is not exactly one valid term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EtfError {
    /// The first byte is not [`VERSION`].
    #[error("version {version}, expected {VERSION}")]
    Version {
        /// The first byte.
        version: u8,
    },
    /// A term is truncated, or declares more than there is.
    #[error("the message ends inside a term")]
    Cut,
    /// The message goes on after the term.
    #[error("{bytes} bytes after the term, expected none")]
    Trailing {
        /// The number of bytes after the term.
        bytes: usize,
    },
    /// The term has no JSON equivalent (a pid, a function), or its tag does not exist.
    #[error("a term with tag {tag}, which has no JSON equivalent")]
    Tag {
        /// The tag.
        tag: u8,
    },
    /// A compressed term, which is refused because its size is known only after inflating it.
    #[error("a compressed term, expected a plain one")]
    Compressed,
    /// A map has a key that is not a binary, for example an atom.
    #[error("a map key with tag {tag}, expected a binary")]
    Key {
        /// The key's tag.
        tag: u8,
    },
    /// A list does not end with the empty list.
    #[error("a list that ends with tag {tag}, expected the empty list")]
    Tail {
        /// The tag of the tail.
        tag: u8,
    },
    /// An integer is below −2^63 or above 2^64 − 1.
    #[error("an integer of more than 64 bits")]
    Integer,
    /// A float is infinite or not a number.
    #[error("a float that is not a finite number")]
    Float,
    /// A binary or an atom is not UTF-8.
    #[error("text that is not UTF-8")]
    Text {
        /// Where the text stops being UTF-8.
        #[from]
        source: Utf8Error,
    },
    /// Lists, tuples and maps nest too deeply.
    #[error("terms that nest deeper than JSON allows")]
    Depth,
}
