//! What differs between two configurations.

use serde_json::Value;

use super::{Settings, settings::reference};

impl Settings {
    /// Returns the settings outside the lists whose values differ, by their keys.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let (one, two) = (to_value(self), to_value(other));
        let mut keys: Vec<_> = reference().into_iter().map(|doc| doc.key).collect();
        keys.retain(|key| !key.contains("[]"));
        let url = |settings: &Self| settings.redis.url.as_ref().map(|url| url.expose().to_owned());
        keys.retain(|key| match key.as_str() {
            // The values above have no secrets.
            "redis.url" => url(self) != url(other),
            key => value_of(&one, key) != value_of(&two, key),
        });
        keys
    }
}

fn to_value(settings: &Settings) -> Value {
    serde_json::to_value(settings).unwrap_or_default()
}

fn value_of<'a>(root: &'a Value, key: &str) -> Option<&'a Value> {
    key.split('.').try_fold(root, |value, part| value.get(part))
}

#[cfg(test)]
mod tests {
    use super::super::{Secret, Settings};

    #[test]
    fn changed_settings_are_named_and_no_others() {
        let before = Settings::default();
        assert_eq!(before.differences(&before), [""; 0]);
        let mut after = before.clone();
        after.limits.message_bytes += 1;
        after.log.level = "debug".to_owned();
        assert_eq!(before.differences(&after), ["limits.message_bytes", "log.level"]);
    }

    #[test]
    fn a_changed_password_is_noticed() {
        let with = |url: &str| {
            let mut settings = Settings::default();
            settings.redis.url = Some(Secret::from(url.to_owned()));
            settings
        };
        let (one, two) = (with("redis://:a@h"), with("redis://:b@h"));
        assert_eq!(one.differences(&two), ["redis.url"]);
        assert_eq!(one.differences(&one), [""; 0]);
    }
}
