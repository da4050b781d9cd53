//! The deadlines of a session: heartbeats, pings and the identify.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_client_without_heartbeats_gets_4006_when_the_next_one_was_due() {
    on_a_node(async |node| {
        let mut client = node.identified().await;
        client.after(node.heartbeat_limit().saturating_sub(MS)).await;
        assert_eq!(client.close, None);
        client.after(2 * MS).await;
        client.assert_ended(4006, 4006);
        assert_eq!(node.registry.counts().open(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_client_is_pinged_and_one_that_is_sent_something_is_not() {
    on_a_node(async |node| {
        let interval = Duration::from_millis(node.settings.v1.ping_interval_ms);
        let (mut idle, mut receiver) = (node.identified().await, node.identified().await);
        let mut sender = node.identified().await;
        for _ in 0..4 {
            for client in [&mut idle, &mut receiver] {
                client.after(interval / 4).await;
            }
            sender.send(&json!({"op": 10})).await;
        }
        // Twice the interval has passed. What a client sends does not delay its ping, an answer does.
        idle.settle().await;
        assert_eq!((idle.pings, receiver.pings, sender.pings), (2, 2, 0));
        for client in [&mut receiver, &mut sender] {
            client.send(&json!({"op": 10})).await;
        }
        for _ in 0..4 {
            sender.send(&json!({"op": 1, "t": "announce", "d": {}})).await;
            receiver.after(interval / 2).await;
        }
        sender.settle().await;
        assert_eq!((receiver.pings, sender.pings), (2, 2));
        assert_eq!(receiver.seen.last().unwrap()["t"], "announce");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn only_heartbeats_move_the_deadline() {
    on_a_node(async |node| {
        let mut client = node.identified().await;
        client.after(node.heartbeat_limit().saturating_sub(MS)).await;
        client.send(&json!({"op": 10})).await;
        assert_eq!(client.seen.last().unwrap(), &json!({"op": 11}));
        client.after(node.heartbeat_limit().saturating_sub(MS)).await;
        client.send(&json!({"op": 1, "t": "announce", "d": {}})).await;
        assert_eq!(client.close, None);
        client.after(2 * MS).await;
        client.assert_ended(4006, 4006);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_identify_in_time_gets_4007() {
    on_a_node(async |node| {
        let mut client = node.connect().await;
        client
            .after(Duration::from_millis(node.settings.session.identify_timeout_ms - 1))
            .await;
        client.send(&json!({"op": 10})).await;
        assert_eq!(client.close, None);
        client.after(2 * MS).await;
        client.assert_ended(4007, 4007);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stall_of_many_intervals_ends_a_session_once() {
    on_a_node(async |node| {
        let mut client = node.identified().await;
        let before = client.seen.len();
        client.after(20 * node.heartbeat_limit()).await;
        client.assert_ended(4006, 4006);
        assert_eq!(client.seen.len(), before + 1);
    })
    .await;
}
