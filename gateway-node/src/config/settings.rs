//! All settings of a node.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use shared::routing::{EventDefinition, EventTable};

use super::{
    AdminSettings, ApplicationSettings, ChaosSettings, ClusterSettings, CompressionSettings, DEFAULT_APPLICATION,
    DiscordSettings, DrainSettings, EventSettings, HttpSettings, JobSettings, KeySettings, LimitSettings, LogSettings,
    MetricsSettings, NodeSettings, RedisSettings, ServerSettings, SessionSettings, SettingDoc, TestSettings,
    TicketSettings, V1Settings,
    check::{Origins, normal},
    error::{ConfigError, shown},
    event,
    setting::Section,
    sources::Sources,
};

/// The address that the peers of a Unix socket have (`transport::UNIX_PEER`).
const UNIX_PEER: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Declares every section once: its field in [`Settings`], its type, and its part of the reference.
macro_rules! settings {
    (
        sections { $($(#[doc = $doc:literal])+ $section:ident: $type:ty;)+ }
        lists { $($(#[doc = $list_doc:literal])+ $list:ident: $entry:ty;)+ }
    ) => {
        /// Everything that can be configured. [`Default`] is what a node without a file, environment variables or flags
        /// runs with.
        #[derive(Debug, Clone, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Settings {
            $($(#[doc = $doc])+ pub $section: $type,)+
            $($(#[doc = $list_doc])+ pub $list: Vec<$entry>,)+
            /// The origin of each value, for errors that show only when a value is used.
            #[serde(skip)]
            pub(super) origins: Origins,
            /// What to read again on a reload.
            #[serde(skip)]
            pub(super) sources: Arc<Sources>,
        }

        /// Returns every setting, in the order in which `print-config` prints them.
        pub fn reference() -> Vec<SettingDoc> {
            let mut out = Vec::new();
            $(<$type>::describe(stringify!($section), &mut out);)+
            $(<$entry>::describe(concat!(stringify!($list), "[]"), &mut out);)+
            out
        }
    };
}

settings! {
    sections {
        /// The public listener.
        server: ServerSettings;
        /// This node's identity in the cluster.
        node: NodeSettings;
        /// Protocol version 1.
        v1: V1Settings;
        /// The Discord-shaped protocol.
        discord: DiscordSettings;
        /// Sessions of every protocol.
        session: SessionSettings;
        /// Limits on what clients, addresses and keys may consume.
        limits: LimitSettings;
        /// The tickets with which web pages connect.
        tickets: TicketSettings;
        /// Jobs: events that are delivered until a worker acknowledges them.
        jobs: JobSettings;
        /// Plain HTTP.
        http: HttpSettings;
        /// The Redis that the nodes share.
        redis: RedisSettings;
        /// The event log and the node's lease.
        cluster: ClusterSettings;
        /// How a node drains before it stops.
        drain: DrainSettings;
        /// The log on stderr.
        log: LogSettings;
        /// The administration listener.
        admin: AdminSettings;
        /// Metrics for Prometheus.
        metrics: MetricsSettings;
        /// Compression of outgoing messages.
        compression: CompressionSettings;
        /// Help for tests.
        test: TestSettings;
        /// Fault injection.
        chaos: ChaosSettings;
    }
    lists {
        /// The applications that share the cluster.
        applications: ApplicationSettings;
        /// The keys that clients present.
        keys: KeySettings;
        /// The application events.
        events: EventSettings;
    }
}

impl Settings {
    /// Returns whether the node runs in development mode: without configured keys and without Redis.
    pub fn development(&self) -> bool {
        self.keys.is_empty() && self.redis.url.is_none()
    }

    /// Returns the minimum time between two full member lists of one guild for one bot. It is zero, which means no
    /// limit, in development mode.
    pub fn member_list_interval(&self) -> Duration {
        if self.development() {
            Duration::ZERO
        } else {
            Duration::from_millis(self.discord.member_list_interval_ms)
        }
    }

    /// Returns whether `/metrics` on the public port needs no key: as configured, or by default if the listener is on
    /// loopback. Behind a Unix socket is a proxy, which may have clients elsewhere.
    pub fn metrics_public(&self) -> bool {
        self.metrics
            .public
            .unwrap_or_else(|| self.server.bind.is_local() && self.server.bind.unix().is_none())
    }

    /// Returns the definition of an event, with its schema file read.
    ///
    /// # Errors
    ///
    /// If the schema cannot be read, or the definition is invalid.
    pub(super) fn event_definition(&self, index: usize) -> Result<EventDefinition, ConfigError> {
        let definition = self.events[index].definition().map_err(|(field, cause)| {
            let expected = format!("a readable file with a JSON Schema ({cause})");
            self.problem(&format!("events[{index}].{field}"), expected)
        })?;
        self.table_of(vec![definition.clone()])?;
        Ok(definition)
    }

    /// Builds the table of these events.
    ///
    /// # Errors
    ///
    /// The first invalid definition.
    pub(super) fn table_of(&self, definitions: Vec<EventDefinition>) -> Result<EventTable, ConfigError> {
        EventTable::build(definitions).map_err(|error| {
            let (event, field, expected) = event::explain(&error);
            let index = self.events.iter().position(|known| known.name == event);
            let key = index.map_or("events".to_owned(), |index| format!("events[{index}].{field}"));
            self.problem(&key, expected)
        })
    }

    /// Returns the ids of the applications.
    pub fn application_ids(&self) -> Vec<String> {
        self.applications
            .iter()
            .map(|application| application.id.clone())
            .collect()
    }

    /// Returns the sources of these settings. The environment and the flags are those of the start; the file may have
    /// changed since.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Returns the origin of the value of `key`, if a source set it.
    pub(super) fn origin(&self, key: &str) -> Option<&str> {
        self.origins.is_set(key).then(|| self.origins.of(key))
    }

    /// Returns what was read from a file that an environment variable names: each setting or list of tables, and where
    /// it comes from.
    pub fn read_from_files(&self) -> Vec<(&str, &str)> {
        self.origins.read_from_files()
    }

    /// Returns a problem with the value of `key` that shows only when the value is used. The error includes the value
    /// and its origin; `expected` ends its line.
    pub fn problem(&self, key: &str, expected: impl Into<String>) -> ConfigError {
        let root = serde_json::to_value(self).unwrap_or_default();
        let value = key
            .split(['.', '['])
            .try_fold(&root, |value, part| match part.strip_suffix(']') {
                Some(index) => value.get(index.parse::<usize>().ok()?),
                None => value.get(part),
            });
        let value = value.filter(|value| !value.is_null());
        let value = value.map(|value| shown(&normal(key), value, &reference()));
        ConfigError::new(key, value, self.origins.of(key), expected)
    }

    /// Returns a problem between several keys, reported for the first of them that is set.
    pub(super) fn problem_of(&self, keys: &[&str], expected: impl Into<String>) -> ConfigError {
        let set = keys.iter().find(|key| self.origins.is_set(key));
        self.problem(set.or(keys.first()).unwrap_or(&""), expected)
    }

    /// Returns how many milliseconds the log must keep an entry so that every session that may resume can.
    pub(super) fn resumable_ms(&self) -> u64 {
        let heartbeats = self.discord.heartbeat_interval_ms.saturating_mul(2);
        self.session.resume_window_ms.saturating_add(heartbeats)
    }

    /// Completes the values that depend on others: paths relative to `file`, the default application, the trust in the
    /// peers of a Unix socket, and the defaults of `cluster.log_age_ms` and `http.request_bytes`.
    pub(super) fn complete(&mut self, file: Option<&Path>) {
        let folder = file.and_then(Path::parent).unwrap_or(Path::new(""));
        let tls = &mut self.server.tls;
        let paths = [
            (&mut tls.certificate, "server.tls.certificate"),
            (&mut self.redis.ca, "redis.ca"),
            (&mut self.redis.certificate, "redis.certificate"),
            (&mut self.redis.key, "redis.key"),
            (&mut tls.key, "server.tls.key"),
        ];
        for (path, key) in paths {
            absolute(path, self.origins.folder(key, folder));
        }
        for (index, event) in self.events.iter_mut().enumerate() {
            for (path, name) in [(&mut event.schema, "schema"), (&mut event.reply_schema, "reply_schema")] {
                absolute(path, self.origins.folder(&format!("events[{index}].{name}"), folder));
            }
        }
        let used = self.keys.is_empty() || self.keys.iter().any(|key| key.application == DEFAULT_APPLICATION);
        if used
            && !self
                .applications
                .iter()
                .any(|application| application.id == DEFAULT_APPLICATION)
        {
            self.applications.push(ApplicationSettings::from(DEFAULT_APPLICATION));
        }
        let unix_peer = IpNet::from(UNIX_PEER);
        if self.server.bind.unix().is_some() && !self.server.trusted_proxies.contains(&unix_peer) {
            self.server.trusted_proxies.push(unix_peer);
        }
        if !self.origins.is_set("cluster.log_age_ms") {
            self.cluster.log_age_ms = self.cluster.log_age_ms.max(self.resumable_ms());
        }
        if !self.origins.is_set("http.request_bytes") {
            let two_events = self.cluster.event_bytes.saturating_mul(2);
            self.http.request_bytes = self.http.request_bytes.max(two_events);
        }
    }
}

/// Makes `path` absolute, taking a relative one from `folder`, so that it means the same wherever the settings are
/// printed.
fn absolute(path: &mut Option<PathBuf>, folder: &Path) {
    if let Some(path) = path {
        let joined = folder.join(&*path);
        *path = std::path::absolute(&joined).unwrap_or(joined);
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            server: ServerSettings::default(),
            node: NodeSettings::default(),
            v1: V1Settings::default(),
            discord: DiscordSettings::default(),
            session: SessionSettings::default(),
            limits: LimitSettings::default(),
            tickets: TicketSettings::default(),
            jobs: JobSettings::default(),
            http: HttpSettings::default(),
            redis: RedisSettings::default(),
            cluster: ClusterSettings::default(),
            drain: DrainSettings::default(),
            log: LogSettings::default(),
            admin: AdminSettings::default(),
            metrics: MetricsSettings::default(),
            compression: CompressionSettings::default(),
            test: TestSettings::default(),
            chaos: ChaosSettings::default(),
            applications: vec![ApplicationSettings::from(DEFAULT_APPLICATION)],
            keys: Vec::new(),
            events: Vec::new(),
            origins: Origins::default(),
            sources: Arc::default(),
        }
    }
}
