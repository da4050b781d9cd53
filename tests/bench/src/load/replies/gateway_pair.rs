//! Requests through the gateway: from a website to a bot that replies at once.

use std::{net::SocketAddr, thread};

use anyhow::{Context as _, Result, bail, ensure};
use gateway_harness::{frame, key};
use serde::Deserialize;

use super::{
    super::blocking_session::BlockingSession,
    responder::{ANSWER, Requester},
};

/// The event of the requests: each guild has one bot.
pub(super) const EVENT: &str = r#"
[[events]]
name = "ask"
from = ["website"]
to = ["bot"]
deliver = { guild = "/guildId" }
reply = true
reply_timeout_ms = 30000
"#;

/// A website that asks one bot.
pub(super) struct GatewayRequester {
    session: BlockingSession,
    guild: u64,
    padding: String,
}

impl GatewayRequester {
    /// Connects a bot to `to`, which alone has the guild, and a website to `from`. A request has about `payload` bytes.
    pub(super) fn connect(from: SocketAddr, to: SocketAddr, guild: u64, payload: usize) -> Result<Self> {
        let mut bot = BlockingSession::open(to, "bot", &key("bot"))?;
        let report = format!(r#"{{"op":1,"t":"send_servers","n":"report","d":{{"guilds":["{guild}"]}}}}"#);
        bot.send(&frame::text(&report))?;
        let mut is_reported = false;
        while !is_reported {
            let is_there = bot.read(|payload| is_reported |= contains(payload, b"event_accepted"))?;
            ensure!(is_there, "the report of a bot is not accepted");
        }
        bot.set_read_timeout(ANSWER * 100)?;
        thread::spawn(move || respond(bot));
        let session = BlockingSession::open(from, "website", &key("website"))?;
        session.set_read_timeout(ANSWER)?;
        Ok(Self {
            session,
            guild,
            padding: "x".repeat(payload),
        })
    }
}

impl Requester for GatewayRequester {
    fn ask(&mut self, number: u64) -> Result<()> {
        let Self { guild, padding, .. } = self;
        let request = format!(r#"{{"op":1,"t":"ask","n":{number},"d":{{"guildId":"{guild}","padding":"{padding}"}}}}"#);
        self.session.send(&frame::text(&request))
    }

    fn replies(&mut self, each: &mut dyn FnMut(u64)) -> Result<()> {
        #[derive(Deserialize)]
        struct Reply<'a> {
            t: &'a str,
            n: u64,
        }

        let mut wrong = None;
        let is_there = self.session.read(|payload| match serde_json::from_slice(payload) {
            Ok(Reply { t: "reply", n }) => each(n),
            _ => wrong = Some(String::from_utf8_lossy(payload).into_owned()),
        })?;
        ensure!(is_there, "no reply within {ANSWER:?}");
        ensure!(wrong.is_none(), "{wrong:?} instead of a reply");
        Ok(())
    }
}

/// Replies to every request until the connection ends.
fn respond(mut bot: BlockingSession) -> Result<()> {
    #[derive(Deserialize)]
    struct Request<'a> {
        r: &'a str,
    }

    loop {
        let mut replies = Vec::new();
        let is_there = bot.read(|payload| {
            // Guild counts have no receipt.
            if let Ok(Request { r }) = serde_json::from_slice(payload) {
                let reply = format!(r#"{{"op":1,"t":"reply","r":"{r}","d":{{"prefix":"!"}}}}"#);
                replies.extend(frame::text(&reply));
            }
        })?;
        if !is_there {
            bail!("the bot has nothing to do any more");
        }
        if !replies.is_empty() {
            bot.send(&replies).context("replying")?;
        }
    }
}

fn contains(payload: &[u8], what: &[u8]) -> bool {
    payload.windows(what.len()).any(|window| window == what)
}
