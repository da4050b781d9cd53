//! Short runs of the load tools. They fail on losses, never on slowness.

use clap::Parser as _;
use gateway_bench::load::{cluster, compare, heartbeat, members, replies, reports, scale, slow, strangers, unfinished};
use gateway_harness::ToolReport as _;

/// Runs a tool on a blocking thread, since it would block the test's own.
async fn run<R: Send + 'static>(tool: impl FnOnce() -> anyhow::Result<R> + Send + 'static) -> anyhow::Result<R> {
    tokio::task::spawn_blocking(tool).await?
}

#[tokio::test]
async fn load_a_thousand_sessions_heartbeat_and_none_is_lost() -> anyhow::Result<()> {
    let arguments = "heartbeat --no-pin --sessions 1000 --interval-ms 1000 --seconds 3";
    let options = heartbeat::HeartbeatOptions::parse_from(arguments.split(' '));
    let report = run(move || heartbeat::run(&options)).await?;
    assert_eq!(report.failures(), [""; 0], "{report}");
    assert_eq!(report.heartbeats, 3000);
    Ok(())
}

#[tokio::test]
async fn load_slow_clients_are_evicted_by_bytes_and_leave_nothing_behind() -> anyhow::Result<()> {
    let arguments = "slow --no-pin --stopped 20 --resuming 10 --drip 5 --healthy 10 --seconds 2 --settle-seconds 2 \
                     --outbox-bytes 131072 --rate 50";
    let options = slow::SlowOptions::parse_from(arguments.split_ascii_whitespace());
    let report = run(move || slow::run(&options)).await?;
    assert_eq!(report.failures(), [""; 0], "{report}");
    Ok(())
}

#[tokio::test]
async fn load_slow_clients_are_evicted_by_age() -> anyhow::Result<()> {
    let arguments = "slow --no-pin --stopped 10 --resuming 5 --drip 5 --healthy 10 --waves 1 --seconds 2 \
                     --settle-seconds 0 --outbox-bytes 268435456 --outbox-age-ms 500 --rate 50";
    let options = slow::SlowOptions::parse_from(arguments.split_ascii_whitespace());
    let report = run(move || slow::run(&options)).await?;
    assert_eq!(report.failures(), [""; 0], "{report}");
    Ok(())
}

#[tokio::test]
async fn load_slow_discord_clients_are_closed_and_resume_without_loss() -> anyhow::Result<()> {
    let arguments = "slow --no-pin --protocol discord --stopped 20 --resuming 10 --drip 5 --healthy 10 --seconds 2 \
                     --settle-seconds 2 --outbox-bytes 131072 --rate 50";
    let options = slow::SlowOptions::parse_from(arguments.split_ascii_whitespace());
    let report = run(move || slow::run(&options)).await?;
    assert_eq!(report.failures(), [""; 0], "{report}");
    assert!(report.phases[1..].iter().all(|wave| wave.resumed == 10), "{report}");
    Ok(())
}

#[tokio::test]
async fn load_outbox_memory_of_slow_clients_is_returned_to_the_system() -> anyhow::Result<()> {
    let arguments = "slow --no-pin --protocol discord --stopped 40 --resuming 0 --drip 0 --healthy 5 --waves 1 \
                     --seconds 2 --settle-seconds 7 --outbox-bytes 4194304 --rate 50";
    let options = slow::SlowOptions::parse_from(arguments.split_ascii_whitespace());
    let report = run(move || slow::run(&options)).await?;
    assert_eq!(report.failures(), [""; 0], "{report}");
    let wave = &report.phases[1];
    assert!(wave.after_kib < wave.peak_kib / 2, "{report}");
    Ok(())
}

#[tokio::test]
async fn load_three_nodes_lose_duplicate_and_reorder_nothing() -> anyhow::Result<()> {
    let options = cluster::ClusterLoadOptions::parse_from("cluster --rounds 1 --seconds 0.2".split(' '));
    let report = run(move || cluster::run(&options)).await?;
    assert_eq!(report.failures(), [""; 0], "{report}");
    let report = report.first().expect("a report");
    assert!(report.events > 1000 && report.log.is_empty(), "{report}");
    Ok(())
}

#[tokio::test]
async fn load_every_request_through_two_nodes_gets_its_reply() -> anyhow::Result<()> {
    let arguments = "replies --rounds 2 --requests 200 --in-flight 8 --without-nats";
    let options = replies::ReplyOptions::parse_from(arguments.split(' '));
    let report = run(move || replies::run(&options)).await?;
    assert_eq!(report.failures(), [""; 0], "{report}");
    assert!(report.rows.iter().all(|row| row.requests == 400), "{report}");
    Ok(())
}

