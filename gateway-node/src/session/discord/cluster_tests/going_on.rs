//! What is resumed while Redis or a node is not where the client is.

use super::*;

/// A Redis and two nodes.
async fn cluster(test: impl AsyncFnOnce(TestServer, [Member; 2])) {
    let running = async {
        let server = TestServer::start();
        let nodes = [Member::start(&server, 1).await, Member::start(&server, 2).await];
        test(server, nodes).await;
    };
    tokio::task::LocalSet::new().run_until(running).await;
}

fn dispatches(client: &Client) -> Vec<(u64, String)> {
    client.dispatches()
}

fn numbered(list: &[(u64, &str)]) -> Vec<(u64, String)> {
    list.iter().map(|(s, what)| (*s, (*what).to_owned())).collect()
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
        let generation = ["HGET", &format!("test:{{utilbot}}:discord:{id}"), "generation"];
        eventually("another owner", || server.cli(&generation).trim() == "2").await;
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
