//! Validation of published guilds.

use serde_json::{Map, Value};

use super::guild::LISTS;

/// Why published guild data is rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GuildProblem {
    /// A field that must be a list is not one.
    #[error("`{0}` must be a list")]
    NoList(&'static str),
    /// A list item has no id.
    #[error("`{list}[{index}]` has no id")]
    NoId {
        /// The list's name.
        list: &'static str,
        /// The item's index, from 0.
        index: usize,
    },
}

/// Checks that the lists of a guild's `d` are lists, and that each item has an id.
///
/// # Errors
/// Returns the first violation.
pub(crate) fn check(d: &Map<String, Value>) -> Result<(), GuildProblem> {
    LISTS.into_iter().try_for_each(|(list, id)| match d.get(list) {
        None => Ok(()),
        Some(Value::Array(items)) => items.iter().enumerate().try_for_each(|(index, item)| match id(item) {
            Some(_) => Ok(()),
            None => Err(GuildProblem::NoId { list, index }),
        }),
        Some(_) => Err(GuildProblem::NoList(list)),
    })
}

/// Checks that each member has a user id.
///
/// # Errors
/// Returns the first member without one.
pub(crate) fn check_members(members: &[Value]) -> Result<(), GuildProblem> {
    let (list, id) = LISTS[0];
    let without = members.iter().position(|member| id(member).is_none());
    without.map_or(Ok(()), |index| Err(GuildProblem::NoId { list, index }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_problem_is_reported() {
        let of = |d: Value| check(d.as_object().unwrap()).map_err(|problem| problem.to_string());
        assert_eq!(
            of(json!({"id": "7", "roles": [], "members": [{"user": {"id": "1"}}]})),
            Ok(())
        );
        assert_eq!(of(json!({"channels": {}})), Err("`channels` must be a list".to_owned()));
        let nobody = json!({"members": [{"user": {"id": "1"}}, {"user": {}}]});
        assert_eq!(of(nobody), Err("`members[1]` has no id".to_owned()));
        let members = [json!({"user": {"id": 1}}), json!({"nick": "x"})];
        assert!(check_members(&members[..1]).is_ok());
        assert_eq!(
            check_members(&members).unwrap_err().to_string(),
            "`members[1]` has no id"
        );
    }
}
