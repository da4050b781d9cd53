//! How connections end, and what happens to their sessions.

use super::*;
use crate::registry::{EndReason, SessionCommand};

#[tokio::test(start_paused = true)]
async fn only_close_codes_1000_and_1001_end_the_session() {
    on(DiscordTestNode::new, async |node| {
        for (code, goes_on) in [
            (Some(1000), false),
            (Some(1001), false),
            (Some(4000), true),
            (None, true),
        ] {
            let (mut client, id) = node.identified(0).await;
            client.inbox.send(Inbound::Gone(code)).unwrap();
            client.settle().await;
            let again = node.resumed(&id, 1).await;
            let resumed = again.dispatches() == numbered(&[(2, "RESUMED")]);
            assert_eq!(resumed, goes_on, "{code:?}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_session_without_heartbeats_times_out_and_can_be_resumed() {
    on(DiscordTestNode::new, async |node| {
        let (mut client, id) = node.identified(0).await;
        client.after(node.settings.heartbeat_limit.saturating_sub(2 * MS)).await;
        assert_eq!(client.close, None);
        client.after(3 * MS).await;
        assert_eq!(client.close, Some(4009));
        client.task.abort();
        let again = node.resumed(&id, 1).await;
        assert_eq!(again.dispatches(), numbered(&[(2, "RESUMED")]));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_draining_node_sends_reconnect_and_closes_with_4000() {
    on(DiscordTestNode::new, async |node| {
        let (mut client, id) = node.identified(0).await;
        node.registry.end_reason(EndReason::Restarting, Duration::ZERO);
        client.after(MS).await;
        assert_eq!(client.seen.last().unwrap()["op"], 7);
        node.publish("X", &json!({"n": 1})).await;
        client.settle().await;
        assert_eq!(client.dispatches().last(), Some(&(2, "1".to_owned())));
        client.after(node.settings.grace).await;
        assert_eq!(client.close, Some(4000));
        assert!(!id.is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_revoked_token_ends_its_sessions() {
    on(DiscordTestNode::new, async |node| {
        let (mut client, _) = node.identified(0).await;
        node.keyring.replace(Vec::new());
        client.after(Duration::from_secs(1)).await;
        assert_eq!(client.close, Some(4004));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_missed_event_invalidates_the_session() {
    on(DiscordTestNode::new, async |node| {
        let (mut client, id) = node.identified(0).await;
        crate::backplane::Deliver::gap(&node.registry, &"utilbot".into());
        client.after(MS).await;
        let last = client.seen.last().unwrap();
        assert_eq!((&last["op"], &last["d"]), (&json!(9), &json!(false)));
        node.publish("X", &json!({"n": 1})).await;
        client.settle().await;
        assert_eq!(client.dispatches(), numbered(&[(1, "READY")]));
        // The client's commands to the old session may still arrive and must not be answered with 4003.
        client.send(&json!({"op": 43, "d": {"guild_id": "5"}})).await;
        assert_eq!(client.close, None);
        client.send(&identify(0)).await;
        let ready = client.seen.last().unwrap();
        assert_eq!((&ready["t"], &ready["s"]), (&json!("READY"), &json!(1)));
        assert_ne!(ready["d"]["session_id"].as_str(), Some(&*id));
        assert_eq!(ready["d"]["resume_gateway_url"], "ws://localhost");
        assert_eq!(node.registry.counts().snapshot().discord, 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_divergence_stops_dispatches_at_once_and_ends_the_session() {
    on(DiscordTestNode::new, async |node| {
        let (mut client, _) = node.identified(0).await;
        crate::backplane::Deliver::gap(&node.registry, &"utilbot".into());
        node.publish("X", &json!({"n": 1})).await;
        client.settle().await;
        assert_eq!(client.dispatches(), numbered(&[(1, "READY")]));
        client.after(Duration::from_secs(1)).await;
        let last = client.seen.last().unwrap();
        assert_eq!((&last["op"], &last["d"]), (&json!(9), &json!(false)));
        client.send(&identify(0)).await;
        node.publish("X", &json!({"n": 2})).await;
        client.settle().await;
        assert_eq!(client.dispatches().last(), Some(&(2, "2".to_owned())));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_closed_with_4000_and_resumes() {
    on(DiscordTestNode::new, async |node| {
        let (mut client, id) = node.identified(0).await;
        client.inbox.send(Inbound::TooSlow).unwrap();
        client.settle().await;
        assert_eq!(client.close, Some(4000));
        client.task.abort();
        let again = node.resumed(&id, 1).await;
        assert_eq!(again.dispatches(), numbered(&[(2, "RESUMED")]));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_resumes_its_own_session_stays_open() {
    on(DiscordTestNode::new, async |node| {
        let (mut client, id) = node.identified(0).await;
        for n in 0..3 {
            let invalid = SessionCommand::Inject(InjectedFault::Invalidate { is_resumable: true });
            let raw = shared::session_id::SessionId::from_raw(id.parse().unwrap());
            assert!(node.registry.command_one(&"utilbot".into(), raw, invalid).await);
            client.settle().await;
            let seen = client.dispatches().len() as u64;
            client.send(&resume(&id, seen)).await;
            client.after(MS).await;
            assert_eq!(
                client.dispatches().last(),
                Some(&(seen + 1, "RESUMED".to_owned())),
                "{n}"
            );
            assert_eq!(client.close, None, "{n}");
        }
        let mut other = node.resumed(&id, 1).await;
        client.after(MS).await;
        assert_eq!(client.close, Some(4000));
        other.settle().await;
        assert_eq!(other.close, None);
    })
    .await;
}
