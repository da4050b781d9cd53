//! The node's configuration: its settings, where their values come from, and the error lines for what is wrong with
//! them.
//!
//! Every setting is declared once, with its type, default, meaning and rules: in `sections.rs`, or in the file of its
//! list of tables (`application.rs`, `key.rs`, `event.rs`). Nothing here opens a socket or reads the process's
//! environment; the caller passes that in.

mod application;
mod bind_address;
mod check;
mod contradiction;
mod difference;
mod draft;
mod error;
mod event;
mod findings;
mod key;
mod layer;
mod likeness;
mod list_text;
mod load;
mod misnamed;
mod print;
mod secret;
mod sections;
mod setting;
mod settings;
mod snowflake;
mod sources;
mod timestamp;
mod toml_text;
mod unix_mode;
mod variable;
mod words;

pub use application::{ApplicationSettings, DEFAULT_APPLICATION, PrivilegedIntent};
pub use bind_address::{BindAddress, NotAnAddress};
pub(crate) use contradiction::REDIS_URL;
pub use draft::Draft;
pub use error::{ConfigError, ConfigErrors};
pub(crate) use event::is_event_name;
pub use event::{EventSettings, development_events};
pub(crate) use key::is_key_id;
pub use key::{HashText, KeySettings, KeyTypes, Permission};
pub use secret::{REDACTED, Secret};
pub use sections::{
    AdminSettings, ChaosSettings, ClusterSettings, CompressionSettings, DiscordSettings, DrainSettings, HttpSettings,
    JobSettings, LimitSettings, LogFormat, LogSettings, MetricsSettings, NodeSettings, RedisSettings, ServerSettings,
    SessionSettings, TestSettings, TicketSettings, TlsSettings, V1Settings, ZlibStream,
};
pub use setting::SettingDoc;
pub use settings::{Settings, reference};
pub use snowflake::Snowflake;
pub use sources::Sources;
pub use timestamp::{NotATimestamp, Timestamp};
pub use unix_mode::{NotAMode, UnixMode};
pub(crate) use words::is_application_id;

#[cfg(test)]
mod tests;
