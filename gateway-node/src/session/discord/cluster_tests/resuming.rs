//! What is resumed while Redis or a node is not where the client is.

use super::*;

/// A Redis and two nodes.
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

/// Kills the server and starts it again with everything.
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
async fn a_client_that_has_come_further_than_its_next_node_goes_on_there() {
    cluster(async |server, [ahead, behind]| {
        // The log is followed where somebody is.
        let (_other, _) = behind.identified().await;
        let (mut client, id) = ahead.identified().await;
        behind.stalled.store(true, Ordering::Relaxed);
        for n in 1..=3 {
            ahead.publish(n).await.unwrap();
        }
        has(&mut client, "3", 1).await;
        client.cut().await;
        let mut again = behind.resumed(&id, 4).await;
        let fencing_token = ["HGET", &format!("test:{{utilbot}}:discord:{id}"), "generation"];
        eventually("another owner", || server.cli(&fencing_token).trim() == "2").await;
        again.drive().await;
        behind.stalled.store(false, Ordering::Relaxed);
        has(&mut again, "RESUMED", 1).await;
        ahead.publish(4).await.unwrap();
        has(&mut again, "4", 1).await;
        assert_eq!(dispatches(&again), numbered(&[(5, "RESUMED"), (6, "4")]));
        // What nobody has ever told it is another matter.
        again.cut().await;
        let mut beyond = ahead.resumed(&id, 9).await;
        has_or_is_over(&mut beyond, "RESUMED", 1).await;
        assert_eq!(beyond.seen.last().unwrap()["op"], 9);
    })
    .await;
}

#[tokio::test]
async fn what_comes_after_a_restart_of_redis_need_not_be_acknowledged_to_be_gone_on_from() {
    cluster(async |mut server, nodes| {
        let (mut client, id) = nodes[0].identified().await;
        nodes[0].publish(1).await.unwrap();
        has(&mut client, "1", 1).await;
        restart(&mut server, &nodes).await;
        nodes[0].publish(2).await.unwrap();
        has(&mut client, "2", 1).await;
        // A point that was noted in the old life does not lead back to it.
        client.send(&json!({"op": 1, "d": 1})).await;
        client.cut().await;
        let mut again = nodes[1].resumed(&id, 3).await;
        has(&mut again, "RESUMED", 1).await;
        assert_eq!(dispatches(&again), numbered(&[(4, "RESUMED")]));
    })
    .await;
}

#[tokio::test]
async fn who_was_away_when_redis_lost_something_is_told_so() {
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
        // Nothing that it has is gone, and all that it has missed is.
        let mut again = nodes[1].resumed(&id, 2).await;
        has_or_is_over(&mut again, "RESUMED", 1).await;
        assert_eq!(again.seen.last().unwrap()["op"], 9, "{:?}", again.seen);
    })
    .await;
}

#[tokio::test]
async fn who_resumes_across_a_restart_of_redis_may_do_so_again_before_it_says_what_it_has() {
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
