//! Where a configuration comes from, and the way from there to [`Settings`].

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc};

use super::{Settings, check::check, contradiction, error::ConfigError, layer::Layer, settings::reference};

/// Everything that a configuration is read from, later ones over earlier ones: defaults, file, environment, flags.
///
/// Kept by the settings that came from it, so that a reload reads the same places again.
#[derive(Clone, Default)]
pub struct Sources {
    file: Option<PathBuf>,
    environment: BTreeMap<String, String>,
    bind: Option<String>,
    log_format: Option<String>,
}

impl Sources {
    /// Nothing but the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// A TOML file.
    #[must_use]
    pub fn file(mut self, path: Option<PathBuf>) -> Self {
        self.file = path;
        self
    }

    /// Environment variables, of which only `UTILBOT__SECTION__KEY` counts.
    #[must_use]
    pub fn environment(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.environment = variables
            .into_iter()
            .filter(|(name, _)| name.starts_with("UTILBOT__"))
            .collect();
        self
    }

    /// The text of `--bind`.
    #[must_use]
    pub fn bind(mut self, address: Option<String>) -> Self {
        self.bind = address;
        self
    }

    /// The text of `--log-format`.
    #[must_use]
    pub fn log_format(mut self, format: Option<String>) -> Self {
        self.log_format = format;
        self
    }

    /// Reads all of them and checks what comes out.
    ///
    /// # Errors
    ///
    /// The first problem, as one line.
    pub fn load(&self) -> Result<Settings, ConfigError> {
        let docs = reference();
        let mut flags = Layer::default();
        if let Some(address) = &self.bind {
            flags.flag("server.bind", "--bind", address);
        }
        if let Some(format) = &self.log_format {
            flags.flag("log.format", "--log-format", format);
        }
        let file = self.file.as_deref().map(Layer::file).transpose()?;
        let merged = ::config::Config::builder()
            .add_source(file.unwrap_or_default())
            .add_source(Layer::environment(&self.environment, &docs)?)
            .add_source(flags)
            .build()
            .map_err(|error| self.unforeseen(&error))?;
        let (values, origins) = check(&merged.cache, &docs)?;
        let mut settings: Settings = serde_json::from_value(values).map_err(|error| self.unforeseen(&error))?;
        settings.origins = origins;
        settings.sources = Arc::new(self.clone());
        settings.complete(self.file.as_deref());
        contradiction::find(&settings)?;
        Ok(settings)
    }

    /// A problem that the check of every value should have found before. Its text may hold a value, so it is not shown.
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
        // The values of the environment may be secrets.
        f.debug_struct("Sources")
            .field("file", &self.file)
            .field("environment", &self.environment.keys())
            .field("bind", &self.bind)
            .field("log_format", &self.log_format)
            .finish()
    }
}
