//! The nonce of a request, and the limit on those in flight.

use gateway_harness::ready;
use serde_json::json;

use super::{ask, asked, bot, over_http, reply, session, setup};

#[tokio::test]
async fn a_request_has_a_nonce_and_requests_have_a_limit() {
    let node = setup().set("limits.requests_in_flight", 2).start().await;
    ready(&node).await;
    let mut receiver = bot(&node, &[]).await;
    let mut website = session(&node, "website", &json!({})).await;
    for n in 1..=3 {
        ask(&mut website, "ask_any", n, json!({})).await;
    }
    let refused = json!({ "code": "overloaded", "message": "Overloaded. Try again later." });
    website
        .expect(&json!({ "op": 0, "t": "event_refused", "n": 3, "d": refused }))
        .await;
    let (receipt, _) = asked(&mut receiver, "ask_any").await;
    reply(&mut receiver, "reply", &receipt, json!({})).await;
    assert_eq!(website.event("reply").await, json!({}));
    // There is room again.
    ask(&mut website, "ask_any", 4, json!({})).await;
    for _ in 0..2 {
        asked(&mut receiver, "ask_any").await;
    }
    // A key has its own limit.
    let asking = async || over_http(&node, "ask_any", json!({})).await;
    let answers = async {
        let (one, other) = tokio::join!(asking(), asking());
        [one.status, other.status]
    };
    let answering = async {
        let receipts = [
            asked(&mut receiver, "ask_any").await.0,
            asked(&mut receiver, "ask_any").await.0,
        ];
        let third = asking().await;
        assert_eq!(
            (third.status, &third.json()["code"]),
            (429, &json!("overloaded")),
            "{third:?}"
        );
        for receipt in receipts {
            reply(&mut receiver, "reply", &receipt, json!({})).await;
        }
    };
    assert_eq!(tokio::join!(answers, answering).0, [200, 200]);
    website.send(&json!({ "op": 1, "t": "ask_any", "d": {} })).await;
    let error = website.error(4005, 4005).await;
    assert_eq!(error["d"]["errors"], json!(["Nonce not provided."]));
}
