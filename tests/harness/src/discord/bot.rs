//! A bot in a process of its own, written with an unmodified library. It reads commands from standard input and prints
//! what happens; the head of `tests/clients/discordjs/bot.mjs` describes both.

use std::{path::PathBuf, process::Stdio, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, Command},
    sync::watch,
    time::{Instant, timeout_at},
};

use super::ALL_INTENTS;
use crate::{
    command::tool,
    deadline::{WAIT, within},
};

/// How many of a bot's lines a failure shows, and how many characters of each.
const SHOWN_LINES: usize = 40;
const SHOWN_CHARACTERS: usize = 300;

/// A client library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    /// discord.js, with its own `@discordjs/ws` and `@discordjs/rest`.
    DiscordJs,
    /// discord.py.
    DiscordPy,
}

impl Library {
    fn command(self) -> Command {
        let clients = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../clients");
        match self {
            Self::DiscordJs => {
                let name = "UTILBOT_TEST_DISCORDJS_MODULES";
                let mut command = Command::new(tool("UTILBOT_TEST_NODE", "Node.js, 20 or later"));
                command
                    .env(name, tool(name, "the node_modules folder that holds `discord.js`"))
                    .arg(clients.join("discordjs/bot.mjs"));
                command
            }
            Self::DiscordPy => {
                let what = "python with the packages of tests/requirements.txt";
                let mut command = Command::new(tool("UTILBOT_TEST_PYTHON", what));
                command.arg(clients.join("python/discord_bot.py"));
                command
            }
        }
    }
}

/// What a bot requests from the gateway.
#[derive(Debug, Clone, Copy)]
pub struct BotOptions {
    /// The intents, as bits.
    pub intents: u64,
    /// The number of shards, or `auto`. Without it discord.js uses one shard, and discord.py sends none.
    pub shards: Option<&'static str>,
    /// `zlib-stream`; with discord.js also `none` and `identify`; with discord.py also `zstd-stream`.
    pub compression: &'static str,
}

impl BotOptions {
    /// Requests every intent and one shard, with this compression.
    pub const fn compressed(compression: &'static str) -> Self {
        Self {
            intents: ALL_INTENTS,
            shards: None,
            compression,
        }
    }
}

/// A running bot. It is killed on drop.
#[derive(Debug)]
pub struct Bot {
    child: Child,
    stdin: ChildStdin,
    lines: watch::Receiver<Vec<Value>>,
    /// How many of the lines have been read.
    seen: usize,
    stderr: watch::Receiver<String>,
}

impl Bot {
    /// Starts a bot that logs in at `authority`, which is a host and a port.
    pub fn start(library: Library, authority: impl std::fmt::Display, token: &str, options: BotOptions) -> Self {
        let mut command = library.command();
        command
            .arg(format!("--api=http://{authority}/api"))
            .arg(format!("--intents={}", options.intents))
            .arg(format!("--compression={}", options.compression))
            .args(options.shards.map(|shards| format!("--shards={shards}")))
            .env("DISCORD_TOKEN", token)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().expect("the bot starts");
        Self {
            stdin: child.stdin.take().expect("stdin is a pipe"),
            lines: follow_lines(child.stdout.take().expect("stdout is a pipe")),
            seen: 0,
            stderr: follow_text(child.stderr.take().expect("stderr is a pipe")),
            child,
        }
    }

    /// Sends a command to the bot.
    pub async fn tell(&mut self, command: &str) {
        let line = format!("{command}\n");
        within("sending a command to the bot", self.stdin.write_all(line.as_bytes()))
            .await
            .unwrap_or_else(|error| panic!("{command}: {error}\n{}", self.details()));
    }

    /// Reads lines up to the first one for which `is_it` is true, and returns that line. Panics at a line with `error`.
    pub async fn until(&mut self, what: &str, is_it: impl FnMut(&Value) -> bool) -> Value {
        self.until_within(what, WAIT, is_it).await
    }

