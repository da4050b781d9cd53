//! Shards: the part of an application's guilds whose events a session receives.

use serde_json::Value;

/// One shard of an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shard {
    /// The number of the shard, from 0.
    pub id: u32,
    /// The number of shards.
    pub count: u32,
}

impl Shard {
    /// The only shard of an application that is not sharded.
    pub const WHOLE: Self = Self { id: 0, count: 1 };

    /// Parses `[id, count]`. Returns `None` if it is not a valid shard.
    pub fn from_json(value: &Value) -> Option<Self> {
        let Value::Array(pair) = value else { return None };
        let [id, count] = &pair[..] else { return None };
        let number = |value: &Value| u32::try_from(value.as_u64()?).ok();
        let (id, count) = (number(id)?, number(count)?);
        (id < count).then_some(Self { id, count })
    }

    /// Returns the shard among `count` that a guild belongs to. Everything without a guild belongs to the first shard.
    pub fn of_guild(guild: Option<u64>, count: u32) -> Self {
        let count = count.max(1);
        // The remainder is below `count`, which has 32 bits.
        let id = u32::try_from((guild.unwrap_or(0) >> 22) % u64::from(count)).unwrap_or(0);
        Self { id, count }
    }

    /// Returns whether `guild` belongs to the shard. Everything without a guild belongs to the first shard.
    pub fn has(self, guild: Option<u64>) -> bool {
        Self::of_guild(guild, self.count).id == self.id
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_shard_is_an_id_below_a_count() {
        assert_eq!(Shard::from_json(&json!([0, 1])), Some(Shard::WHOLE));
        assert_eq!(Shard::from_json(&json!([3, 4])), Some(Shard { id: 3, count: 4 }));
        for wrong in [
            json!([1, 1]),
            json!([0, 0]),
            json!([-1, 2]),
            json!([0.5, 2]),
            json!(["0", "1"]),
            json!([0]),
            json!([0, 1, 2]),
            json!({"id": 0}),
            json!(0),
            json!([0, 4_294_967_296_u64]),
        ] {
            assert_eq!(Shard::from_json(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_timestamp_of_a_guild_id_selects_its_shard() {
        let guild = Some(197_038_439_483_310_086);
        let shards: Vec<_> = (0..16).filter(|id| Shard { id: *id, count: 16 }.has(guild)).collect();
        assert_eq!(
            shards,
            [u32::try_from((197_038_439_483_310_086_u64 >> 22) % 16).unwrap()]
        );
        assert!(Shard::WHOLE.has(guild) && Shard::WHOLE.has(None));
        assert!(Shard { id: 0, count: 2 }.has(None) && !Shard { id: 1, count: 2 }.has(None));
    }
}
