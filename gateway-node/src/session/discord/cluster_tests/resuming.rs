//! Resuming after Redis restarted or lost data, and on a node that lags behind the client.

use super::*;

/// Runs `test` with a Redis and two nodes.
async fn cluster(test: impl AsyncFnOnce(TestServer, [ClusterMember; 2])) {
    let running = async {
        let server = TestServer::start();
        let nodes = [
            ClusterMember::start(&server, 1).await,
            ClusterMember::start(&server, 2).await,
        ];
        test(server, nodes).await;
    };
    tokio::task::LocalSet::new().run_until(running).await;
}

/// Kills the server and restarts it without data loss.
async fn restart(server: &mut TestServer, nodes: &[ClusterMember]) {
    server.kill();
    for node in nodes {
        eventually("a node without its server", || !node.backplane.status().available).await;
    }
    server.start_again();
    for node in nodes {
        node.ready().await;
    }
}

fn dispatches(client: &DiscordTestClient) -> Vec<(u64, String)> {
    client.dispatches()
}

fn numbered(list: &[(u64, &str)]) -> Vec<(u64, String)> {
    list.iter().map(|(s, body)| (*s, (*body).to_owned())).collect()
}

#[tokio::test]
async fn a_client_resumes_on_a_node_that_lags_behind_it() {
    cluster(async |server, [ahead, behind]| {
        // A node follows the log only while it has a session.
        let (_other, _) = behind.identified().await;
        let (mut client, id) = ahead.identified().await;
        behind.stalled.send_replace(true);
        for n in 1..=3 {
            ahead.publish(n).await.unwrap();
        }
        has(&mut client, "3", 1).await;
        client.cut().await;
        let mut again = behind.resumed(&id, 4).await;
        let fencing_token = ["HGET", &format!("test:{{utilbot}}:discord:{id}"), "generation"];
        eventually("a second owner", || server.cli(&fencing_token).trim() == "2").await;
        again.drive().await;
        behind.stalled.send_replace(false);
        has(&mut again, "RESUMED", 1).await;
        ahead.publish(4).await.unwrap();
        has(&mut again, "4", 1).await;
        assert_eq!(dispatches(&again), numbered(&[(5, "RESUMED"), (6, "4")]));
        // A sequence number that no node ever sent cannot be resumed.
        again.cut().await;
        let mut beyond = ahead.resumed(&id, 9).await;
        has_or_is_over(&mut beyond, "RESUMED", 1).await;
        assert_eq!(beyond.seen.last().unwrap()["op"], 9);
    })
    .await;
}

#[tokio::test]
async fn a_session_resumes_from_unacknowledged_events_after_a_redis_restart() {
    cluster(async |mut server, nodes| {
        let (mut client, id) = nodes[0].identified().await;
        nodes[0].publish(1).await.unwrap();
        has(&mut client, "1", 1).await;
        restart(&mut server, &nodes).await;
        nodes[0].publish(2).await.unwrap();
        has(&mut client, "2", 1).await;
        // Acknowledging a checkpoint of the old epoch does not lead the session back to it.
        client.send(&json!({"op": 1, "d": 1})).await;
        client.cut().await;
        let mut again = nodes[1].resumed(&id, 3).await;
        has(&mut again, "RESUMED", 1).await;
        assert_eq!(dispatches(&again), numbered(&[(4, "RESUMED")]));
    })
    .await;
}

#[tokio::test]
async fn a_session_that_was_away_when_redis_lost_entries_gets_op_9() {
    cluster(async |mut server, nodes| {
        let mut others = [nodes[0].identified().await.0, nodes[1].identified().await.0];
        let (mut away, id) = nodes[1].identified().await;
        nodes[0].publish(1).await.unwrap();
        has(&mut away, "1", 1).await;
        away.cut().await;
        let length = server.log_length();
        nodes[0].publish(2).await.unwrap();
        for other in &mut others {
            has(other, "2", 1).await;
        }
        server.kill();
        for node in &nodes {
            eventually("a node without its server", || !node.backplane.status().available).await;
        }
        server.cut_log(length);
        server.start_again();
        for node in &nodes {
            node.ready().await;
        }
        for other in &mut others {
            has_or_is_over(other, "never", 1).await;
            assert_eq!(other.seen.last().unwrap()["op"], 9);
        }
        // The client has nothing that was lost, but everything that it missed was lost.
        let mut again = nodes[1].resumed(&id, 2).await;
        has_or_is_over(&mut again, "RESUMED", 1).await;
        assert_eq!(again.seen.last().unwrap()["op"], 9, "{:?}", again.seen);
    })
    .await;
}

#[tokio::test]
async fn a_session_resumes_twice_across_a_redis_restart_without_heartbeats() {
    cluster(async |mut server, nodes| {
        let (mut client, id) = nodes[0].identified().await;
        nodes[0].publish(1).await.unwrap();
        has(&mut client, "1", 1).await;
        client.cut().await;
        restart(&mut server, &nodes).await;
        nodes[0].publish(2).await.unwrap();
        let mut again = nodes[1].resumed(&id, 2).await;
        has(&mut again, "RESUMED", 1).await;
        assert_eq!(dispatches(&again), numbered(&[(3, "2"), (4, "RESUMED")]));
        again.cut().await;
        let mut third = nodes[0].resumed(&id, 4).await;
        has(&mut third, "RESUMED", 1).await;
        assert_eq!(dispatches(&third), numbered(&[(5, "RESUMED")]));
    })
    .await;
}
