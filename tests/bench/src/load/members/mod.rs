//! The cost of requests for all members of a large guild, for another application and for the node.

mod heartbeat_session;
mod report;
mod requester;

use std::{path::PathBuf, thread, time::Duration};

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::Parser;
use serde_json::json;

pub use self::report::MembersReport;
use self::{heartbeat_session::HeartbeatSession, requester::MemberRequester};
use super::{
    cores::on_a_thread,
    gateway::{Gateway, binary},
    http::Http,
};

/// The secret of both keys.
const SECRET: &str = "members-load-tool-0123456789abcdef";
/// The id of the guild.
const GUILD: u64 = 100_000 << 22;
/// The most members in one request of the HTTP API.
const PUT: u64 = 1000;
/// How long heartbeats are measured before the requests.
const BASELINE: Duration = Duration::from_secs(3);
/// How often the node's memory is read.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Two applications: one requests members, the other sends heartbeats.
const FILE: &str = r#"
[[applications]]
id = "asks"
max_concurrency = 1000

[[applications]]
id = "beats"
max_concurrency = 1000

[[keys]]
id = "asks"
application = "asks"
type = ["bot", "service"]
permissions = ["publish", "read", "admin"]
secret = "members-load-tool-0123456789abcdef"

[[keys]]
id = "beats"
application = "beats"
type = "bot"
secret = "members-load-tool-0123456789abcdef"
"#;

/// Requests all members of a guild many times at once, and measures the heartbeats of another application.
#[derive(Debug, Clone, Parser)]
#[command(name = "members")]
pub struct MembersOptions {
    /// Members of the guild
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub members: u64,
    /// Sessions that request members
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub sessions: u32,
    /// Requests per session, all at once
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=120))]
    pub requests: u32,
    /// Path of the node's binary, if it is not in the directory of this program
    #[arg(long, value_name = "PATH")]
    pub gateway: Option<PathBuf>,
    /// Writes the result to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Runs a node and its clients.
///
/// # Errors
/// Fails if the node does not start, refuses the guild, or closes the session of the other application.
pub fn run(options: &MembersOptions) -> Result<MembersReport> {
    on_a_thread(|| run_here(options))
}

fn run_here(options: &MembersOptions) -> Result<MembersReport> {
    let settings = [
        ("discord.member_list_interval_ms", "0".to_owned()),
        ("discord.payloads_per_minute", "1000000".to_owned()),
        ("discord.hello_delay_ms", "0".to_owned()),
    ];
    let gateway = Gateway::start_with(&binary(options.gateway.as_deref())?, &settings, FILE)?;
    put_guild(&gateway, options.members)?;
    let (asks, beats) = (format!("asks.{SECRET}"), format!("beats.{SECRET}"));
    let mut heartbeats = HeartbeatSession::connect(gateway.address, &beats)?;
    let requesters: Result<Vec<_>> = (0..options.sessions)
        .map(|_| MemberRequester::connect(gateway.address, &asks))
        .collect();
    let baseline = heartbeats.beat_while(|elapsed| Ok(elapsed < BASELINE))?;
    let before = gateway.usage()?;
    let threads: Vec<_> = requesters?
        .into_iter()
        .map(|mut requester| {
            let (requests, members) = (options.requests, options.members);
            thread::spawn(move || requester.ask(GUILD, requests, members))
        })
        .collect();
    let (mut peak_kib, mut looked) = (before.resident_kib, Duration::ZERO);
    let beside = heartbeats.beat_while(|elapsed| {
        if elapsed >= looked {
            looked = elapsed + POLL_INTERVAL;
            peak_kib = peak_kib.max(gateway.usage()?.resident_kib);
        }
        Ok(threads.iter().any(|thread| !thread.is_finished()))
    })?;
    let after = gateway.usage()?;
    let mut lost = Vec::new();
    for thread in threads {
        let asked = thread.join().map_err(|_| anyhow!("a requesting thread panicked"))?;
        lost.extend(asked.err().map(|error| format!("{error:#}")));
    }
    Ok(MembersReport {
        members: options.members,
        sessions: options.sessions,
        requests: options.requests,
        seconds: beside.1.as_secs_f64(),
        cpu_ms: after.cpu_us_since(&before) / 1000.0,
        baseline: baseline.0.summary(),
        beside: beside.0.summary(),
        before_kib: before.resident_kib,
        peak_kib: peak_kib.max(after.resident_kib),
        lost,
    })
}

/// Creates the guild and its members through the HTTP API.
fn put_guild(gateway: &Gateway, members: u64) -> Result<()> {
    let mut http = Http::connect(gateway.address, &format!("asks.{SECRET}"))?;
    let path = format!("/api/v1/applications/asks/guilds/{GUILD}");
    let mut put = |path: &str, body: &serde_json::Value| -> Result<()> {
        let (status, answer) = http.put(path, &body.to_string()).context("creating the guild")?;
        ensure!(status == 202, "PUT {path} failed with {status}: {answer}");
        Ok(())
    };
    let guild = json!({
        "id": GUILD.to_string(), "name": "large", "members": [], "channels": [], "roles": [], "member_count": members,
    });
    put(&path, &guild)?;
    let ids: Vec<u64> = (1..=members).map(member_id).collect();
    for some in ids.chunks(usize::try_from(PUT)?) {
        let members: Vec<_> = some.iter().map(|id| member(*id)).collect();
        put(&format!("{path}/members"), &json!(members))?;
    }
    Ok(())
}

/// Returns the id of member `number`.
const fn member_id(number: u64) -> u64 {
    (200_000 + number) << 22
}

fn member(id: u64) -> serde_json::Value {
    json!({
        "user": {"id": id.to_string(), "username": format!("user-{id}"), "avatar": null, "discriminator": "0"},
        "nick": null, "roles": [], "joined_at": "2026-01-01T00:00:00Z", "deaf": false, "mute": false,
    })
}
