//! Shards: the part of a bot that a session runs.

use serde_json::value::RawValue;

use crate::{
    fields::{elements, integer},
    problem::Problem,
};

/// `[id, count]`: shard `id` of `count`, with `id < count`, both at most 2^53 − 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shard {
    /// The number of the shard, from 0.
    pub id: u64,
    /// The number of shards, at least 1.
    pub count: u64,
}

impl Shard {
    /// Parses a `shard` field. Returns `None` after recording what is wrong, with the field as a whole or else with its
    /// elements.
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
            problems.push(Problem::with("Shard id must be below the shard count.", raw_id));
            return None;
        }
        Some(Self { id, count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (Option<Shard>, Vec<(String, String)>) {
        let mut problems = Vec::new();
        let shard = Shard::parse(serde_json::from_str(text).unwrap(), &mut problems);
        let entry = |problem: Problem| (problem.error.into_owned(), problem.data.unwrap().to_string());
        (shard, problems.into_iter().map(entry).collect())
    }

    #[test]
    fn a_shard_is_an_id_below_a_count() {
        for (text, id, count) in [
            ("[0,1]", 0, 1),
            ("[ 1 , 2 ]", 1, 2),
            (
                "[9007199254740990,9007199254740991]",
                9_007_199_254_740_990,
                9_007_199_254_740_991,
            ),
        ] {
            assert_eq!(parse(text), (Some(Shard { id, count }), vec![]));
        }
    }

    #[test]
    fn every_problem_has_its_text_and_its_data() {
        const SHAPE: &str = "Shard must be [id, count].";
        const ID: &str = "Shard id must be an integer.";
        const COUNT: &str = "Shard count must be an integer of at least 1.";
        const BELOW: &str = "Shard id must be below the shard count.";
        let rows: &[(&str, &[(&str, &str)])] = &[
            ("null", &[(SHAPE, "null")]),
            ("1", &[(SHAPE, "1")]),
            ("\"0/1\"", &[(SHAPE, "\"0/1\"")]),
            ("{}", &[(SHAPE, "{}")]),
            ("[]", &[(SHAPE, "[]")]),
            ("[0]", &[(SHAPE, "[0]")]),
            ("[0,1,2]", &[(SHAPE, "[0,1,2]")]),
            ("[\"0\",1]", &[(ID, "\"0\"")]),
            ("[-1,1]", &[(ID, "-1")]),
            ("[0.0,1]", &[(ID, "0.0")]),
            ("[0,0]", &[(COUNT, "0")]),
            ("[0,null]", &[(COUNT, "null")]),
            ("[0,9007199254740992]", &[(COUNT, "9007199254740992")]),
            ("[null,-1]", &[(ID, "null"), (COUNT, "-1")]),
            ("[1,1]", &[(BELOW, "1")]),
            ("[7,2]", &[(BELOW, "7")]),
        ];
        for (text, expected) in rows {
            let (shard, problems) = parse(text);
            assert_eq!(shard, None);
            let problems: Vec<_> = problems.iter().map(|(e, d)| (e.as_str(), d.as_str())).collect();
            assert_eq!(problems, *expected, "{text}");
        }
    }
}
