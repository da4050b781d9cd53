//! Redis without a node: the node's own publish script in a loop, and a bare PUBLISH to one subscriber.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::{
    super::latencies::Latencies,
    LOG_AGE_MS, LOG_BYTES, LOG_ENTRIES,
    bystander::wait_until,
    event::NumberedEvent,
    paced::Pace,
    resp::{RespConnection, RespValue},
};

/// The scripts that the baseline calls, with the functions that they share. It must run the node's own scripts.
const REGISTER: &[&str] = &[
    include_str!("../../../../../gateway-node/src/backends/redis/scripts/functions/keys.lua"),
    include_str!("../../../../../gateway-node/src/backends/redis/scripts/functions/log.lua"),
    include_str!("../../../../../gateway-node/src/backends/redis/scripts/register.lua"),
];
const PUBLISH: &[&str] = &[
    include_str!("../../../../../gateway-node/src/backends/redis/scripts/functions/keys.lua"),
    include_str!("../../../../../gateway-node/src/backends/redis/scripts/functions/log.lua"),
    include_str!("../../../../../gateway-node/src/backends/redis/scripts/functions/publications.lua"),
    include_str!("../../../../../gateway-node/src/backends/redis/scripts/publish_broadcasts.lua"),
];

/// Key prefix of an application that no node has.
const KEY: &str = "utilbot:{yardstick}:";
/// The run id, epoch, owner and author of the entries, as long as a node's.
const RUN: &str = "0123456789abcdef0123456789abcdef01234567";
const EPOCH: &str = "fedcba9876543210";
const OWNER: &str = "0123456789abcdef";
const AUTHOR: &str = "123456789012345678";
/// Events in flight.
const WINDOW: usize = 256;
/// The channel of the bare messages.
const CHANNEL: &str = "utilbot:{yardstick}:bare";

/// The baseline: one connection for calls, one for the subscription.
pub(super) struct RedisBaseline {
    calls: RespConnection,
    messages: RespConnection,
    publish: String,
    /// Publish calls so far.
    n: u64,
    payload: usize,
}

impl RedisBaseline {
    /// Connects to the server at `port`, loads the scripts and registers, as a node would. `payload` is the size of
    /// an event's data, in bytes.
    pub(super) fn new(port: u16, payload: usize) -> Result<Self> {
        let mut calls = RespConnection::connect(port)?;
        let mut load = |parts: &[&str]| calls.ask(&["SCRIPT", "LOAD", &parts.join("\n")]);
        let register = load(REGISTER)?;
        let publish = load(PUBLISH)?.first().to_owned();
        let registration = [RUN, EPOCH, OWNER, "1", "86400000", "0", "0123456789abcdef", "0"];
        let register = [&["EVALSHA", register.first(), "1", KEY], &registration[..]].concat();
        let answer = calls.ask(&register)?;
        ensure!(
            answer.first() == "ok",
            "unexpected reply to the registration: {answer:?}"
        );
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

    /// Calls the script in a pipelined loop for `time`, with `batch` events per call. Returns the number of events
    /// and the time they took.
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
            ensure!(reply.first() == "done", "unexpected reply to a publication: {reply:?}");
            unanswered -= 1;
            calls += 1;
        }
        Ok((calls * batch as u64, began.elapsed()))
    }

    fn put_call(&mut self, batch: usize) {
        self.n += 1;
        let (n, events) = (self.n.to_string(), batch.to_string());
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
            &events,
        ];
        let (head_of_event, rest) = (format!("a 1 {AUTHOR} - {origin} 8"), format!("announce{d}"));
        let event = [head_of_event.as_str(), rest.as_str()];
        let mut words = head.to_vec();
        for _ in 0..batch {
            words.extend(event);
        }
        self.calls.put(&words);
    }

    /// Measures the latency from publishing a message on one connection to reading it on the other, one message at a
    /// time. With `pace`, at its rate.
    pub(super) fn messages(&mut self, time: Duration, pace: Option<Pace>, latencies: &mut Latencies) -> Result<()> {
        let began = Instant::now();
        let mut count = 0;
        while began.elapsed() < time {
            if let Some(pace) = pace {
                wait_until(began + pace.due(count));
            }
            let number = count.into();
            let d = NumberedEvent { sender: 0, number }.data(self.payload);
            self.calls.put(&["PUBLISH", CHANNEL, &d]);
            let sent = Instant::now();
            self.calls.flush()?;
            let message = self.messages.reply()?;
            latencies.add(sent.elapsed());
            let RespValue::List(words) = message else {
                bail!("not a pub/sub message: {message:?}");
            };
            ensure!(
                words.get(2).map(RespValue::first) == Some(&d),
                "received a different message than was sent"
            );
            self.calls.reply()?;
            count += 1;
        }
        Ok(())
    }

    /// Makes Redis rewrite its append-only file and waits for it to finish, so that it does not start a rewrite
    /// during a measurement.
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
                "Redis has not finished rewriting its append-only file"
            );
            // Waits for a moment: nothing is ever pushed to this key.
            self.calls
                .ask(&["BLPOP", "utilbot:{yardstick}:pause", "0.05"])
                .context("waiting for Redis")?;
        }
    }
}
