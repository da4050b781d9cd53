//! The events that sessions receive, and the answers to their packets.

use shared::{client_type::ClientType, routing::Delivery};

use super::*;
use crate::backplane::{Publication, Publishing, WhenUnavailable};

#[tokio::test(start_paused = true)]
async fn an_event_reaches_sessions_identified_before_it_but_not_its_sender() {
    on_a_node(async |node| {
        let mut first = node.identified().await;
        let mut second = node.identified().await;
        first.send(&json!({"op": 1, "t": "announce", "d": {"n": 1}})).await;
        let mut third = node.identified().await;
        second.settle().await;
        assert_eq!(
            second.seen.last().unwrap(),
            &json!({"op": 0, "t": "announce", "d": {"n": 1}})
        );
        third.settle().await;
        for client in [&first, &third] {
            assert!(
                client.seen.iter().all(|payload| payload["t"] != "announce"),
                "{:?}",
                client.seen
            );
        }
        assert_eq!(node.registry.counts().snapshot().bot, 3);
        assert_eq!(node.worker.app.metrics.encoded_text.get(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_event_for_a_leaving_session_reaches_another() {
    on_a_node(async |node| {
        let leaving = node.identified().await;
        let mut staying = node.identified().await;
        // The client is gone, but the node does not know that yet when the two events choose both sessions in turn.
        leaving.inbox.send(Inbound::Lost).unwrap();
        for n in 0..2 {
            let event = Publication {
                name: "job".into(),
                d: json!({"n": n}).to_string().into(),
                ..Publication::example(Delivery::Any, ClientType::Bot.into())
            };
            node.worker
                .app
                .backplane
                .publish(Publishing {
                    application: "utilbot".into(),
                    events: vec![event],
                    idempotency: None,
                    when_unavailable: WhenUnavailable::Hold,
                })
                .await
                .unwrap();
        }
        staying.settle().await;
        let mut jobs: Vec<_> = staying
            .seen
            .iter()
            .filter(|payload| payload["t"] == "job")
            .map(|job| job["d"]["n"].as_u64())
            .collect();
        jobs.sort_unstable();
        assert_eq!(jobs, [Some(0), Some(1)]);
        assert_eq!(
            node.worker.app.metrics.entries.get(),
            3,
            "one of them was appended twice"
        );
    })
    .await;
}
