//! JSON that is written piece by piece.

use serde::Serialize;

/// The bytes that one slice of work writes.
const SLICE: usize = 48 * 1024;
/// The items that one slice of work writes.
const ITEMS: usize = 128;

/// An object or a list that is being written.
#[derive(Debug)]
pub(super) struct Text {
    bytes: Vec<u8>,
    items: usize,
    end: u8,
}

/// The length of a text when a slice of work began.
#[derive(Debug, Clone, Copy)]
pub(super) struct SliceStart {
    bytes: usize,
    items: usize,
}

impl Text {
    pub(super) fn object() -> Self {
        Self {
            bytes: vec![b'{'],
            items: 0,
            end: b'}',
        }
    }

    pub(super) fn list() -> Self {
        Self {
            bytes: vec![b'['],
            items: 0,
            end: b']',
        }
    }

    /// Returns the start of a slice, for [`is_past`](Self::is_past).
    pub(super) const fn slice(&self) -> SliceStart {
        SliceStart {
            bytes: self.bytes.len(),
            items: self.items,
        }
    }

    /// Returns whether a slice that began at `start` has written as much as it may.
    pub(super) const fn is_past(&self, start: SliceStart) -> bool {
        self.bytes.len() - start.bytes >= SLICE || self.items - start.items >= ITEMS
    }

    fn separate(&mut self) {
        if self.items > 0 {
            self.bytes.push(b',');
        }
        self.items += 1;
    }

    fn value(&mut self, value: &(impl Serialize + ?Sized)) {
        // Writing to memory cannot fail, and no map here has keys other than strings.
        if serde_json::to_writer(&mut self.bytes, value).is_err() {
            self.bytes.extend_from_slice(b"null");
        }
    }

    /// Appends an item of a list.
    pub(super) fn item(&mut self, item: &(impl Serialize + ?Sized)) {
        self.separate();
        self.value(item);
    }

    /// Appends a field of an object.
    pub(super) fn field(&mut self, name: &str, value: &(impl Serialize + ?Sized)) {
        self.name(name);
        self.value(value);
    }

    /// Appends a list as a field of an object.
    pub(super) fn list_field(&mut self, name: &str, list: &Self) {
        self.name(name);
        self.bytes.extend_from_slice(&list.bytes);
        self.bytes.push(list.end);
    }

    fn name(&mut self, name: &str) {
        self.separate();
        self.value(name);
        self.bytes.push(b':');
    }

    /// Returns the complete text.
    pub(super) fn finish(mut self) -> String {
        self.bytes.push(self.end);
        String::from_utf8(self.bytes).unwrap_or_default()
    }
}
