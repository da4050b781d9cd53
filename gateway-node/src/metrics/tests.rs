use std::time::Duration;

use shared::v1::payload::GuildCount;

use super::*;

/// A node with one of each label, at a moment of its own.
pub(super) fn rendered(metrics: &Metrics) -> String {
    let moment = Moment {
        connections: 5,
        connections_limit: 1000,
        body_bytes: 1024,
        outbox_bytes: 2048,
        largest_outbox_bytes: 1500,
        outboxes_condemned: 7,
        delivery_queue_bytes: 300,
        held_bytes: 400,
        sessions: &[("bot", 3), ("none", 1)],
        is_draining: true,
        is_backplane_available: true,
        logs: &[LogMoment {
            application: "shop",
            lag: 2,
            lag_seconds: 0.25,
            counts: GuildCount {
                guilds: 1000,
                guild_members: 55_555,
                cached_guild_members: 32_000,
            },
            replay: ReplayMoment {
                bytes: 500,
                evicted_for_entries: 1,
                evicted_for_bytes: 2,
                evicted_for_age: 3,
            },
        }],
        log_lines_dropped: 7,
        process: ProcessUse {
            cpu_seconds: 1.5,
            resident_bytes: 4096,
            open_descriptors: 12,
            most_descriptors: 1024,
            started: 1_767_323_045.0,
        },
    };
    metrics.render(&moment).unwrap()
}

/// Metrics in which every family has a sample.
pub(super) fn one_of_each() -> Metrics {
    let metrics = Metrics::default();
    metrics.dropped("not_json");
    metrics.session_ended(4006);
    metrics.session_ending("no heartbeat");
    metrics.resume_over("resumed");
    metrics.http_response(Some("/api/v1/events".to_owned()), 202);
    metrics.accepted(&"shop".into(), 3, Duration::from_millis(1));
    metrics.connection_refused("full");
    metrics.upgrade_refused("draining");
    metrics.event_refused("invalid");
    metrics.request_over("reply");
    metrics.client_error("malformed request");
    metrics.certificate_expires("server", SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    metrics.redis.begin(&["publish"], &["unreachable"]);
    metrics
}

#[test]
fn every_counter_is_rendered() {
    let metrics = one_of_each();
    for bytes in [100, 20] {
        let worker = metrics.worker();
        worker.bytes_in.add(bytes);
        worker.frames_out.add(3);
        worker.deliveries.add(2);
        worker.evicted_for_age.add(1);
        worker.heartbeat.observe(Duration::from_micros(20));
    }
    metrics.redis.called("publish", Duration::from_millis(2));
    metrics.redis.error("unreachable");
    // Samples within a family come in no particular order.
    let text = rendered(&metrics);
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn every_histogram_has_a_bucket_without_a_bound() {
    let text = rendered(&one_of_each());
    let mut histograms = 0;
    for line in text.lines() {
        let Some(family) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.strip_suffix(" histogram"))
        else {
            continue;
        };
        let buckets = format!("{family}_bucket{{");
        let bounds = text.lines().filter(|line| line.starts_with(&buckets));
        // Without it, Prometheus computes no quantile.
        assert!(bounds.into_iter().any(|line| line.contains("le=\"+Inf\"")), "{family}");
        histograms += 1;
    }
    assert!(histograms > 5, "{text}");
}

#[test]
fn a_node_without_redis_has_no_families_of_redis() {
    assert!(!rendered(&Metrics::default()).contains("redis"));
}
