//! The node that a command is a client of.

use std::path::{Path, PathBuf};

use clap::Args;
#[cfg(feature = "client")]
use secrecy::SecretString;
#[cfg(feature = "client")]
use shared::client_type::ClientType;

use super::trust::{Trust, TrustError};
use crate::config::{ConfigErrors, Settings, Sources};
#[cfg(feature = "client")]
use crate::config::{KeySettings, Permission};

/// The flags that say which node to reach, and how.
#[derive(Debug, Clone, Default, Args)]
pub struct TargetOptions {
    /// The node's address.
    #[arg(
        long,
        value_name = "URL",
        help = "The node's address [default: that of --config, or port 8080 of this machine]"
    )]
    pub url: Option<String>,
    /// A node's configuration file: reach that node on this machine, with a key that the file has in clear
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Trust the certificates in this PEM file instead of the system's
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Accept any certificate: whoever is on the way can read and change everything, the key included
    #[arg(long, conflicts_with = "ca")]
    pub insecure: bool,
}

/// A node to reach.
#[derive(Debug)]
pub(super) struct Target {
    /// Its address.
    pub(super) url: String,
    pub(super) trust: Trust,
    /// The Unix socket that it listens on instead of a port.
    pub(super) unix: Option<PathBuf>,
    /// The keys of its configuration that are readable.
    #[cfg(feature = "client")]
    keys: Vec<ReadableKey>,
}

/// A key whose secret the configuration has in clear.
#[cfg(feature = "client")]
#[derive(Debug)]
struct ReadableKey {
    text: SecretString,
    settings: KeySettings,
}

/// What a command needs its key for.
#[cfg(feature = "client")]
#[derive(Debug, Clone, Copy)]
pub(super) enum KeyUse {
    /// To identify as this type.
    Identify(ClientType),
    /// For a request that needs this permission.
    Request(Permission),
}

/// Why a command cannot know its node.
#[derive(Debug, thiserror::Error)]
pub(super) enum TargetError {
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(transparent)]
    Configuration(#[from] ConfigErrors),
}

impl TargetOptions {
    /// Decides which node to reach: that of `--url`, otherwise that of a configuration, otherwise one with the defaults.
    /// `is_web_socket` decides the scheme of the address.
    pub(super) fn target(
        &self,
        is_web_socket: bool,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Target, TargetError> {
        let settings = match &self.config {
            Some(_) => Sources::new()
                .file(self.config.clone())
                .environment(environment)
                .load()?,
            None => Settings::default(),
        };
        let mut target = Target::of(&settings, is_web_socket);
        if let Some(url) = &self.url {
            target.url.clone_from(url);
            target.trust = Trust::System;
            target.unix = None;
        }
        if let Some(path) = &self.ca {
            target.trust = Trust::of_file(path)?;
        }
        if self.insecure {
            super::complain("--insecure: the node's certificate is not checked, so anyone on the way can read the key");
            target.trust = Trust::Anything;
        }
        Ok(target)
    }
}

impl Target {
    /// Returns the node with these settings, on this machine.
    pub(super) fn of(settings: &Settings, is_web_socket: bool) -> Self {
        let scheme = match (is_web_socket, settings.server.tls.certificate.is_some()) {
            (true, true) => "wss",
            (true, false) => "ws",
            (false, true) => "https",
            (false, false) => "http",
        };
        #[cfg(feature = "client")]
        let readable = settings.keys.iter().filter_map(|key| {
            let secret = key.secret.as_ref()?;
            Some(ReadableKey {
                text: format!("{}.{}", key.id, secret.expose()).into(),
                settings: key.clone(),
            })
        });
        Self {
            url: match settings.server.bind.tcp() {
                Some(address) => format!("{scheme}://{}/", crate::node::address_here(address)),
                // The path is what counts; the name is for the `Host` header.
                None => format!("{scheme}://127.0.0.1/"),
            },
            unix: settings.server.bind.unix().map(Path::to_owned),
            // Its certificate names the host that clients use, and nothing leaves this machine.
            trust: Trust::Anything,
            #[cfg(feature = "client")]
            keys: readable.collect(),
        }
    }

    /// Returns the first readable key of the configuration that is good for this.
    #[cfg(feature = "client")]
    pub(super) fn key(&self, needed: KeyUse) -> Option<&SecretString> {
        let is_good = |key: &&ReadableKey| match needed {
            KeyUse::Identify(kind) => key.settings.types.0.contains(&kind),
            KeyUse::Request(permission) => key.settings.permissions.contains(&permission),
        };
        self.keys.iter().find(is_good).map(|key| &key.text)
    }
}
