//! What a client asks for once it has a session.

use serde_json::{Map, Value};

use super::{close, snowflake};
use crate::close::Close;

/// The longest `nonce` that is answered with, in bytes.
const NONCE_BYTES: usize = 32;

/// `Request Guild Members`: which members of which guilds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestMembers {
    /// The guilds; one, but for older libraries.
    pub guilds: Vec<u64>,
    /// Whose names begin with this.
    pub query: Option<String>,
    /// How many at most; 0 is all.
    pub limit: u64,
    /// These alone.
    pub users: Option<Vec<u64>>,
    /// With their presences.
    pub presences: bool,
    /// What the answers carry, so that the client knows them.
    pub nonce: Option<String>,
}

impl RequestMembers {
    pub(super) fn parse(d: &Map<String, Value>) -> Result<Self, Close> {
        let guilds = d.get("guild_id").and_then(snowflakes).filter(|list| !list.is_empty());
        let users = match d.get("user_ids") {
            None | Some(Value::Null) => None,
            Some(users) => Some(snowflakes(users).ok_or(close::INVALID_PAYLOAD)?),
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

/// One snowflake, or a list of them.
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
        assert_eq!((&*many.guilds, many.users), (&[1, 2][..], Some(vec![3])));
        assert!(many.presences);
        for wrong in [
            json!({}),
            json!({"guild_id": "x", "query": ""}),
            json!({"guild_id": [], "query": ""}),
            json!({"guild_id": "1"}),
            json!({"guild_id": "1", "query": 1}),
            json!({"guild_id": "1", "user_ids": ["x"]}),
        ] {
            assert_eq!(members(&wrong), Err(close::INVALID_PAYLOAD), "{wrong}");
        }
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
