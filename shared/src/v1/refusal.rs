//! Refusals: answers to packets that had no effect. The connection stays open.

use crate::problem::{Problem, ProblemKind};

/// Why a packet had no effect, `code` of an `event_refused`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalCode {
    /// `t` is missing or not a string.
    Malformed,
    /// The table has no event of that name.
    UnknownEvent,
    /// `d` is missing or breaks a rule, or `k` is not an idempotency key.
    InvalidData,
    /// The idempotency key was used for another event.
    IdempotencyKeyReused,
    /// The table does not let this client send it.
    NotAllowed,
    /// `d` exceeds `cluster.event_bytes`.
    TooLarge,
    /// The event needs a live receiver and has none.
    NoReceiver,
    /// The receipt is unknown, belongs to another client, or is done with.
    ReceiptOver,
    /// The new ticket of a renewal is not valid.
    WrongAuthKey,
    /// A bound is reached.
    Overloaded,
    /// The log is unavailable.
    Unavailable,
    /// The log became unavailable before it answered.
    Unknown,
}

impl RefusalCode {
    /// All codes, in the order of the protocol's table.
    pub const ALL: [Self; 12] = [
        Self::Malformed,
        Self::UnknownEvent,
        Self::InvalidData,
        Self::IdempotencyKeyReused,
        Self::NotAllowed,
        Self::TooLarge,
        Self::NoReceiver,
        Self::ReceiptOver,
        Self::WrongAuthKey,
        Self::Overloaded,
        Self::Unavailable,
        Self::Unknown,
    ];

    /// Returns the code on the wire.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownEvent => "unknown_event",
            Self::InvalidData => "invalid_data",
            Self::IdempotencyKeyReused => "idempotency_key_reused",
            Self::NotAllowed => "not_allowed",
            Self::TooLarge => "too_large",
            Self::NoReceiver => "no_receiver",
            Self::ReceiptOver => "receipt_over",
            Self::WrongAuthKey => "wrong_auth_key",
            Self::Overloaded => "overloaded",
            Self::Unavailable => "unavailable",
            Self::Unknown => "unknown",
        }
    }

    /// Returns the message for people.
    pub const fn message(self) -> &'static str {
        match self {
            Self::Malformed | Self::InvalidData => "Malformed data.",
            Self::UnknownEvent => "Unknown event.",
            Self::IdempotencyKeyReused => "The idempotency key was used for another event.",
            Self::NotAllowed => "Not allowed.",
            Self::TooLarge => "Data too large.",
            Self::NoReceiver => "No receiver.",
            Self::ReceiptOver => "The receipt is unknown or done with.",
            Self::WrongAuthKey => "Wrong auth key.",
            Self::Overloaded => "Overloaded. Try again later.",
            Self::Unavailable => "Unavailable. Try again later.",
            Self::Unknown => "The outcome is unknown. Send it again, an event with the same idempotency key.",
        }
    }
}

/// A refusal, before it is encoded.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// The reason.
    pub code: RefusalCode,
    /// All problems, in the order in which they are sent. May be empty.
    pub problems: Vec<Problem>,
}

impl Refusal {
    /// Creates a refusal for these problems. The most basic of them decides the code.
    pub fn of(problems: Vec<Problem>) -> Self {
        let codes = [
            (ProblemKind::Malformed, RefusalCode::Malformed),
            (ProblemKind::UnknownEvent, RefusalCode::UnknownEvent),
            (ProblemKind::NotAllowed, RefusalCode::NotAllowed),
            (ProblemKind::NoReceiver, RefusalCode::NoReceiver),
        ];
        let has = |kind| problems.iter().any(|problem| problem.kind == kind);
        let known = codes.into_iter().find(|(kind, _)| has(*kind));
        Self {
            code: known.map_or(RefusalCode::InvalidData, |(_, code)| code),
            problems,
        }
    }
}

impl From<RefusalCode> for Refusal {
    fn from(code: RefusalCode) -> Self {
        Self {
            code,
            problems: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::ProblemKind::{Data, Malformed, NoReceiver, NotAllowed, UnknownEvent};

    #[test]
    fn the_most_basic_problem_decides_the_code() {
        let problem = |kind| Problem::absent("x").of_kind(kind);
        let code = |kinds: &[ProblemKind]| Refusal::of(kinds.iter().copied().map(problem).collect()).code;
        assert_eq!(code(&[Data, Data]), RefusalCode::InvalidData);
        assert_eq!(code(&[Data, NotAllowed]), RefusalCode::NotAllowed);
        assert_eq!(code(&[Data, UnknownEvent]), RefusalCode::UnknownEvent);
        assert_eq!(code(&[UnknownEvent, Malformed]), RefusalCode::Malformed);
        assert_eq!(code(&[NoReceiver]), RefusalCode::NoReceiver);
    }
}
