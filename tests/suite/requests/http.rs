//! Requests over HTTP.

use gateway_harness::{ApiResponse, V1Client, key, request};
use serde_json::{Value, json};

use super::{asked, bot, one_node, over_http, reply};

#[tokio::test]
async fn each_path_of_http_takes_its_own_kind_of_event() {
    let node = one_node().await;
    let code = |response: ApiResponse| (response.status, response.json()["code"].as_str().unwrap().to_owned());
    let headers = [("authorization", &*format!("Bearer {}", key("service")))];
    let publish = json!({ "t": "ask_any", "d": {} }).to_string();
    let published = request(node.address(), "POST", "/api/v1/events", &headers, &publish).await;
    assert_eq!(code(published), (422, "invalid_data".to_owned()));
    for (name, d, expected) in [
        ("mark", json!({}), (422, "invalid_data")),
        ("nothing", json!({}), (422, "unknown_event")),
        ("ask_any", json!([]), (422, "invalid_data")),
        ("ask_any", json!({}), (409, "no_receiver")),
    ] {
        let (status, name_of_code) = code(over_http(&node, name, d).await);
        assert_eq!((status, &*name_of_code), expected, "{name}");
    }
    for (body, expected) in [
        ("[]", (400, "malformed")),
        (r#"["ask_any",{},null]"#, (400, "malformed")),
        (r#"{"t":"ask_any","d":{},"to":"all"}"#, (422, "invalid_data")),
    ] {
        let answer = code(request(node.address(), "POST", "/api/v1/requests", &headers, body).await);
        assert_eq!((answer.0, &*answer.1), expected, "{body}");
    }
    // An array is no event either, in a list or alone.
    for body in [r#"["mark",{},null]"#, r#"[["mark",{},null]]"#] {
        let answer = code(request(node.address(), "POST", "/api/v1/events", &headers, body).await);
        assert_eq!((answer.0, &*answer.1), (400, "malformed"), "{body}");
    }
    let without_key = request(node.address(), "POST", "/api/v1/requests", &[], "{}").await;
    assert_eq!(without_key.status, 401);
    let headers = [("authorization", &*format!("Bearer {}", key("website")))];
    let forbidden = request(node.address(), "POST", "/api/v1/requests", &headers, "{}").await;
    assert_eq!(code(forbidden), (403, "forbidden".to_owned()));
}

#[tokio::test]
async fn http_tells_why_there_is_no_reply() {
    let node = one_node().await;
    let mut receiver = bot(&node, &[]).await;
    let answering = async |receiver: &mut V1Client, event: &str, d: Value| {
        let (receipt, _) = asked(receiver, "ask_settings").await;
        reply(receiver, event, &receipt, d).await;
    };
    let (error, ()) = tokio::join!(over_http(&node, "ask_settings", json!({})), async {
        let (receipt, _) = asked(&mut receiver, "ask_settings").await;
        let text =
            r#"{"op":1,"t":"reply_error","r":"RECEIPT","d":{"code":"busy","n":1.50,"long":12345678901234567890123}}"#;
        receiver.send_text(&text.replace("RECEIPT", &receipt)).await;
    });
    // Byte for byte as the bot wrote it.
    let written = r#","error":{"code":"busy","n":1.50,"long":12345678901234567890123}}"#;
    assert!(error.body.ends_with(written), "{error:?}");
    assert_eq!((error.status, &error.json()["code"]), (502, &json!("error")));
    let (invalid, ()) = tokio::join!(
        over_http(&node, "ask_settings", json!({})),
        answering(&mut receiver, "reply", json!({}))
    );
    assert_eq!(
        (invalid.status, &invalid.json()["code"]),
        (502, &json!("invalid_reply"))
    );
    receiver.error(4005, 4005).await;
    let mut receiver = bot(&node, &[]).await;
    let timeout = over_http(&node, "ask_briefly", json!({})).await;
    assert_eq!((timeout.status, &timeout.json()["code"]), (504, &json!("timeout")));
    asked(&mut receiver, "ask_briefly").await;
    let (gone, _) = tokio::join!(over_http(&node, "ask_settings", json!({})), async {
        asked(&mut receiver, "ask_settings").await;
        receiver.close(1000).await
    });
    assert_eq!((gone.status, &gone.json()["code"]), (502, &json!("gone")));
}
