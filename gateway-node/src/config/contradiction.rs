//! Contradictions between values that are valid on their own.

use std::{collections::HashSet, net::IpAddr};

use super::{
    draft::Draft,
    error::{ConfigError, boundary},
    event::EventSettings,
    likeness::nearest,
    settings::Settings,
};

/// The form of a Redis URL, for errors.
pub(crate) const REDIS_URL: &str = "redis://[[user]:password@]host[:port][/db] or rediss:// for TLS, with \
    special characters in the user and password percent-encoded (@ is %40, : %3A, / %2F, # %23, ? %3F, % %25)";

/// The form of the URL of a Redis with a Unix socket, for errors.
const REDIS_UNIX_URL: &str = "redis+unix:///path/of/the.sock, and after it at most ?db=NUMBER&user=NAME&pass=PASSWORD, with \
    special characters percent-encoded (& is %26, + %2B, # %23, % %25)";

/// Finds every contradiction, in a fixed order.
pub(super) fn find(draft: &mut Draft) {
    draft.check(&["redis.url", "redis.ca", "redis.certificate", "redis.key"], redis);
    draft.check(&["server.tls.certificate", "server.tls.key"], tls);
    draft.check(&["server.bind", "server.tls.certificate"], unix_tls);
    draft.check(&["server.bind", "server.unix_mode"], unix_mode);
    draft.check(&["limits.outbox_bytes", "limits.message_bytes"], outbox);
    draft.check(&["tickets.ttl_ms", "tickets.max_ttl_ms"], ticket_ttl);
    draft.check(&["tickets.session_ms", "tickets.max_session_ms"], ticket_session);
    draft.check(&LOG_AGE, log_age);
    draft.check(&DRAIN, drain);
    listeners(draft);
    applications(draft);
    keys(draft);
    events(draft);
    if draft.findings().trusts_length("keys") {
        draft.check(&["server.bind", "redis.url", "keys"], development);
    }
}

fn redis(settings: &Settings) -> Result<(), ConfigError> {
    let Some(url) = &settings.redis.url else {
        return match redis_files(settings).next() {
            Some(file) => Err(settings.problem(file, "redis.url to be set too")),
            None => Ok(()),
        };
    };
    let url = url.expose();
    let Some((scheme @ ("redis" | "rediss" | "redis+unix" | "unix"), rest)) = url.split_once("://") else {
        return Err(settings.problem(
            "redis.url",
            "a URL that starts with redis://, rediss:// or redis+unix://",
        ));
    };
    if scheme.ends_with("unix") && !is_unix_url(rest) {
        return Err(settings.problem("redis.url", REDIS_UNIX_URL));
    }
    // A `/`, `?` or `#` in a password that is not encoded ends the authority early, and the rest may pass for a
    // different server.
    let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    if !scheme.ends_with("unix") && rest[boundary(rest, authority)..].contains('@') {
        return Err(settings.problem("redis.url", REDIS_URL));
    }
    if rest.contains('#') {
        return Err(settings.problem(
            "redis.url",
            "a URL without #: with rediss://, the certificate of the server is always checked, against redis.ca if it \
             is set",
        ));
    }
    if scheme != "rediss"
        && let Some(file) = redis_files(settings).next()
    {
        return Err(settings.problem(file, "a redis.url that starts with rediss://"));
    }
    let expected = "redis.certificate and redis.key, or neither";
    match (&settings.redis.certificate, &settings.redis.key) {
        (Some(_), None) => Err(settings.problem("redis.certificate", expected)),
        (None, Some(_)) => Err(settings.problem("redis.key", expected)),
        _ => Ok(()),
    }
}

/// Returns whether the part of a URL after `://` names a Unix socket. The client ignores parameters that it does not
/// know, so a mistyped one would pass for none.
fn is_unix_url(rest: &str) -> bool {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut parameters = form_urlencoded::parse(query.as_bytes());
    path.len() > 1
        && path.starts_with('/')
        && !rest.contains('#')
        && parameters.all(|(name, _)| matches!(&*name, "db" | "user" | "pass"))
}

/// Returns the settings that name files for TLS with Redis, as far as they are set.
fn redis_files(settings: &Settings) -> impl Iterator<Item = &'static str> {
    let files = [
        ("redis.ca", settings.redis.ca.is_some()),
        ("redis.certificate", settings.redis.certificate.is_some()),
        ("redis.key", settings.redis.key.is_some()),
    ];
    files.into_iter().filter_map(|(name, is_set)| is_set.then_some(name))
}

fn tls(settings: &Settings) -> Result<(), ConfigError> {
    let expected = "server.tls.certificate and server.tls.key, or neither";
    match (&settings.server.tls.certificate, &settings.server.tls.key) {
        (Some(_), None) => Err(settings.problem("server.tls.certificate", expected)),
        (None, Some(_)) => Err(settings.problem("server.tls.key", expected)),
        _ => Ok(()),
    }
}

