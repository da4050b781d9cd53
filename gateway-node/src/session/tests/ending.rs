//! Sessions that the node ends.

use shared::{client_type::ClientType, guild::GuildId, routing::Delivery};

use super::*;
use crate::{
    backplane::{Deliver, Publication, Publishing, WhenUnavailable},
    registry::EndReason,
};

#[tokio::test(start_paused = true)]
async fn a_restart_ends_identified_and_unidentified_sessions_within_the_spread() {
    on_a_node(async |node| {
        let mut clients = [node.identified().await, node.connect().await];
        node.registry.end_reason(EndReason::Restarting, Duration::from_secs(2));
        for client in &mut clients {
            client.settle().await;
        }
        advance(Duration::from_secs(2) + MS).await;
        for client in &mut clients {
            client.settle().await;
            client.assert_ended(1000, 1012);
        }
        // A session that opens after all others were told to leave is told at once.
        let late = node.connect().await;
        late.assert_ended(1000, 1012);
        assert_eq!(node.registry.counts().open(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_revoked_key_ends_its_sessions_within_a_second() {
    on_a_node(async |node| {
        let mut client = node.identified().await;
        let mut stranger = node.connect().await;
        node.keyring.replace(Vec::new());
        client.after(Duration::from_secs(1)).await;
        client.assert_ended(4001, 4001);
        stranger.settle().await;
        assert_eq!(stranger.close, None);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_divergence_stops_deliveries_at_once_and_ends_the_sessions_within_the_spread() {
    on_a_node(async |node| {
        let publish = async |name: &str, delivery, n: u64| {
            let event = Publication {
                name: name.into(),
                d: json!({ "n": n }).to_string().into(),
                ..Publication::example(delivery, ClientType::Bot.into())
            };
            let publishing = Publishing {
                application: "utilbot".into(),
                events: vec![event],
                idempotency: None,
                when_unavailable: WhenUnavailable::Hold,
            };
            node.worker.app.backplane.publish(publishing).await.unwrap();
        };
        let numbers = |client: &TestClient| -> Vec<_> {
            let numbers = client.seen.iter().filter_map(|payload| payload["d"]["n"].as_u64());
            numbers.collect()
        };
        let report = json!({ "op": 1, "t": "send_servers", "d": { "guilds": [1], "guildMembers": 1 } });
        let mut severed = node.identified().await;
        severed.send(&report).await;
        publish("announce", Delivery::All, 1).await;
        severed.settle().await;
        node.registry.gap(&"utilbot".into());
        // Its only receiver is chosen before the divergence is noticed.
        publish("settings", Delivery::Guild(GuildId::from_raw(1)), 6).await;
        publish("announce", Delivery::All, 2).await;
        severed.settle().await;
        // Sessions that join now belong to the new side.
        let mut late = node.identified().await;
        late.send(&report).await;
        publish("announce", Delivery::All, 3).await;
        // "Any" events go to one session each.
        for n in 4..6 {
            publish("job", Delivery::Any, n).await;
        }
        late.settle().await;
        let mut received = numbers(&late);
        received.sort_unstable();
        assert_eq!(received, [3, 4, 5, 6]);
        severed.after(Duration::from_secs(1) + MS).await;
        severed.assert_ended(1000, 1012);
        assert_eq!(numbers(&severed), [1]);
        late.settle().await;
        assert_eq!((late.close, node.registry.counts().open()), (None, 1));
    })
    .await;
}
