//! What Redis does without a node: the node's own publish script in a loop, and a bare PUBLISH to one subscriber.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::{
    super::latencies::Latencies,
    LOG_AGE_MS, LOG_BYTES, LOG_ENTRIES,
    event::NumberedEvent,
    resp::{RespConnection, RespValue},
};

/// What the scripts of an application share, and two of them. The yardstick has to be the node's own script.
const APPLICATION: &str = include_str!("../../../../../gateway-node/src/backends/redis/scripts/application.lua");
const REGISTER: &str = include_str!("../../../../../gateway-node/src/backends/redis/scripts/register.lua");
const PUBLISH: &str = include_str!("../../../../../gateway-node/src/backends/redis/scripts/publish.lua");

/// What the keys of an application start with that no node has.
const KEY: &str = "utilbot:{yardstick}:";
/// What it calls the life of the server, the epoch and itself; as long as the node's own.
const RUN: &str = "0123456789abcdef0123456789abcdef01234567";
const EPOCH: &str = "fedcba9876543210";
const OWNER: &str = "0123456789abcdef";
const AUTHOR: &str = "123456789012345678";
/// Events that are under way at a time.
const WINDOW: usize = 256;
/// The channel of the bare message.
const CHANNEL: &str = "utilbot:{yardstick}:bare";

/// Two connections to Redis.
pub(super) struct RedisBaseline {
    calls: RespConnection,
    messages: RespConnection,
    publish: String,
    /// Publications so far.
    n: u64,
    payload: usize,
}

impl RedisBaseline {
    /// Connects to the server at `port`, loads the scripts and registers, as a node would. `payload` is the bytes of an
    /// event's data.
    pub(super) fn new(port: u16, payload: usize) -> Result<Self> {
        let mut calls = RespConnection::connect(port)?;
        let mut load = |own: &str| calls.ask(&["SCRIPT", "LOAD", &[APPLICATION, own].join("\n")]);
        let register = load(REGISTER)?;
        let publish = load(PUBLISH)?.first().to_owned();
        let registration = [RUN, EPOCH, OWNER, "1", "86400000", "0", "0123456789abcdef", "0"];
        let register = [&["EVALSHA", register.first(), "1", KEY], &registration[..]].concat();
        let answer = calls.ask(&register)?;
        ensure!(answer.first() == "ok", "the registration was answered: {answer:?}");
        let mut messages = RespConnection::connect(port)?;
        messages.ask(&["SUBSCRIBE", CHANNEL])?;
        Ok(Self {
            calls,
            messages,
            publish,
            n: 0,
            payload,
        })
    }

    /// Calls the script in a pipelined loop for `time`, with `batch` events a call. How many events that made, and in
    /// what time.
    pub(super) fn events(&mut self, time: Duration, batch: usize) -> Result<(u64, Duration)> {
        let (window, began) = ((WINDOW / batch).max(2), Instant::now());
        let (mut unanswered, mut calls) = (0, 0);
        loop {
            let is_over = began.elapsed() >= time;
            if is_over && unanswered == 0 {
                break;
            }
            if !is_over && unanswered <= window / 2 {
                for _ in unanswered..window {
                    self.put_call(batch);
                }
                self.calls.flush()?;
                unanswered = window;
            }
            let reply = self.calls.reply()?;
            ensure!(reply.first() == "ok", "a publication was answered: {reply:?}");
            unanswered -= 1;
            calls += 1;
        }
        Ok((calls * batch as u64, began.elapsed()))
    }

    fn put_call(&mut self, batch: usize) {
        self.n += 1;
        let n = self.n.to_string();
        let (entries, age, bytes) = (LOG_ENTRIES.to_string(), LOG_AGE_MS.to_string(), LOG_BYTES.to_string());
        let origin = format!("{:016x}", 0x0123_4567_89ab_cdef_u64.wrapping_add(self.n));
        let d = NumberedEvent {
            sender: 0,
            number: self.n,
        }
        .data(self.payload);
        let head = [
            "EVALSHA",
            &self.publish,
            "1",
            KEY,
            RUN,
            EPOCH,
            OWNER,
            "1",
            &n,
            &entries,
            &age,
            &bytes,
            "-",
            "-",
            "1",
        ];
        let event = ["all", "1", AUTHOR, &origin, "-", "announce", &d];
        let mut words = head.to_vec();
        for _ in 0..batch {
            words.extend(event);
        }
        self.calls.put(&words);
    }

    /// From publishing a message on one connection to reading it on the other, one at a time, for `time`.
    pub(super) fn messages(&mut self, time: Duration, latencies: &mut Latencies) -> Result<()> {
        let until = Instant::now() + time;
        let mut number = 0;
        while Instant::now() < until {
            let d = NumberedEvent { sender: 0, number }.data(self.payload);
            self.calls.put(&["PUBLISH", CHANNEL, &d]);
            let sent = Instant::now();
            self.calls.flush()?;
            let message = self.messages.reply()?;
            latencies.add(sent.elapsed());
            let RespValue::List(words) = message else {
                bail!("a message that is none: {message:?}");
            };
            ensure!(
                words.get(2).map(RespValue::first) == Some(&d),
                "another message than was sent"
            );
            self.calls.reply()?;
            number += 1;
        }
        Ok(())
    }

    /// Has Redis write its append-only file anew, and waits for the end of that, so that it does not do so by itself
    /// while something is measured.
    pub(super) fn rewrite_aof(&mut self) -> Result<()> {
        self.calls.ask(&["BGREWRITEAOF"])?;
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let info = self.calls.ask(&["INFO", "persistence"])?;
            let is_busy = |line: &str| line == "aof_rewrite_in_progress:1" || line == "aof_rewrite_scheduled:1";
            if !info.first().lines().any(is_busy) {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "Redis does not get done with its append-only file"
            );
            // Blocks for a moment: a key that nobody pushes to.
            self.calls
                .ask(&["BLPOP", "utilbot:{yardstick}:pause", "0.05"])
                .context("waiting for Redis")?;
        }
    }
}
