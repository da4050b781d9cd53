//! Ends that are nobody's mistake: the node's own faults, and an administrator's wish.

use std::time::UNIX_EPOCH;

use gateway_harness::{Clock, PacketEncoding, Setup, V1Client, eventually, full_setup, key, request};

/// Milliseconds since 1970 in the last seconds of the time that ids can be made for (`shared::snowflake`): after them every
/// id is refused.
const END_OF_IDS: u128 = 3_776_860_053_000;

#[tokio::test]
async fn an_internal_fault_is_error_1000_and_close_code_1011_in_both_encodings() {
    let clock = Clock::start().await;
    let now = UNIX_EPOCH.elapsed().expect("it is after 1970").as_millis();
    clock.set(i64::try_from(END_OF_IDS - now).expect("it is before 2089"));
    let node = Setup::new().clock(&clock).start().await;
    let key = node.development_key();
    for encoding in [PacketEncoding::Plain, PacketEncoding::Zlib] {
        // Identifies succeed until the ids end, and from then on never again.
        let mut client = eventually("an id that cannot be made", async || {
            let mut client = V1Client::greeted(&node, encoding).await;
            client.send_identify("website", &key).await;
            let answer = client.next().await;
            (answer["op"] == -1).then_some((client, answer))
        })
        .await;
        assert_eq!(
            client.1,
            serde_json::json!({"op": -1, "e": 1000, "m": "Unknown error."})
        );
        assert_eq!(client.0.closed().await, 1011);
    }
    node.logged("internal fault").await;
    assert!(node.log().contains("outside of the granted window"), "{}", node.log());
}

#[tokio::test]
async fn an_administrator_ends_a_session_with_error_1000_and_close_code_1008() {
    let node = full_setup().start().await;
    for encoding in [PacketEncoding::Plain, PacketEncoding::Zlib] {
        let mut client = V1Client::greeted(&node, encoding).await;
        let id = client.identify("website", &key("website")).await;
        let mut other = V1Client::session(&node, "website", &key("website")).await;
        let kick = async |id: &str, key: &str| {
            let authorization = format!("Bearer {key}");
            let target = format!("/api/v1/sessions/{id}");
            let headers = [("authorization", &*authorization)];
            request(node.address(), "DELETE", &target, &headers, "").await.status
        };
        assert_eq!(kick(&id, &key("service")).await, 403);
        assert_eq!(kick("1", &key("root")).await, 404);
        assert_eq!(kick("x", &key("root")).await, 404);
        assert_eq!(kick(&id, &key("root")).await, 204);
        let error = client.error(1000, 1008).await;
        assert_eq!(error["m"], "Kicked by an administrator.");
        other.heartbeat().await;
        assert_eq!(kick(&id, &key("root")).await, 404);
    }
}
