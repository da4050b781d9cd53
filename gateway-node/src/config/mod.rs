//! The node's configuration: what can be set, where it comes from, and the one line that says what is wrong with it.
//!
//! Every setting is stated once, with its type, default, meaning and rules, in [`sections`] and in the files of the
//! three lists. Nothing here opens a socket or reads the process's environment: the caller hands that in.

mod application;
mod event;
mod key;
mod secret;
mod sections;
mod setting;
mod settings;
mod timestamp;
mod words;

pub use application::{ApplicationSettings, DEFAULT_APPLICATION};
pub use event::{EventSettings, development_events};
pub use key::{HashText, KeySettings, KeyTypes, Permission};
pub use secret::{REDACTED, Secret};
pub use sections::{
    AdminSettings, ChaosSettings, ClusterSettings, CompressionSettings, DiscordSettings, DrainSettings, LimitSettings,
    LogFormat, LogSettings, MetricsSettings, NodeSettings, RedisSettings, ServerSettings, SessionSettings,
    TestSettings, TlsSettings, V1Settings, ZlibStream,
};
pub use setting::SettingDoc;
pub use settings::{Settings, reference};
pub use timestamp::{NotATimestamp, Timestamp};
