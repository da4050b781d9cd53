//! `gateway-node top`: live rates and latencies of a node, and its busiest sessions.

use std::{
    collections::HashMap,
    fmt::Write as _,
    io::{self, IsTerminal as _, Write},
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use shared::session_id::SessionId;

use super::{
    cluster::ClusterAnswer,
    query::{EXIT_CODES, Query, QueryArgs, QueryError},
    scrape::Scrape,
    sessions::{FilterArgs, Sessions, client},
    table::Table,
    units::{age, bytes, rate},
};
use crate::{
    config::Permission,
    registry::{ListedSession, SessionDetails},
};

/// The most sessions that are compared. Beyond that, the first ones by id are.
const SESSIONS: usize = 5000;
/// What clears a terminal and moves to its upper left corner.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// The options of `top`.
#[derive(Debug, Clone, Args)]
#[command(after_help = format!("Examples:\n  gateway-node top --config /etc/utilbot/gateway.toml\n  \
                              gateway-node top --type discord --sort waiting --interval-ms 5000\n\n\
                              Rates are of the node that is asked, sessions of the whole cluster. The key needs the \
                              permissions `read` and, unless the node's metrics are public, `admin`. Ctrl-C ends it. \
                              {EXIT_CODES}"))]
pub struct TopArgs {
    /// A node, and the key.
    #[command(flatten)]
    pub query: QueryArgs,
    /// Which sessions.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// The time between two screens
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(100..=3_600_000))]
    pub interval_ms: u64,
    /// Stop after this many screens
    #[arg(long, value_name = "N")]
    pub count: Option<usize>,
    /// The number of sessions on a screen
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub rows: usize,
    /// What the busiest sessions have most of
    #[arg(long, value_enum, default_value_t = SortBy::Out)]
    pub sort: SortBy,
}

/// What sessions are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SortBy {
    /// Bytes to the client per second
    Out,
    /// Bytes from the client per second
    In,
    /// Events to the client per second
    Events,
    /// Bytes that the client does not read
    Waiting,
}

/// A node and its sessions at one time.
struct Moment {
    at: Instant,
    cluster: ClusterAnswer,
    scrape: Scrape,
    sessions: Vec<ListedSession>,
}

/// Prints screens until it is ended.
pub(super) fn run(
    args: &TopArgs,
    environment: impl IntoIterator<Item = (String, String)>,
    out: &mut dyn Write,
) -> Result<(), QueryError> {
    // Metrics need it, unless they are public.
    let query = Query::new(&args.query, Permission::Admin, environment)?;
    let interval = Duration::from_millis(args.interval_ms);
    let is_terminal = io::stdout().is_terminal();
    let mut before = look(&query, args)?;
    let mut left = args.count.unwrap_or(usize::MAX);
    while left > 0 {
        wait(interval);
        let now = look(&query, args)?;
        let screen = screen(&before, &now, args);
        let clear = if is_terminal { CLEAR } else { "" };
        write!(out, "{clear}{screen}")?;
        out.flush()?;
        before = now;
        left -= 1;
    }
    Ok(())
}

/// Waits for the next screen. Blocks the thread: the command sends its requests with a blocking client, so it has no
/// runtime whose timer could be awaited.
#[expect(
    clippy::disallowed_methods,
    reason = "the command has no sessions that it could block"
)]
fn wait(interval: Duration) {
    std::thread::sleep(interval);
}

fn look(query: &Query, args: &TopArgs) -> Result<Moment, QueryError> {
    let at = crate::clock::monotonic();
    let scrape = Scrape::parse(&query.get("/metrics")?);
    let cluster = query.parse(&query.get("/api/v1/cluster")?)?;
    let Sessions { sessions, .. } = args.filter.list(query, SESSIONS)?;
    Ok(Moment {
        at,
        cluster,
        scrape,
        sessions,
    })
}

fn screen(before: &Moment, now: &Moment, args: &TopArgs) -> String {
    let seconds = now.at.saturating_duration_since(before.at).as_secs_f64().max(0.001);
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write!(text, "{}", head(before, now, seconds));
    let _ = writeln!(text, "{}", busiest(before, now, seconds, args));
    text
}

