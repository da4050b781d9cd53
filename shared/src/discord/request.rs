//! Requests that a client with a session can send.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{close, snowflake};
use crate::close::Close;

/// The longest `nonce` that answers repeat, in bytes.
const NONCE_BYTES: usize = 32;

/// `Request Guild Members`: a request for members of one or more guilds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestMembers {
    /// The guilds. Only older libraries name more than one.
    pub guilds: Vec<u64>,
    /// Selects the members whose names begin with this.
    pub query: Option<String>,
    /// The most members to return, or 0 for all.
    pub limit: u64,
    /// Selects these users only.
    pub users: Option<UserIds>,
    /// Whether to include the presences of the members.
    pub presences: bool,
    /// A value that the answers repeat, so that the client can match them to its request.
    pub nonce: Option<String>,
}

/// The ids in `user_ids`, without duplicates, in the order of the request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserIds {
    /// The valid snowflakes.
    pub ids: Vec<u64>,
    /// The values that are not snowflakes, as the client sent them.
    pub invalid: Vec<Value>,
}

impl UserIds {
    /// Parses one id or a list of ids. Returns `None` for any other value. Everything inside a list counts as an id,
    /// even if it is an invalid one.
    fn from_json(value: &Value) -> Option<Self> {
        let list = match value {
            Value::Array(list) => list.as_slice(),
            Value::String(_) | Value::Number(_) => std::slice::from_ref(value),
            Value::Null | Value::Bool(_) | Value::Object(_) => return None,
        };
        let (mut seen_ids, mut seen_invalid) = (HashSet::new(), HashSet::new());
        let mut users = Self::default();
        for value in list {
            match snowflake(value) {
                Some(id) if seen_ids.insert(id) => users.ids.push(id),
                None if seen_invalid.insert(value) => users.invalid.push(value.clone()),
                _ => {}
            }
        }
        Some(users)
    }
}

impl RequestMembers {
    pub(super) fn parse(d: &Map<String, Value>) -> Result<Self, Close> {
        let guilds = d.get("guild_id").and_then(snowflakes).filter(|list| !list.is_empty());
        let users = match d.get("user_ids") {
            None | Some(Value::Null) => None,
            Some(users) => Some(UserIds::from_json(users).ok_or(close::INVALID_PAYLOAD)?),
        };
        let query = match d.get("query") {
            None | Some(Value::Null) => None,
            Some(Value::String(query)) => Some(query.clone()),
            Some(_) => return Err(close::INVALID_PAYLOAD),
        };
        if query.is_none() && users.is_none() {
            return Err(close::INVALID_PAYLOAD);
        }
        let nonce = d.get("nonce").and_then(Value::as_str);
        Ok(Self {
            guilds: guilds.ok_or(close::INVALID_PAYLOAD)?,
            query,
            limit: d.get("limit").and_then(Value::as_u64).unwrap_or(0),
            users,
            presences: d.get("presences").and_then(Value::as_bool).unwrap_or(false),
            nonce: nonce.filter(|nonce| nonce.len() <= NONCE_BYTES).map(str::to_owned),
        })
    }
}

/// Parses one snowflake or a list of them.
pub(super) fn snowflakes(value: &Value) -> Option<Vec<u64>> {
    match value {
        Value::Array(list) => list.iter().map(snowflake).collect(),
        one => snowflake(one).map(|one| vec![one]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn members(d: &Value) -> Result<RequestMembers, Close> {
        RequestMembers::parse(d.as_object().unwrap())
    }

    #[test]
    fn ids_are_strings_or_integers_one_or_many() {
        let one = members(&json!({"guild_id": "1", "query": "", "limit": 0})).unwrap();
        assert_eq!((&*one.guilds, one.limit), (&[1][..], 0));
        let many = members(&json!({"guild_id": [1, "2"], "user_ids": 3, "presences": true})).unwrap();
        let users = many.users.unwrap();
        assert_eq!(
            (&*many.guilds, &*users.ids, &*users.invalid),
            (&[1, 2][..], &[3][..], &[][..])
        );
        assert!(many.presences);
        for wrong in [
            json!({}),
            json!({"guild_id": "x", "query": ""}),
            json!({"guild_id": [], "query": ""}),
            json!({"guild_id": "1"}),
            json!({"guild_id": "1", "query": 1}),
            json!({"guild_id": "1", "user_ids": {}}),
            json!({"guild_id": "1", "user_ids": true}),
        ] {
            assert_eq!(members(&wrong), Err(close::INVALID_PAYLOAD), "{wrong}");
        }
    }

    fn user_ids(user_ids: &Value) -> (Vec<u64>, Vec<Value>) {
        let request = members(&json!({"guild_id": "1", "user_ids": user_ids})).unwrap();
        let users = request.users.unwrap();
        (users.ids, users.invalid)
    }

    #[test]
    fn values_that_are_not_snowflakes_are_invalid_ids() {
        assert_eq!(user_ids(&json!("x")), (vec![], vec![json!("x")]));
        assert_eq!(user_ids(&json!([])), (vec![], vec![]));
        let too_long = "18446744073709551616";
        let invalid = json!([
            "x", "", " 1", "+1", "-1", "1.0", "0x1", too_long, "1\n", -1, 1.5, 1e30,
            null, true, [], ["1"], {}, {"id": "1"},
        ]);
        assert_eq!(user_ids(&invalid), (vec![], invalid.as_array().unwrap().clone()));
        let mixed = json!(["x", "18446744073709551615", null, 1]);
        assert_eq!(user_ids(&mixed), (vec![u64::MAX, 1], vec![json!("x"), Value::Null]));
    }

    #[test]
    fn each_id_counts_once_however_it_is_written() {
        let ids = json!(["1", 2, 1, "01", "2", "x", "x", null, null, 1.5, 1.5, "1"]);
        assert_eq!(user_ids(&ids), (vec![1, 2], vec![json!("x"), Value::Null, json!(1.5)]));
    }

    #[test]
    fn a_nonce_that_is_too_long_is_ignored() {
        let nonce = |nonce: String| {
            members(&json!({"guild_id": 1, "query": "", "nonce": nonce}))
                .unwrap()
                .nonce
        };
        assert_eq!(nonce("n".repeat(32)), Some("n".repeat(32)));
        assert_eq!(nonce("n".repeat(33)), None);
    }
}
