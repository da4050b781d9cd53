//! Which part of a bot a session is.

use serde_json::value::RawValue;

use crate::{
    fields::{elements, integer},
    problem::Problem,
};

/// `[id, count]`: the shard `id` of `count`, with `id < count`; both at most 2^53 − 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shard {
    /// From 0.
    pub id: u64,
    /// At least 1.
    pub count: u64,
}

impl Shard {
    /// Reads a `shard` field; `None` when a problem says what is wrong: with the field, or else with its elements.
    pub(crate) fn parse(value: &RawValue, problems: &mut Vec<Problem>) -> Option<Self> {
        let elements = elements(value);
        let Some([raw_id, raw_count]) = elements.as_deref() else {
            problems.push(Problem::with("Shard must be [id, count].", value));
            return None;
        };
        let id = integer(raw_id);
        if id.is_none() {
            problems.push(Problem::with("Shard id must be an integer.", raw_id));
        }
        let count = integer(raw_count).filter(|count| *count >= 1);
        if count.is_none() {
            problems.push(Problem::with(
                "Shard count must be an integer of at least 1.",
                raw_count,
            ));
        }
        let (id, count) = (id?, count?);
        if id >= count {
            problems.push(Problem::with(
                "Shard id must be below the shard count.",
                raw_id,
            ));
            return None;
        }
        Some(Self { id, count })
    }
}
