//! Lists of guild ids in what clients send.

use serde_json::value::RawValue;

use crate::{
    fields::{elements, integer, string},
    guild::GuildId,
    problem::Problem,
};

/// Parses a list of guild ids. Returns them in ascending order, each once.
///
/// Returns an empty list after recording problems: one with the text `wrong_type` if `value` is no array, one if it has
/// more than `limit` elements, or else one for each element that is no id.
pub(super) fn guild_ids(
    value: &RawValue,
    limit: usize,
    wrong_type: &'static str,
    problems: &mut Vec<Problem>,
) -> Vec<GuildId> {
    let Some(elements) = elements(value) else {
        problems.push(Problem::with(wrong_type, value));
        return Vec::new();
    };
    if elements.len() > limit {
        problems.push(Problem::with(format!("Guilds must be at most {limit} ids."), value));
        return Vec::new();
    }
    let mut ids = Vec::with_capacity(elements.len());
    for element in elements {
        match guild_id(element) {
            Some(id) => ids.push(id),
            None => problems.push(Problem::with("Guild is not an id.", element)),
        }
    }
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Like [`GuildId::from_json`], but without parsing `value` into a `Value` first.
pub(super) fn guild_id(value: &RawValue) -> Option<GuildId> {
    match string(value) {
        Some(digits) => GuildId::from_digits(&digits),
        None => integer(value).map(GuildId::from_raw),
    }
}