#[tokio::test]
async fn load_the_comparison_loses_and_reorders_nothing() -> anyhow::Result<()> {
    let contenders = [
        "gateway",
        "gateway-zlib",
        "positions",
        "watching",
        "gateway-two",
        "loop",
        "loop-joined",
    ];
    let names = contenders.join(",");
    let arguments = format!("compare --no-pin --rounds 1 --divide 60 --contenders {names}");
    let options = compare::CompareOptions::parse_from(arguments.split(' '));
    let mut tables = Vec::new();
    let report = run(move || compare::run(&options, |verdict| tables.push(verdict.to_string())).map(|it| (it, tables)));
    let (report, tables) = report.await?;
    assert_eq!(report.failures(), [""; 0]);
    assert_eq!(tables.len(), 8);
    for table in tables {
        for contender in contenders {
            let mut rows = table.lines().map(|line| line.split(' ').next());
            assert!(rows.any(|name| name == Some(contender)), "{contender}: {table}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn load_the_scale_chart_shows_one_process_and_three_nodes() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let svg = folder.path().join("scale.svg");
    let arguments = "scale --no-pin --rounds 1 --sockets 50,200 --deliveries 2000 --cluster 300 --events 2 --svg";
    let options =
        scale::ScaleOptions::parse_from(arguments.split(' ').map(Into::into).chain([svg.as_os_str().to_owned()]));
    let report = run(move || scale::run(&options.sizes)).await?;
    assert_eq!(report.failures(), [""; 0], "{report}");
    let svg = std::fs::read_to_string(svg)?;
    for text in [
        ">50<",
        ">200<",
        ">300<",
        ">gateway<",
        ">bare loop<",
        ">three nodes and a Redis<",
    ] {
        assert!(svg.contains(text), "{text} in {svg}");
    }
    Ok(())
}

#[tokio::test]
async fn load_unfinished_requests_do_not_affect_other_clients() -> anyhow::Result<()> {
    for arguments in [
        "unfinished --heads 1200 --bodies 100 --seconds 1",
        "unfinished --heads 0 --bodies 60 --seconds 0 --with-key",
    ] {
        let options = unfinished::UnfinishedOptions::parse_from(arguments.split(' '));
        let report = run(move || unfinished::run(&options)).await?;
        assert_eq!(report.failures(), [""; 0], "{report}");
        assert!(report.heads.open <= 1000, "{report}");
        assert!(report.bodies.open <= 16, "{report}");
        assert!(report.bodies.more_kib < 64 * 1024, "{report}");
    }
    Ok(())
}

#[tokio::test]
async fn load_strangers_do_not_end_healthy_sessions() -> anyhow::Result<()> {
    let options = strangers::StrangersOptions::parse_from("strangers --strangers 20 --seconds 2".split(' '));
    let report = run(move || strangers::run(&options)).await?.expect("a report");
    assert_eq!(report.failures(), [""; 0], "{report}");
    // Each stranger may send 256 KiB at once and 16 KiB in each second after that, and exceed that by one packet.
    let dropped = report.phases[1].dropped;
    assert!((20..=20 * 7).contains(&dropped), "{report}");
    Ok(())
}

#[tokio::test]
async fn load_guild_reports_do_not_block_another_application() -> anyhow::Result<()> {
    let options = reports::ReportsOptions::parse_from("reports --bots 2 --ids 2000 --rate 10 --seconds 2".split(' '));
    let report = run(move || reports::run(&options)).await?.expect("a report");
    assert_eq!(report.failures(), [""; 0], "{report}");
    Ok(())
}

#[tokio::test]
async fn load_member_requests_are_answered_completely_and_in_order() -> anyhow::Result<()> {
    let options = members::MembersOptions::parse_from("members --members 3000 --sessions 2 --requests 3".split(' '));
    let report = run(move || members::run(&options)).await?;
    assert_eq!(report.failures(), [""; 0], "{report}");
    Ok(())
}

#[tokio::test]
async fn load_a_million_sessions_are_computed_from_the_tables() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let of_tools = [
        ("idle", "kib_per_client", [2.0, 4.0]),
        ("beat", "cpu_us_per_beat", [30.0, 60.0]),
        ("fanout", "cpu_us_per_delivery", [7.5, 8.25]),
    ];
    let mut command =
        tokio::process::Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../bench/million_sessions.py"));
    command.current_dir(&folder);
    for (tool, figure, medians) in of_tools {
        let rows = ["gateway", "discord"].into_iter().zip(medians).map(|(contender, median)| {
            serde_json::json!({"contender": contender, "figures": {figure: {"min": 1, "median": median, "max": 99}}})
        });
        let table = serde_json::json!({"table": {"rows": rows.collect::<Vec<_>>()}, "failures": []});
        std::fs::write(folder.path().join(tool), table.to_string())?;
        command.arg(tool);
    }
    let output = command.output().await?;
    let printed = String::from_utf8(output.stdout)?;
    for line in [
        "version 1: 1.91 GiB of the nodes' memory (2.00 KiB each)",
        "version 1: 0.50 cores for a heartbeat of each every 60 s (30.0 us each)",
        "version 1: 7.5 s of one core for an event to all of them (7.50 us each)",
        "Discord's protocol: 3.81 GiB of the nodes' memory (4.00 KiB each)",
        "Discord's protocol: 8.2 s of one core for an event to all of them (8.25 us each)",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line}: {printed}");
    }
    // Without the figures of version 1 there is nothing to compute.
    std::fs::write(folder.path().join("beat"), r#"{"table": {"rows": []}}"#)?;
    let output = command.output().await?;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(output.stderr)?,
        "cannot compute it: 'beat: gateway'\n"
    );
    Ok(())
}
