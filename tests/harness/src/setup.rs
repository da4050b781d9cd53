//! Builds the configuration of a node under test.

use std::{fmt::Display, fs, path::PathBuf};

use tempfile::TempDir;
use tokio::process::Command;

use super::{clock::Clock, command::gateway, node::NodeProcess};

/// The secret of every key of [`KEYS`].
pub const SECRET: &str = "correct-horse-battery-staple-0123456789";

/// One key for each client type, of which only `service` may publish, and `root`, which may do everything.
pub const KEYS: &str = r#"
[[keys]]
id = "bot"
type = "bot"
secret = "correct-horse-battery-staple-0123456789"

[[keys]]
id = "website"
type = "website"
secret = "correct-horse-battery-staple-0123456789"

[[keys]]
id = "service"
type = "service"
permissions = ["publish"]
secret = "correct-horse-battery-staple-0123456789"

[[keys]]
id = "root"
type = ["bot", "website", "service"]
permissions = ["publish", "read", "admin", "tickets"]
secret = "correct-horse-battery-staple-0123456789"
"#;

/// Events with every kind of delivery.
const EVENTS: &str = r#"
[[events]]
name = "announce"
from = ["bot", "website", "service"]
to = ["bot", "website", "service"]

[[events]]
name = "site_only"
from = ["website"]
to = ["website"]

[[events]]
name = "job"
from = ["website", "service", "bot"]
to = ["bot"]
deliver = "any"

[[events]]
name = "guild_settings_changed"
from = ["website", "service", "bot"]
to = ["bot"]
deliver = { guild = "/guildId" }

[[events]]
name = "checked"
from = ["website", "service"]
to = ["bot"]
schema = "checked.json"
"#;

const CHECKED: &str = r#"{
  "type": "object",
  "required": ["name", "level"],
  "properties": { "name": { "type": "string" }, "level": { "type": "integer", "minimum": 1 } },
  "additionalProperties": false
}"#;

/// Returns the whole key, as a client sends it.
pub fn key(id: &str) -> String {
    format!("{id}.{SECRET}")
}

/// Returns the setup of a node with [`KEYS`] and with events of every kind: `announce` (all to all), `site_only`
/// (website to website), `job` (any bot), `guild_settings_changed` (by guild), `checked` (with a schema). Only the
/// interval of `GLOBAL_GUILD_COUNT` is shorter than by default, and the limits of payloads and of publishing are too
/// high for a test to reach by accident.
pub fn full_setup() -> Setup {
    Setup::new()
        .file(&format!("{KEYS}{EVENTS}"))
        .beside("checked.json", CHECKED)
        .set("v1.guild_count_interval_ms", 20)
        .set("limits.payloads_per_minute", 1_000_000)
        .set("limits.publish_events_per_minute", 1_000_000_000)
        .set("limits.publish_bytes_per_minute", 1_u64 << 40)
        .set("limits.idempotency_keys", 10_000_000)
}

/// The settings of a node: a configuration file, and environment variables that override it.
#[derive(Debug, Default)]
pub struct Setup {
    settings: Vec<(String, String)>,
    file: Option<String>,
    beside: Vec<(&'static str, String)>,
    descriptors: Option<u64>,
    is_log_unread: bool,
    program: Option<PathBuf>,
}

/// A configuration file that has been written. It is deleted on drop.
#[derive(Debug)]
pub(crate) struct WrittenConfig {
    pub(crate) path: PathBuf,
    _folder: TempDir,
}

impl Setup {
    /// Returns a setup for development mode on a free port.
    pub fn new() -> Self {
        Self::default().set("server.bind", "127.0.0.1:0")
    }

    /// Sets one setting, named as in the file, such as `limits.message_bytes`. The last call for a setting wins.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Display) -> Self {
        let name = format!("UTILBOT__{}", key.to_uppercase().replace('.', "__"));
        self.settings.retain(|(known, _)| *known != name);
        self.settings.push((name, value.to_string()));
        self
    }

    /// Sets an environment variable that is no setting.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Limits the node's process to this many file descriptors.
    #[must_use]
    pub fn descriptors(mut self, count: u64) -> Self {
        self.descriptors = Some(count);
        self
    }

    /// Starts this binary in place of [`gateway`].
    #[must_use]
    pub fn program(mut self, path: PathBuf) -> Self {
        self.program = Some(path);
        self
    }

    /// Returns the command that starts the binary, with its limit of file descriptors.
    pub(crate) fn command(&self) -> Command {
        let program = self.program.clone().unwrap_or_else(gateway);
        let Some(count) = self.descriptors else {
            return Command::new(program);
        };
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", &format!("ulimit -n {count} && exec \"$0\" \"$@\"")])
            .arg(program);
        shell
    }

    /// Connects the node to the Redis at this URL, which it shares with all nodes that use it. A node waits for a lease
    /// before it is ready, so the lease is shorter than usual unless the test has set it.
    #[must_use]
    pub fn redis(self, url: &str) -> Self {
        let setup = self.set("redis.url", url);
        let is_set = setup
            .settings
            .iter()
            .any(|(name, _)| name == "UTILBOT__CLUSTER__LEASE_MS");
        if is_set {
            setup
        } else {
            setup.set("cluster.lease_ms", 2000)
        }
    }

    /// Sets the text of the configuration file.
    #[must_use]
    pub fn file(mut self, toml: &str) -> Self {
        self.file = Some(toml.to_owned());
        self
    }

    /// Adds to the text of the configuration file.
    #[must_use]
    pub fn more(mut self, toml: &str) -> Self {
        self.file.get_or_insert_default().push_str(toml);
        self
    }

    /// Adds another file to the folder of the configuration file.
    #[must_use]
    pub fn beside(mut self, name: &'static str, text: &str) -> Self {
        self.beside.push((name, text.to_owned()));
        self
    }

    /// Gives the node this wall clock.
    #[must_use]
    pub fn clock(mut self, clock: &Clock) -> Self {
        self.settings.extend(clock.environment());
        self
    }

    /// Leaves the node's log unread in its pipe, like a supervisor that has stopped reading.
    #[must_use]
    pub fn unread_log(mut self) -> Self {
        self.is_log_unread = true;
        self
    }

    pub(crate) const fn is_log_unread(&self) -> bool {
        self.is_log_unread
    }

    /// Starts a node with this setup.
    pub async fn start(self) -> NodeProcess {
        NodeProcess::start(self).await
    }

    /// Returns the environment variables.
    pub(crate) fn environment(&self) -> &[(String, String)] {
        &self.settings
    }

    /// Writes the file, if there is one.
    pub(crate) fn write(&self) -> Option<WrittenConfig> {
        let text = self.file.as_ref()?;
        let folder = tempfile::tempdir().expect("a folder for the configuration");
        for (name, text) in self
            .beside
            .iter()
            .map(|(name, text)| (*name, text))
            .chain([("gateway.toml", text)])
        {
            fs::write(folder.path().join(name), text).expect("the configuration can be written");
        }
        Some(WrittenConfig {
            path: folder.path().join("gateway.toml"),
            _folder: folder,
        })
    }
}
