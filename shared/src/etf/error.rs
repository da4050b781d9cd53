//! What can be wrong with a client's message.

use std::str::Utf8Error;

use super::VERSION;

/// Why bytes are not the one term that a message has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EtfError {
    /// The first byte is not [`VERSION`].
    #[error("version {version}, expected {VERSION}")]
    Version {
        /// The first byte.
        version: u8,
    },
    /// A term is cut short, or declares more than there is.
    #[error("the message ends within a term")]
    Cut,
    /// The term has ended and the message has not.
    #[error("{bytes} bytes after the term, expected none")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// A term that JSON has nothing for (a pid, a function), or a tag that does not exist.
    #[error("a term with tag {tag}, which says nothing in JSON")]
    Tag {
        /// The tag.
        tag: u8,
    },
    /// A compressed term: its size would be known only once it is there.
    #[error("a compressed term, expected a plain one")]
    Compressed,
    /// A map has a key that is not a binary, an atom for example.
    #[error("a map key with tag {tag}, expected a binary")]
    Key {
        /// The key's tag.
        tag: u8,
    },
    /// A list goes on after its last element.
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
        /// Where it stops to be.
        #[from]
        source: Utf8Error,
    },
    /// Lists, tuples and maps nest too deep.
    #[error("terms that nest deeper than JSON may")]
    Depth,
}
