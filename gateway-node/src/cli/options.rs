//! The flags that choose a configuration.

use std::path::PathBuf;

use clap::Args;

use crate::config::Sources;

/// Where a node looks for its configuration if it is given none.
pub const DEFAULT_FILE: &str = "/etc/utilbot/gateway.toml";

/// Returns [`DEFAULT_FILE`] if it exists.
pub(super) fn default_file() -> Option<PathBuf> {
    let path = PathBuf::from(DEFAULT_FILE);
    path.exists().then_some(path)
}

/// The flag of commands that read a configuration but run no node.
#[derive(Debug, Clone, Default, Args)]
pub struct FileOption {
    /// Configuration file (TOML); environment variables override it [default: /etc/utilbot/gateway.toml if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// The flags that choose the configuration of a node.
#[derive(Debug, Clone, Default, Args)]
pub struct NodeOptions {
    /// Configuration file (TOML); environment variables and other flags override it [default: /etc/utilbot/gateway.toml
    /// if it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address and port of the public listener; port 0 picks a free one. `unix:/PATH` is a Unix socket
    #[arg(long, value_name = "ADDR:PORT")]
    pub bind: Option<String>,
    /// Format of log lines: text or json
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Try the node without configuration, from other machines and containers too: listen on 0.0.0.0:8080, and print a
    /// key that has every permission
    #[arg(long)]
    pub development: bool,
    /// A host name by which others reach this node, beside those of this machine, such as its name in a Docker network
    #[arg(long, value_name = "NAME")]
    pub allow_host: Vec<String>,
}

impl NodeOptions {
    /// Adds the options that were given before the command. Those after it win.
    #[must_use]
    pub fn or(self, before: Self) -> Self {
        Self {
            config: self.config.or(before.config),
            bind: self.bind.or(before.bind),
            log_format: self.log_format.or(before.log_format),
            development: self.development || before.development,
            allow_host: [before.allow_host, self.allow_host].concat(),
        }
    }

    /// Returns the sources of the configuration: these flags and `environment`.
    pub fn sources(&self, environment: impl IntoIterator<Item = (String, String)>) -> Sources {
        let usual = || if self.development { None } else { default_file() };
        Sources::new()
            .file(self.config.clone().or_else(usual))
            .environment(environment)
            .bind(self.bind.clone())
            .log_format(self.log_format.clone())
            .development(self.development)
            .allow_hosts(self.allow_host.clone())
    }
}
