//! The sources of a configuration.

use std::{collections::BTreeMap, fmt, path::PathBuf};

/// The sources of a configuration: defaults, file, environment, flags. Later ones override earlier ones.
///
/// The settings keep their sources, so that a reload reads the same places again.
#[derive(Clone, Default)]
pub struct Sources {
    pub(super) file: Option<PathBuf>,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) bind: Option<String>,
    pub(super) log_format: Option<String>,
    pub(super) development: bool,
    pub(super) allow_hosts: Vec<String>,
    /// The names of variables that start with `UTILBOT_` and set nothing.
    pub(super) other_variables: Vec<String>,
}

impl Sources {
    /// Creates sources with nothing but the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the TOML file.
    #[must_use]
    pub fn file(mut self, path: Option<PathBuf>) -> Self {
        self.file = path;
        self
    }

    /// Sets the environment variables. Only those that start with `UTILBOT__` are kept.
    #[must_use]
    pub fn environment(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let (ours, others): (BTreeMap<_, _>, BTreeMap<_, _>) = variables
            .into_iter()
            .filter(|(name, _)| name.starts_with("UTILBOT_"))
            .partition(|(name, _)| name.starts_with("UTILBOT__"));
        self.environment = ours;
        self.other_variables = others.into_keys().collect();
        self
    }

    /// Sets the value of `--bind`.
    #[must_use]
    pub fn bind(mut self, address: Option<String>) -> Self {
        self.bind = address;
        self
    }

    /// Sets the value of `--log-format`.
    #[must_use]
    pub fn log_format(mut self, format: Option<String>) -> Self {
        self.log_format = format;
        self
    }

    /// Sets whether `--development` was given.
    #[must_use]
    pub fn development(mut self, is_given: bool) -> Self {
        self.development = is_given;
        self
    }

    /// Sets the values of `--allow-host`.
    #[must_use]
    pub fn allow_hosts(mut self, names: Vec<String>) -> Self {
        self.allow_hosts = names;
        self
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values may be secrets, so only the names are shown.
        f.debug_struct("Sources")
            .field("file", &self.file)
            .field("environment", &self.environment.keys())
            .field("bind", &self.bind)
            .field("log_format", &self.log_format)
            .field("development", &self.development)
            .field("allow_hosts", &self.allow_hosts)
            .field("other_variables", &self.other_variables)
            .finish()
    }
}
