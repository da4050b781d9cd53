//! What is wrong with a guild that an operator tells of.

use serde_json::{Map, Value};

use super::guild::LISTS;

/// Why what is told of a guild is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GuildProblem {
    /// A field that has to be a list is something else.
    #[error("`{0}` must be a list")]
    NoList(&'static str),
    /// An item of a list has no id by which it could be found.
    #[error("`{list}[{index}]` has no id")]
    NoId {
        /// The list's name.
        list: &'static str,
        /// The item's place in it, from 0.
        index: usize,
    },
}

/// Whether every list of a guild's `d` is one whose items can be found again.
///
/// # Errors
/// Names the first that is not.
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

/// The same for members alone.
///
/// # Errors
/// Names the first that has no user's id.
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
    fn the_first_thing_that_is_wrong_is_named() {
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
