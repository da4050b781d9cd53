//! All settings of a node.

use serde::{Deserialize, Serialize};

use super::{
    AdminSettings, ApplicationSettings, ChaosSettings, ClusterSettings, CompressionSettings, DEFAULT_APPLICATION,
    DiscordSettings, DrainSettings, EventSettings, KeySettings, LimitSettings, LogSettings, MetricsSettings,
    NodeSettings, RedisSettings, ServerSettings, SessionSettings, SettingDoc, TestSettings, V1Settings,
    setting::Section,
};

/// States every section once: its field, its type, and its part of the reference.
macro_rules! settings {
    (
        sections { $($(#[doc = $doc:literal])+ $section:ident: $type:ty;)+ }
        lists { $($(#[doc = $list_doc:literal])+ $list:ident: $entry:ty;)+ }
    ) => {
        /// Everything that can be configured. [`Default`] is what a node without a file, environment or flag runs with.
        #[derive(Debug, Clone, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Settings {
            $($(#[doc = $doc])+ pub $section: $type,)+
            $($(#[doc = $list_doc])+ pub $list: Vec<$entry>,)+
        }

        /// Every setting, in the order in which `print-config` prints them.
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
        /// This node among the others.
        node: NodeSettings;
        /// Protocol version 1.
        v1: V1Settings;
        /// The Discord-shaped protocol.
        discord: DiscordSettings;
        /// What every session has.
        session: SessionSettings;
        /// What one client may use up.
        limits: LimitSettings;
        /// The Redis that the nodes share.
        redis: RedisSettings;
        /// The event log and the node's lease.
        cluster: ClusterSettings;
        /// How a node leaves.
        drain: DrainSettings;
        /// The log on stderr.
        log: LogSettings;
        /// The listener for administration.
        admin: AdminSettings;
        /// Metrics for Prometheus.
        metrics: MetricsSettings;
        /// Compression of what is sent.
        compression: CompressionSettings;
        /// Help for tests.
        test: TestSettings;
        /// Faults on purpose.
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
    /// Whether the node runs in development mode: no key is configured and nothing is shared through Redis.
    pub fn development(&self) -> bool {
        self.keys.is_empty() && self.redis.url.is_none()
    }

    /// Whether `/metrics` on the public port needs no key: as configured, or where the listener is on loopback.
    pub fn metrics_public(&self) -> bool {
        self.metrics
            .public
            .unwrap_or_else(|| self.server.bind.ip().to_canonical().is_loopback())
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
        }
    }
}
