//! Shards: the part of an application's guilds that one session has.

use serde_json::Value;

/// One shard of so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shard {
    /// Which one, from 0.
    pub id: u32,
    /// Of how many.
    pub count: u32,
}

impl Shard {
    /// The whole of an application.
    pub const WHOLE: Self = Self { id: 0, count: 1 };

    /// The shard that `[id, count]` writes, if there can be such a one.
    pub fn from_json(value: &Value) -> Option<Self> {
        let Value::Array(pair) = value else { return None };
        let [id, count] = &pair[..] else { return None };
        let number = |value: &Value| u32::try_from(value.as_u64()?).ok();
        let (id, count) = (number(id)?, number(count)?);
        (id < count).then_some(Self { id, count })
    }

    /// The shard among `count` that has a guild. What belongs to no guild is the first one's.
    pub fn of_guild(guild: Option<u64>, count: u32) -> Self {
        let count = count.max(1);
        // The remainder is below a count of 32 bits.
        let id = u32::try_from((guild.unwrap_or(0) >> 22) % u64::from(count)).unwrap_or(0);
        Self { id, count }
    }

    /// Whether it has this guild, or what belongs to none.
    pub fn has(self, guild: Option<u64>) -> bool {
        Self::of_guild(guild, self.count).id == self.id
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_shard_is_a_pair_of_integers_of_which_the_first_is_lower() {
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
    fn a_guild_is_of_the_shard_that_its_time_says() {
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