/// Returns the lines about the node.
fn head(before: &Moment, now: &Moment, seconds: f64) -> String {
    let (earlier, scrape) = (&before.scrape, &now.scrape);
    let ClusterAnswer { node, nodes, sessions } = &now.cluster;
    let per_second = |name: &str| rate(scrape.growth(earlier, name) / seconds);
    let latency = |histogram: &str| {
        let quantile = |q| match scrape.quantile(earlier, histogram, q) {
            Some(took) => format!("{:.1} ms", took * 1000.0),
            None => "-".to_owned(),
        };
        format!("p50 {} p99 {}", quantile(0.5), quantile(0.99))
    };
    let live = nodes.iter().flatten().filter(|node| node.state == "live").count();
    let own = scrape.value("utilbot_sessions");
    // A node without Redis lists no nodes.
    let all = sessions
        .filter(|_| live > 0)
        .map_or_else(|| format!("{own}"), |sessions| sessions.to_string());
    let cpu = scrape.growth(earlier, "process_cpu_seconds_total") / seconds * 100.0;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a node has far fewer than 2^52 bytes"
    )]
    let memory = bytes(scrape.value("process_resident_memory_bytes") as u64);
    format!(
        "{} {}  up {}  nodes {}  sessions {own} here, {all} in all  cpu {cpu:.0} %  memory {memory}\n\
         accepted {}/s  delivered {}/s  packets in {}/s\n\
         publish {}  identify {}\n\n",
        node.name,
        node.version,
        age(Duration::from_secs(node.uptime_seconds)),
        live.max(1),
        per_second("utilbot_events_accepted_total"),
        per_second("utilbot_deliveries_total"),
        per_second("utilbot_payloads_received_total"),
        latency("utilbot_publish_seconds"),
        latency("utilbot_identify_seconds"),
    )
}

/// What a session did in a second.
struct Rates<'a> {
    session: &'a ListedSession,
    details: &'a SessionDetails,
    bytes_in: f64,
    bytes_out: f64,
    events_out: f64,
}

impl Rates<'_> {
    fn key(&self, sort: SortBy) -> f64 {
        match sort {
            SortBy::Out => self.bytes_out,
            SortBy::In => self.bytes_in,
            SortBy::Events => self.events_out,
            #[expect(clippy::cast_precision_loss, reason = "only for the order")]
            SortBy::Waiting => self.details.waiting_bytes as f64,
        }
    }
}

/// Returns the table of the busiest sessions.
fn busiest(before: &Moment, now: &Moment, seconds: f64, args: &TopArgs) -> Table<9> {
    let earlier: HashMap<SessionId, &SessionDetails> = before
        .sessions
        .iter()
        .filter_map(|session| Some((session.id, session.details.as_ref()?)))
        .collect();
    let described = now
        .sessions
        .iter()
        .filter_map(|session| Some((session, session.details.as_ref()?)));
    let mut rates: Vec<Rates<'_>> = described
        .map(|(session, details)| {
            let known = earlier.get(&session.id);
            // A session that has reconnected counts from 0 again.
            #[expect(clippy::cast_precision_loss, reason = "a rate needs no exact number")]
            let per_second = |count: fn(&SessionDetails) -> u64| {
                let now = count(details);
                let before = known.map_or(now, |known| count(known));
                now.saturating_sub(before) as f64 / seconds
            };
            Rates {
                session,
                details,
                bytes_in: per_second(|details| details.bytes_in),
                bytes_out: per_second(|details| details.bytes_out),
                events_out: per_second(|details| details.events_out),
            }
        })
        .collect();
    rates.sort_by(|one, other| other.key(args.sort).total_cmp(&one.key(args.sort)));
    let mut table = Table::new([
        "SESSION", "TYPE", "KEY", "NODE", "IN/s", "OUT/s", "EVENTS/s", "WAITING", "CLIENT",
    ]);
    for Rates {
        session,
        details,
        bytes_in,
        bytes_out,
        events_out,
    } in rates.into_iter().take(args.rows)
    {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate is not negative"
        )]
        let whole = |per_second: f64| bytes(per_second as u64);
        table.add([
            session.id.to_string(),
            session.kind.clone(),
            session.key.clone(),
            session.node.clone(),
            whole(bytes_in),
            whole(bytes_out),
            rate(events_out),
            bytes(details.waiting_bytes),
            client(details).to_owned(),
        ]);
    }
    table
}
