//! `identify`: who a client is.

use std::fmt;

use serde_json::value::RawValue;

use super::{Rejection, Shard};
use crate::{
    fields::{fields, is_string, string},
    problem::Problem,
};

/// What a client says about itself. Whether it is true is for the node to find out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identify {
    /// `type`, as sent: any string is well-formed.
    pub kind: String,
    /// `key`, as sent: any string is well-formed.
    pub key: PresentedSecret,
    /// Which shard of a bot it is.
    pub shard: Option<Shard>,
}

/// The key of an identify, which `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct PresentedSecret(String);

impl PresentedSecret {
    /// The key, as sent.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for PresentedSecret {
    fn from(key: String) -> Self {
        Self(key)
    }
}

impl fmt::Debug for PresentedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

impl Identify {
    /// Reads `d` of an identify.
    ///
    /// # Errors
    ///
    /// Malformed data with everything that is wrong, in the order type, key, shard. A key, and anything that could be
    /// one by mistake, is never echoed.
    pub fn parse(d: Option<&RawValue>) -> Result<Self, Rejection> {
        let d = d.ok_or_else(|| malformed("Data not provided."))?;
        let [kind, key, shard] = fields(d.get(), ["type", "key", "shard"])
            .ok_or_else(|| malformed("Data must be an object."))?;
        let mut problems = Vec::new();
        let kind = match kind {
            None => Err(Problem::absent("Type not provided.")),
            Some(kind) => text(kind).ok_or_else(|| Problem::with("Type must be a string.", kind)),
        };
        let key = match key {
            None => Err(Problem::absent("Key not provided.")),
            Some(key) => text(key).ok_or_else(|| Problem::absent("Key must be a string.")),
        };
        let kind = kind.map_err(|problem| problems.push(problem));
        let key = key.map_err(|problem| problems.push(problem));
        let shard = shard.and_then(|shard| Shard::parse(shard, &mut problems));
        match (kind, key) {
            (Ok(kind), Ok(key)) if problems.is_empty() => Ok(Self {
                kind,
                key: PresentedSecret(key),
                shard,
            }),
            _ => Err(Rejection::malformed(problems)),
        }
    }
}

fn malformed(error: &'static str) -> Rejection {
    Rejection::malformed(vec![Problem::absent(error)])
}

/// The text of a string. One with an unpaired surrogate is a string too, but not one that anything matches.
fn text(value: &RawValue) -> Option<String> {
    string(value)
        .map(std::borrow::Cow::into_owned)
        .or_else(|| is_string(value).then(|| char::REPLACEMENT_CHARACTER.to_string()))
}
