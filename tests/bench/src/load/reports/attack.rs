//! The bots that report guilds.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use futures_util::future::join_all;
use gateway_harness::{PacketEncoding, V1Client, key};
use tokio::time::{MissedTickBehavior, interval};

use super::ReportsOptions;

/// The lowest guild id. All ids have eight digits, so that the largest report fits into one message.
const LEAST: u32 = 10_000_000;

/// Sends reports until the process is killed.
pub(super) fn attack(address: SocketAddr, options: &ReportsOptions) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(join_all((0..options.bots).map(|bot| report(address, options, bot))));
    Ok(())
}

async fn report(address: SocketAddr, options: &ReportsOptions, bot: u32) {
    let opened = V1Client::open(address, "/?v=1", PacketEncoding::Plain).await;
    let mut client = opened.unwrap_or_else(|error| panic!("connecting: {error}"));
    client.next().await;
    client.identify("bot", &key(&format!("bot{bot}"))).await;
    // Two reports that alternate. They share no id with each other or with other bots.
    let reports = [0, 1].map(|turn| {
        let first = LEAST + (2 * bot + turn) * options.ids;
        let ids: Vec<_> = (first..first + options.ids).map(|id| id.to_string()).collect();
        format!(r#"{{"op":1,"t":"send_servers","d":{{"guilds":[{}]}}}}"#, ids.join(","))
    });
    let mut ticks = interval(Duration::from_secs(1) / options.rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for report in reports.iter().cycle() {
        ticks.tick().await;
        client.send_text(report).await;
    }
}
