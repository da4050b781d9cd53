//! The sources of a configuration, and how they become [`Settings`].

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc};

use super::{
    Settings,
    check::check,
    contradiction,
    draft::{Draft, Findings},
    error::{ConfigError, ConfigErrors},
    layer::Layer,
    settings::reference,
};

/// The sources of a configuration: defaults, file, environment, flags. Later ones override earlier ones.
///
/// The settings keep their sources, so that a reload reads the same places again.
#[derive(Clone, Default)]
pub struct Sources {
    file: Option<PathBuf>,
    environment: BTreeMap<String, String>,
    bind: Option<String>,
    log_format: Option<String>,
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
        self.environment = variables
            .into_iter()
            .filter(|(name, _)| name.starts_with("UTILBOT__"))
            .collect();
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

    /// Reads all sources and checks the resulting settings.
    ///
    /// # Errors
    ///
    /// Every problem, one line each.
    pub fn load(&self) -> Result<Settings, ConfigErrors> {
        self.draft().finish()
    }

    /// Reads all sources, checks every value, and checks the values against each other.
    pub fn draft(&self) -> Draft {
        let docs = reference();
        let mut findings = Findings::default();
        let file = self.file.as_deref().map(|path| Layer::file(path, &mut findings));
        let mut flags = Layer::default();
        if let Some(address) = &self.bind {
            flags.flag("server.bind", "--bind", address);
        }
        if let Some(format) = &self.log_format {
            flags.flag("log.format", "--log-format", format);
        }
        let merged = ::config::Config::builder()
            .add_source(file.unwrap_or_default())
            .add_source(Layer::environment(&self.environment, &docs, &mut findings))
            .add_source(flags)
            .build();
        let merged = match merged {
            Ok(merged) => merged,
            Err(error) => {
                findings.push_blind(self.unforeseen(&error));
                return Draft::unread(self, findings);
            }
        };
        let (values, origins) = check(&merged.cache, &docs, &mut findings);
        let mut settings: Settings = match serde_json::from_value(values) {
            Ok(settings) => settings,
            Err(error) => {
                findings.push_blind(self.unforeseen(&error));
                return Draft::unread(self, findings);
            }
        };
        settings.origins = origins;
        settings.sources = Arc::new(self.clone());
        settings.complete(self.file.as_deref());
        let mut draft = Draft::new(settings, findings);
        contradiction::find(&mut draft);
        draft
    }

    /// Returns a problem that checking every value should have found before. The text of `_error` may contain a value,
    /// so it is not shown.
    fn unforeseen(&self, _error: &dyn std::error::Error) -> ConfigError {
        let origin = self
            .file
            .as_ref()
            .map_or_else(|| "the environment".to_owned(), |path| path.display().to_string());
        ConfigError::new("configuration", None, &origin, "values that fit together")
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
            .finish()
    }
}
