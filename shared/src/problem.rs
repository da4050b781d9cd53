//! Problems: the individual errors in what a client sent.

use std::borrow::Cow;

use serde_json::value::{RawValue, to_raw_value};

use crate::fields::check_readable;

/// The kind of a problem, which decides the HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProblemKind {
    /// A value is missing or wrong (HTTP 422).
    Data,
    /// The event has no name (HTTP 400).
    Malformed,
    /// The table has no event of that name (HTTP 422).
    UnknownEvent,
    /// The sender may not send that event (HTTP 403).
    NotAllowed,
    /// No live session can receive the event (HTTP 409).
    NoReceiver,
}

/// One entry in the lists of an Error payload: `error` says what is wrong with `data`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Problem {
    /// The kind of the problem.
    pub kind: ProblemKind,
    /// A sentence for human readers.
    pub error: Cow<'static, str>,
    /// The faulty value, exactly as the client sent it. `None`, sent as `null`, if there was none or if it must not be
    /// echoed.
    pub data: Option<Box<RawValue>>,
}

impl Problem {
    /// Creates a problem with a value that is missing or must not be echoed.
    pub fn absent(error: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind: ProblemKind::Data,
            error: error.into(),
            data: None,
        }
    }

    /// Creates a problem with `value`, which is echoed as it was sent, or as `null` if not every client can parse it.
    pub fn with(error: impl Into<Cow<'static, str>>, value: &RawValue) -> Self {
        Self {
            data: check_readable(value).is_ok().then(|| value.to_owned()),
            ..Self::absent(error)
        }
    }

    /// Creates a problem with a string, which is echoed as JSON.
    pub fn with_str(error: impl Into<Cow<'static, str>>, value: &str) -> Self {
        Self {
            // A string always serialises.
            data: to_raw_value(value).ok(),
            ..Self::absent(error)
        }
    }

    /// Creates a problem with a parsed value, which is echoed as JSON.
    pub fn with_json(error: impl Into<Cow<'static, str>>, value: &serde_json::Value) -> Self {
        Self {
            // A `Value` always serialises.
            data: to_raw_value(value).ok(),
            ..Self::absent(error)
        }
    }

    /// Creates the problem of an event `name` without a live receiver (protocol v1, "Application events").
    pub fn no_receiver(name: &str) -> Self {
        Self::with_str("No receiver.", name).of_kind(ProblemKind::NoReceiver)
    }

    /// Returns the problem with its kind replaced.
    #[must_use]
    pub fn of_kind(self, kind: ProblemKind) -> Self {
        Self { kind, ..self }
    }
}

/// Compares the kind, the error and the raw text of the data.
impl PartialEq for Problem {
    fn eq(&self, other: &Self) -> bool {
        let data = |problem: &Self| problem.data.as_ref().map(|data| data.get().to_owned());
        self.kind == other.kind && self.error == other.error && data(self) == data(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_echoed_as_it_was_sent() {
        let value: &RawValue = serde_json::from_str(r#"{"a" : 1.0}"#).unwrap();
        let echo = Problem::with("Wrong.", value).data.unwrap();
        assert_eq!(echo.get(), r#"{"a" : 1.0}"#);
        let echo = Problem::with_str("Wrong.", "a\"b").data.unwrap();
        assert_eq!(echo.get(), r#""a\"b""#);
        assert!(Problem::absent("Wrong.").data.is_none());
    }

    #[test]
    fn no_receiver_names_the_event() {
        let problem = Problem::no_receiver("announce");
        assert_eq!(problem.error, "No receiver.");
        assert_eq!(problem.kind, ProblemKind::NoReceiver);
        assert_eq!(problem.data.unwrap().get(), r#""announce""#);
    }

    #[test]
    fn problems_compare_by_all_that_is_sent() {
        assert_eq!(Problem::absent("a"), Problem::absent("a"));
        assert_ne!(Problem::absent("a"), Problem::absent("b"));
        assert_ne!(Problem::absent("a"), Problem::with_str("a", ""));
        assert_ne!(Problem::no_receiver("a"), Problem::no_receiver("b"));
    }
}
