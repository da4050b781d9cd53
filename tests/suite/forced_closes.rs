//! Closes that a client did not cause: internal errors of the node, and kicks by an administrator.

use std::time::UNIX_EPOCH;

use gateway_harness::{Clock, PacketEncoding, Setup, V1Client, eventually, full_setup, key, request};

/// A time in the last seconds for which ids can be generated (`shared::snowflake`), in milliseconds since 1970. After
/// it, no id can be generated.
const END_OF_IDS: u128 = 3_776_860_053_000;

#[tokio::test]
async fn an_internal_error_closes_with_error_1000_and_code_1011_in_both_encodings() {
    let clock = Clock::start().await;
    let now = UNIX_EPOCH.elapsed().expect("it is after 1970").as_millis();
    clock.set(i64::try_from(END_OF_IDS - now).expect("it is before 2089"));
    let node = Setup::new().clock(&clock).start().await;
    let key = node.development_key();
    for encoding in [PacketEncoding::Plain, PacketEncoding::Zlib] {
        // Identifies succeed until ids run out, and fail from then on.
        let mut client = eventually("an id cannot be generated", async || {
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
async fn a_kicked_session_closes_with_error_1000_and_code_1008() {
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