fn unix_tls(settings: &Settings) -> Result<(), ConfigError> {
    if settings.server.bind.unix().is_some() && settings.server.tls.certificate.is_some() {
        let expected = "no certificate, because server.bind is a Unix socket: the proxy in front of it speaks TLS";
        return Err(settings.problem("server.tls.certificate", expected));
    }
    Ok(())
}

fn unix_mode(settings: &Settings) -> Result<(), ConfigError> {
    if settings.server.unix_mode.is_some() && settings.server.bind.unix().is_none() {
        return Err(settings.problem("server.unix_mode", "server.bind to be a Unix socket too"));
    }
    Ok(())
}

fn outbox(settings: &Settings) -> Result<(), ConfigError> {
    let (outbox, message) = (settings.limits.outbox_bytes, settings.limits.message_bytes);
    if outbox >= message {
        return Ok(());
    }
    let expected = format!("limits.outbox_bytes ({outbox}) to hold one message of limits.message_bytes ({message})");
    Err(settings.problem_of(&["limits.outbox_bytes", "limits.message_bytes"], expected))
}

fn ticket_ttl(settings: &Settings) -> Result<(), ConfigError> {
    let (usual, most) = (settings.tickets.ttl_ms, settings.tickets.max_ttl_ms);
    if usual <= most {
        return Ok(());
    }
    Err(settings.problem("tickets.ttl_ms", format!("at most tickets.max_ttl_ms ({most})")))
}

fn ticket_session(settings: &Settings) -> Result<(), ConfigError> {
    let (usual, most) = (settings.tickets.session_ms, settings.tickets.max_session_ms);
    if usual <= most {
        return Ok(());
    }
    Err(settings.problem("tickets.session_ms", format!("at most tickets.max_session_ms ({most})")))
}

/// The settings that decide how old entries of the log become.
const LOG_AGE: [&str; 3] = [
    "cluster.log_age_ms",
    "session.resume_window_ms",
    "discord.heartbeat_interval_ms",
];

fn log_age(settings: &Settings) -> Result<(), ConfigError> {
    let least = settings.resumable_ms();
    if settings.cluster.log_age_ms >= least {
        return Ok(());
    }
    let expected = format!(
        "at least {least}: session.resume_window_ms ({}) and two discord.heartbeat_interval_ms ({})",
        settings.session.resume_window_ms, settings.discord.heartbeat_interval_ms
    );
    Err(settings.problem("cluster.log_age_ms", expected))
}

/// The settings that decide how long a drain takes.
const DRAIN: [&str; 4] = [
    "drain.deadline_ms",
    "drain.balancer_wait_ms",
    "drain.spread_ms",
    "limits.evict_linger_ms",
];

fn drain(settings: &Settings) -> Result<(), ConfigError> {
    let drain = &settings.drain;
    let linger = settings.limits.evict_linger_ms;
    let work = drain
        .balancer_wait_ms
        .saturating_add(drain.spread_ms)
        .saturating_add(linger);
    if work < drain.deadline_ms {
        return Ok(());
    }
    let expected = format!(
        "drain.balancer_wait_ms ({}), drain.spread_ms ({}) and limits.evict_linger_ms ({linger}) to add up to less \
         than drain.deadline_ms ({})",
        drain.balancer_wait_ms, drain.spread_ms, drain.deadline_ms
    );
    Err(settings.problem_of(&DRAIN, expected))
}

/// Checks that no two listeners share an address. Whether another process has it shows only on bind.
fn listeners(draft: &mut Draft) {
    const LISTENERS: [&str; 3] = ["server.bind", "admin.bind", "test.echo_bind"];
    for (index, later) in LISTENERS.iter().enumerate() {
        for earlier in &LISTENERS[..index] {
            draft.check(&[earlier, later], |settings| {
                let bind = |key: &str| match key {
                    "server.bind" => settings.server.bind.tcp(),
                    "admin.bind" => settings.admin.bind,
                    _ => settings.test.echo_bind,
                };
                match (bind(earlier), bind(later)) {
                    (Some(one), Some(other))
                        if one.port() == other.port() && overlap(one.ip(), other.ip()) && one.port() != 0 =>
                    {
                        Err(settings.problem(later, format!("an address other than that of {earlier} ({one})")))
                    }
                    _ => Ok(()),
                }
            });
        }
    }
}

/// Returns whether a listener at one address prevents another from binding the same port at the other address.
pub(super) fn overlap(one: IpAddr, other: IpAddr) -> bool {
    let (one, other) = (one.to_canonical(), other.to_canonical());
    // The unspecified IPv6 address also accepts connections over IPv4.
    let covers = |all: IpAddr, ip: IpAddr| all.is_unspecified() && (all.is_ipv6() || ip.is_ipv4());
    one == other || covers(one, other) || covers(other, one)
}

