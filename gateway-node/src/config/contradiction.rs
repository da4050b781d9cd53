//! What is wrong with a configuration although every value of it is right.

use std::collections::HashSet;

use super::{Settings, error::ConfigError};

/// The first contradiction, in a fixed order.
pub(super) fn find(settings: &Settings) -> Result<(), ConfigError> {
    redis(settings)?;
    tls(settings)?;
    outbox(settings)?;
    log_age(settings)?;
    drain(settings)?;
    applications(settings)?;
    keys(settings)?;
    events(settings)?;
    development(settings)
}

fn redis(settings: &Settings) -> Result<(), ConfigError> {
    let Some(url) = &settings.redis.url else {
        return match settings.redis.ca {
            Some(_) => Err(settings.problem("redis.ca", "redis.url beside it")),
            None => Ok(()),
        };
    };
    let url = url.expose();
    if !url.starts_with("redis://") && !url.starts_with("rediss://") {
        return Err(settings.problem("redis.url", "a URL that starts with redis:// or rediss://"));
    }
    if settings.redis.ca.is_some() && !url.starts_with("rediss://") {
        return Err(settings.problem("redis.ca", "a redis.url that starts with rediss://"));
    }
    Ok(())
}

fn tls(settings: &Settings) -> Result<(), ConfigError> {
    let expected = "server.tls.certificate and server.tls.key, or neither";
    match (&settings.server.tls.certificate, &settings.server.tls.key) {
        (Some(_), None) => Err(settings.problem("server.tls.certificate", expected)),
        (None, Some(_)) => Err(settings.problem("server.tls.key", expected)),
        _ => Ok(()),
    }
}

fn outbox(settings: &Settings) -> Result<(), ConfigError> {
    let (outbox, message) = (settings.limits.outbox_bytes, settings.limits.message_bytes);
    if outbox >= message {
        return Ok(());
    }
    let expected = format!("limits.outbox_bytes ({outbox}) to hold one message of limits.message_bytes ({message})");
    Err(settings.problem_of(&["limits.outbox_bytes", "limits.message_bytes"], expected))
}

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
        "drain.balancer_wait_ms ({}), drain.spread_ms ({}) and limits.evict_linger_ms ({linger}) together under drain.deadline_ms ({})",
        drain.balancer_wait_ms, drain.spread_ms, drain.deadline_ms
    );
    let keys = [
        "drain.deadline_ms",
        "drain.balancer_wait_ms",
        "drain.spread_ms",
        "limits.evict_linger_ms",
    ];
    Err(settings.problem_of(&keys, expected))
}

fn applications(settings: &Settings) -> Result<(), ConfigError> {
    let mut seen = HashSet::new();
    for (index, application) in settings.applications.iter().enumerate() {
        if !seen.insert(&application.id) {
            return Err(settings.problem(&format!("applications[{index}].id"), "ids that differ"));
        }
    }
    Ok(())
}

fn keys(settings: &Settings) -> Result<(), ConfigError> {
    let mut seen = HashSet::new();
    for (index, key) in settings.keys.iter().enumerate() {
        if !seen.insert(&key.id) {
            return Err(settings.problem(&format!("keys[{index}].id"), "ids that differ"));
        }
        if key.secret.is_some() == key.hash.is_some() {
            let expected = "exactly one of secret and hash beside it";
            return Err(settings.problem(&format!("keys[{index}].id"), expected));
        }
        if !settings
            .applications
            .iter()
            .any(|application| application.id == key.application)
        {
            let ids: Vec<_> = settings
                .applications
                .iter()
                .map(|application| application.id.as_str())
                .collect();
            let expected = format!("one of the applications {}", ids.join(", "));
            return Err(settings.problem(&format!("keys[{index}].application"), expected));
        }
    }
    Ok(())
}

fn events(settings: &Settings) -> Result<(), ConfigError> {
    let mut seen = HashSet::new();
    for (index, event) in settings.events.iter().enumerate() {
        if !seen.insert(&event.name) {
            return Err(settings.problem(&format!("events[{index}].name"), "names that differ"));
        }
    }
    Ok(())
}

fn development(settings: &Settings) -> Result<(), ConfigError> {
    if settings.development() && !settings.server.bind.ip().to_canonical().is_loopback() {
        let expected =
            "a loopback address such as 127.0.0.1, or a key in [[keys]], since nothing guards the node without one";
        return Err(settings.problem("server.bind", expected));
    }
    Ok(())
}
