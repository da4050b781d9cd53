//! Environment variables that were probably meant to set something.

use super::{error::ConfigError, settings::reference, sources::Sources};

impl Sources {
    /// Returns a warning for each variable that has the name of a setting, but one underscore in place of two.
    pub fn misnamed_variables(&self) -> Vec<ConfigError> {
        let docs = reference();
        let names: Vec<_> = docs
            .iter()
            .map(|doc| doc.key.split("[]").next().unwrap_or_default())
            .collect();
        let meant = |name: &String| {
            let plain = name.strip_prefix("UTILBOT_")?.to_lowercase().replace("__", "_");
            let (plain, file) = plain
                .strip_suffix("_file")
                .map_or((&*plain, ""), |plain| (plain, "__FILE"));
            let key = names.iter().find(|key| key.replace('.', "_") == plain)?;
            let right = format!("UTILBOT__{}{file}", key.to_uppercase().replace('.', "__"));
            let expected = format!("{right}, with two underscores: this variable sets nothing");
            Some(ConfigError::new(name, None, "the environment", expected))
        };
        self.other_variables.iter().filter_map(meant).collect()
    }
}