fn applications(draft: &mut Draft) {
    let mut seen = HashSet::new();
    for index in 0..draft.settings().applications.len() {
        let key = format!("applications[{index}].id");
        draft.check(&[&key], |settings| {
            if seen.insert(settings.applications[index].id.clone()) {
                Ok(())
            } else {
                Err(settings.problem(&key, "a unique id"))
            }
        });
    }
}

fn keys(draft: &mut Draft) {
    let mut seen = HashSet::new();
    for index in 0..draft.settings().keys.len() {
        let [id, secret, hash, application] =
            ["id", "secret", "hash", "application"].map(|field| format!("keys[{index}].{field}"));
        draft.check(&[&id], |settings| {
            if seen.insert(settings.keys[index].id.clone()) {
                Ok(())
            } else {
                Err(settings.problem(&id, "a unique id"))
            }
        });
        draft.check(&[&id, &secret, &hash], |settings| {
            let key = &settings.keys[index];
            if key.secret.is_some() == key.hash.is_some() {
                Err(settings.problem(&id, "exactly one of secret and hash in this entry"))
            } else {
                Ok(())
            }
        });
        draft.check(&[&application, "applications"], |settings| {
            let wanted = &settings.keys[index].application;
            let ids: Vec<_> = settings.applications.iter().map(|known| known.id.as_str()).collect();
            if ids.contains(&wanted.as_str()) {
                return Ok(());
            }
            let asked = nearest(wanted, ids.iter().copied());
            let asked = asked.map_or(String::new(), |meant| format!("; did you mean {meant}?"));
            let expected = format!("one of the applications {}{asked}", ids.join(", "));
            Err(settings.problem(&application, expected))
        });
    }
}

fn events(draft: &mut Draft) {
    let mut seen = HashSet::new();
    for index in 0..draft.settings().events.len() {
        let key = format!("events[{index}].name");
        draft.check(&[&key], |settings| {
            if seen.insert(settings.events[index].name.clone()) {
                Ok(())
            } else {
                Err(settings.problem(&key, "a unique name"))
            }
        });
        reply(draft, index);
        job(draft, index);
    }
}

/// Checks the settings of an event that is a request, or is none.
fn reply(draft: &mut Draft, index: usize) {
    let [reply, require_receiver, timeout, schema] = ["reply", "require_receiver", "reply_timeout_ms", "reply_schema"]
        .map(|field| format!("events[{index}].{field}"));
    draft.check(&[&reply, &require_receiver], |settings| {
        let event = &settings.events[index];
        if event.reply && event.require_receiver.is_some() {
            return Err(settings.problem(
                &require_receiver,
                "no value, because a request always needs a live receiver",
            ));
        }
        Ok(())
    });
    for (field, is_set) in [
        (
            &timeout,
            (|event| event.reply_timeout_ms.is_some()) as fn(&EventSettings) -> bool,
        ),
        (&schema, |event| event.reply_schema.is_some()),
    ] {
        draft.check(&[&reply, field], |settings| {
            let event = &settings.events[index];
            if !event.reply && is_set(event) {
                return Err(settings.problem(field, "no value, or reply = true in this entry"));
            }
            Ok(())
        });
    }
}

/// Checks the settings of an event that is a job, or is none.
fn job(draft: &mut Draft, index: usize) {
    let [ack_timeout, require_receiver, attempts] =
        ["ack_timeout_ms", "require_receiver", "attempts"].map(|field| format!("events[{index}].{field}"));
    draft.check(&[&ack_timeout, &require_receiver], |settings| {
        let event = &settings.events[index];
        if event.ack_timeout_ms.is_some() && event.require_receiver.is_some() {
            return Err(settings.problem(&require_receiver, "no value, because a job waits for a worker"));
        }
        Ok(())
    });
    draft.check(&[&ack_timeout, &attempts], |settings| {
        let event = &settings.events[index];
        if event.ack_timeout_ms.is_none() && event.attempts.is_some() {
            return Err(settings.problem(&attempts, "no value, or ack_timeout_ms in this entry"));
        }
        Ok(())
    });
}

fn development(settings: &Settings) -> Result<(), ConfigError> {
    let is_wanted = settings.sources.development;
    if is_wanted && !settings.development() {
        let (path, thing) = if settings.keys.is_empty() {
            ("redis.url", "Redis")
        } else {
            ("keys[0]", "keys")
        };
        return Err(settings.problem(path, format!("no {thing} with --development")));
    }
    if !is_wanted && settings.development() && !settings.server.bind.is_local() {
        let expected = "a loopback address such as 127.0.0.1, a key in [[keys]], or --development: without keys the node \
                        serves loopback only";
        return Err(settings.problem("server.bind", expected));
    }
    Ok(())
}
