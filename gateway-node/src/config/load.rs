//! How sources become [`Settings`].

use std::sync::Arc;

use super::{
    check::check,
    contradiction,
    draft::Draft,
    error::{ConfigError, ConfigErrors},
    findings::Findings,
    layer::Layer,
    settings::{Settings, reference},
    sources::Sources,
};

/// The listener of `--development`. Inside a container, loopback cannot be reached from outside.
const DEVELOPMENT_BIND: &str = "0.0.0.0:8080";

impl Sources {
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
        if !self.allow_hosts.is_empty() {
            flags.flags("server.allowed_hosts", "--allow-host", &self.allow_hosts);
        }
        // Weaker than a bind that the operator chose.
        let mut development = Layer::default();
        if self.development {
            development.flag("server.bind", "--development", DEVELOPMENT_BIND);
        }
        let merged = ::config::Config::builder()
            .add_source(development)
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