    /// Like [`Self::until`], with another deadline.
    pub async fn until_within(&mut self, what: &str, wait: Duration, mut is_it: impl FnMut(&Value) -> bool) -> Value {
        let deadline = Instant::now() + wait;
        loop {
            let line = self.lines.borrow_and_update().get(self.seen).cloned();
            if let Some(line) = line {
                self.seen += 1;
                if is_it(&line) {
                    return line;
                }
                assert_ne!(line["event"], "error", "waiting for {what}\n{}", self.details());
                continue;
            }
            match timeout_at(deadline, self.lines.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => panic!("{what}: the bot has ended\n{}", self.details()),
                Err(late) => panic!("{what}: {late} after {} ms\n{}", wait.as_millis(), self.details()),
            }
        }
    }

    /// Reads lines up to the first one with this event.
    pub async fn event(&mut self, name: &str) -> Value {
        self.until(name, |line| line["event"] == name).await
    }

    /// Reads lines up to the first dispatch of this name, and returns the whole line.
    pub async fn dispatch(&mut self, name: &str) -> Value {
        self.until(name, |line| line["event"] == "dispatch" && line["t"] == name)
            .await
    }

    /// Returns every line so far with this event.
    pub fn all(&self, event: &str) -> Vec<Value> {
        let lines = self.lines.borrow();
        lines.iter().filter(|line| line["event"] == event).cloned().collect()
    }

    /// Returns the sequence numbers of a shard's latest session so far, in the order in which the library reported
    /// them.
    pub fn numbers(&self, shard: &Value) -> Vec<u64> {
        let dispatches = self.all("dispatch");
        let of_shard = dispatches.iter().filter(|line| line["shard"] == *shard);
        let mut numbers = Vec::new();
        for line in of_shard {
            if line["t"] == "READY" {
                numbers.clear();
            }
            numbers.push(line["s"].as_u64().unwrap_or_else(|| panic!("no number: {line}")));
        }
        numbers
    }

    /// Asserts that the sequence numbers are 1, 2, 3 and so on.
    pub fn assert_gapless(&self, shard: &Value) {
        let numbers = self.numbers(shard);
        assert!(
            numbers.iter().copied().eq(1..=numbers.len() as u64),
            "{numbers:?}\n{}",
            self.details()
        );
    }

    /// Makes the bot quit, and waits for its end.
    pub async fn quit(mut self) {
        self.tell("quit").await;
        let status = within("the bot's end", self.child.wait()).await;
        let status = status.expect("a child can be waited for");
        assert!(status.success(), "{status}\n{}", self.details());
    }

    /// Describes the bot for a failure: its last lines and its standard error.
    fn details(&self) -> String {
        let lines = self.lines.borrow();
        let shown = lines.iter().skip(lines.len().saturating_sub(SHOWN_LINES));
        let mut text: String = shown
            .map(|line| {
                line.to_string()
                    .chars()
                    .take(SHOWN_CHARACTERS)
                    .chain(['\n'])
                    .collect::<String>()
            })
            .collect();
        text.push_str(&self.stderr.borrow());
        text
    }
}

/// Reads every line for as long as the bot runs, so that it never blocks on its pipe.
fn follow_lines(stdout: impl AsyncRead + Send + Unpin + 'static) -> watch::Receiver<Vec<Value>> {
    let (lines, follower) = watch::channel(Vec::new());
    tokio::spawn(async move {
        let mut reader = BufReader::new(stdout).lines();
        while let Ok(Some(line)) = reader.next_line().await {
            let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
            lines.send_modify(|lines| lines.push(value));
        }
    });
    follower
}

/// Like [`follow_lines`], for unstructured text.
fn follow_text(mut stderr: impl AsyncRead + Send + Unpin + 'static) -> watch::Receiver<String> {
    let (text, follower) = watch::channel(String::new());
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stderr.read(&mut buffer).await {
            text.send_modify(|text| text.push_str(&String::from_utf8_lossy(&buffer[..count])));
        }
    });
    follower
}
