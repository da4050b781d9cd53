//! The HTTP endpoints that Discord libraries call before they connect.

use std::fs;

use gateway_harness::{ApiResponse, KEYS, NodeProcess, Raw, SECRET, Setup, full_setup, get, key, request, within};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::tls::{secured_node, stream};

/// The endpoints that need a key.
const GUARDED: [&str; 4] = [
    "/gateway/bot",
    "/users/@me",
    "/applications/@me",
    "/oauth2/applications/@me",
];

/// An application without default values and a bot key for it, and an expired bot key.
const APPLICATIONS: &str = r#"
[[applications]]
id = "shop"
client_id = 80351110224678912
bot_id = "80351110224678913"
bot_username = "Shop"
bot_discriminator = "0007"
bot_avatar = "a_0123456789abcdef0123456789abcdef"
flags = 8388608
privileged_intents = ["guild_members", "message_content"]
shards = 3
max_concurrency = 16
session_starts_per_day = 2000

[[keys]]
id = "seller"
type = "bot"
application = "shop"
secret = "correct-horse-battery-staple-0123456789"

[[keys]]
id = "gone"
type = "bot"
secret = "correct-horse-battery-staple-0123456789"
expires_at = "2020-01-01T00:00:00Z"
"#;

fn setup() -> Setup {
    full_setup().file(&format!("{APPLICATIONS}{KEYS}"))
}

/// Returns the path prefixes of an endpoint: without a version, and with each version.
fn prefixes() -> impl Iterator<Item = String> {
    let versions = (6..=10).map(|version| format!("/api/v{version}"));
    ["/api".to_owned()].into_iter().chain(versions)
}

async fn request_as(node: &NodeProcess, target: &str, authorization: &str) -> ApiResponse {
    request(node.address(), "GET", target, &[("authorization", authorization)], "").await
}

/// Sends a `GET` as a bot. Returns the body of the response, which must be 200.
async fn fetch_as_bot(node: &NodeProcess, target: &str, token: &str) -> Value {
    let answer = request_as(node, target, &format!("Bot {token}")).await;
    assert_eq!(answer.status, 200, "{target}: {answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{target}");
    answer.json()
}

#[track_caller]
fn assert_refused(what: &str, answer: &ApiResponse, status: u16, message: &str) {
    assert_eq!(answer.status, status, "{what}: {answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{what}");
    assert_eq!(answer.json(), json!({ "code": 0, "message": message }), "{what}");
}

/// Sends a request with these lines. Returns the gateway URL in the response.
async fn url_of(node: &NodeProcess, request: &str) -> String {
    let mut raw = Raw::connect(node.address()).await;
    raw.send(format!("{request}connection: close\r\n\r\n").as_bytes()).await;
    url_in(&raw.text_to_end().await)
}

fn url_in(answer: &str) -> String {
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no answer: {answer}"));
    assert!(head.contains(" 200 "), "{answer}");
    let body: Value = serde_json::from_str(body).unwrap();
    body["url"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn get_gateway_needs_no_key_under_any_version() {
    let node = full_setup().start().await;
    for prefix in prefixes() {
        let answer = get(&node, &format!("{prefix}/gateway")).await;
        assert_eq!(answer.status, 200, "{prefix}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.json(), json!({ "url": format!("ws://{}", node.address()) }));
    }
}

#[tokio::test]
async fn get_gateway_bot_returns_shards_and_session_start_limits() {
    let node = setup().start().await;
    for (token, shards, starts, concurrency) in [("seller", 3, 2000, 16), ("bot", 1, 1000, 1)] {
        for prefix in prefixes() {
            assert_eq!(
                fetch_as_bot(&node, &format!("{prefix}/gateway/bot"), &key(token)).await,
                json!({
                    "url": format!("ws://{}", node.address()),
                    "shards": shards,
                    "session_start_limit": {
                        "total": starts,
                        "remaining": starts,
                        "reset_after": 0,
                        "max_concurrency": concurrency,
                    },
                })
            );
        }
    }
}

#[tokio::test]
async fn a_bot_can_fetch_its_user_and_application() {
    let node = setup().start().await;
    let user = json!({
        "id": "80351110224678913",
        "username": "Shop",
        "discriminator": "0007",
        "global_name": null,
        "avatar": "a_0123456789abcdef0123456789abcdef",
        "bot": true,
        "system": false,
        "mfa_enabled": false,
        "banner": null,
        "accent_color": null,
        "locale": "en-US",
        "verified": true,
        "email": null,
        "flags": 0,
        "public_flags": 0,
    });
    let application = json!({
        "id": "80351110224678912",
        "name": "shop",
        "icon": null,
        "description": "",
        "summary": "",
        "rpc_origins": [],
        "bot_public": false,
        "bot_require_code_grant": false,
        "owner": user,
        "bot": user,
        "verify_key": "",
        "team": null,
        "flags": (1 << 23) + (1 << 15) + (1 << 19),
        "approximate_guild_count": 0,
        "approximate_user_install_count": 0,
        "interactions_endpoint_url": null,
    });
    for prefix in prefixes() {
        let fetch_as_bot =
            async |endpoint: &str| fetch_as_bot(&node, &format!("{prefix}{endpoint}"), &key("seller")).await;
        assert_eq!(fetch_as_bot("/users/@me").await, user);
        assert_eq!(fetch_as_bot("/applications/@me").await, application);
        assert_eq!(fetch_as_bot("/oauth2/applications/@me").await, application);
    }
    // Some libraries escape `@`, which is not necessary.
    assert_eq!(fetch_as_bot(&node, "/api/v10/users/%40me", &key("seller")).await, user);
}

#[tokio::test]
async fn a_default_application_is_the_same_on_every_node() {
    let nodes = [Setup::new().start().await, Setup::new().start().await];
    let mut applications = Vec::new();
    for node in &nodes {
        applications.push(fetch_as_bot(node, "/api/v10/applications/@me", &node.development_key()).await);
    }
    assert_eq!(applications[0], applications[1]);
    assert_eq!(applications[0]["id"], "1070123524246601678");
    assert_eq!(applications[0]["bot"]["id"], applications[0]["id"]);
    assert_eq!(applications[0]["bot"]["username"], "utilbot");
    assert_eq!(applications[0]["flags"], (1 << 13) + (1 << 15) + (1 << 19));
}

#[tokio::test]
async fn guarded_endpoints_need_a_valid_bot_key() {
    let node = setup().start().await;
    let (good, website, gone) = (key("bot"), key("website"), key("gone"));
    let strangers = [
        String::new(),
        "Bot".to_owned(),
        "Bot ".to_owned(),
        good.clone(),
        format!("Bearer {good}"),
        format!("Bot {website}"),
        format!("Bot {gone}"),
        format!("Bot nobody.{SECRET}"),
        format!("Bot {good}x"),
        format!("Bot {}", good.replace("correct", "wronged")),
    ];
    for prefix in ["/api", "/api/v10"] {
        for endpoint in GUARDED {
            let target = format!("{prefix}{endpoint}");
            assert_refused(&target, &get(&node, &target).await, 401, "401: Unauthorized");
            for stranger in &strangers {
                let what = format!("{target} with `{stranger}`");
                assert_refused(
                    &what,
                    &request_as(&node, &target, stranger).await,
                    401,
                    "401: Unauthorized",
                );
            }
            for presented in [
                format!("Bot {good}"),
                format!("bot  {good}"),
                format!("Bot {}", key("root")),
            ] {
                assert_eq!(request_as(&node, &target, &presented).await.status, 200, "{target}");
            }
        }
    }
}

#[tokio::test]
async fn unknown_paths_answer_404_in_the_format_of_their_api() {
    let node = full_setup().start().await;
    for target in [
        "/api",
        "/api/",
        "/api/v10",
        "/api/v10/",
        "/api/v5/gateway",
        "/api/v11/gateway",
        "/api/v010/gateway",
        "/api/v/gateway",
        "/api/v10/gateway/",
        "/api/v10/gateway/bots",
        "/api/v10/users/1",
        "/api/v10/channels/1/messages",
        "/api/v8/v8/gateway",
    ] {
        let answer = request(node.address(), "GET", target, &[("authorization", "Bot x")], "").await;
        assert_refused(target, &answer, 404, "404: Not Found");
    }
    let answer = request(node.address(), "POST", "/api/v10/channels/1/messages", &[], "{}").await;
    assert_refused("a message", &answer, 404, "404: Not Found");
    for target in [
        "/api/v1",
        "/api/v1/",
        "/api/v1/gateway",
        "/api/v1/users/@me",
        "/apis",
        "/gateway",
    ] {
        let answer = get(&node, target).await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (404, &json!("not_found")),
            "{target}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn wrong_methods_answer_405_with_allow() {
    let node = full_setup().start().await;
    let bearer = format!("Bot {}", key("bot"));
    for endpoint in GUARDED.into_iter().chain(["/gateway"]) {
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            let target = format!("/api/v10{endpoint}");
            let answer = request(node.address(), method, &target, &[("authorization", &bearer)], "{}").await;
            assert_refused(&format!("{method} {target}"), &answer, 405, "405: Method Not Allowed");
            assert_eq!(answer.header("allow"), Some("GET, HEAD, OPTIONS"), "{method} {target}");
        }
    }
}

#[tokio::test]
async fn the_gateway_url_uses_the_host_of_the_request() {
    let node = full_setup().start().await;
    for host in ["gateway.example", "gateway.example:8443", "[::1]:8080"] {
        let request = format!("GET /api/v10/gateway HTTP/1.1\r\nhost: {host}\r\n");
        assert_eq!(url_of(&node, &request).await, format!("ws://{host}"));
    }
    let whole = "GET http://gateway.example:81/api/v10/gateway HTTP/1.1\r\nhost: other.example\r\n";
    assert_eq!(url_of(&node, whole).await, "ws://gateway.example:81");
    // Headers of an untrusted proxy are ignored.
    let proxied = "GET /api/v10/gateway HTTP/1.1\r\nhost: h\r\nx-forwarded-proto: https\r\n";
    assert_eq!(url_of(&node, proxied).await, "ws://h");
}

#[tokio::test]
async fn the_gateway_url_falls_back_to_the_listener_address() {
    let node = full_setup().start().await;
    for request in [
        "GET /api/v10/gateway HTTP/1.0\r\n",
        "GET /api/v10/gateway HTTP/1.1\r\nhost: a/b?c#d\r\n",
    ] {
        assert_eq!(url_of(&node, request).await, format!("ws://{}", node.address()));
    }
}

#[tokio::test]
async fn the_gateway_url_uses_the_scheme_from_a_trusted_proxy() {
    let node = full_setup().set("server.trusted_proxies", "127.0.0.0/8").start().await;
    for (header, expected) in [
        ("x-forwarded-proto: https", "wss://h"),
        ("x-forwarded-proto: http", "ws://h"),
        ("forwarded: for=192.0.2.7;proto=https", "wss://h"),
        ("x-forwarded-for: 192.0.2.7", "ws://h"),
    ] {
        let request = format!("GET /api/v10/gateway HTTP/1.1\r\nhost: h\r\n{header}\r\n");
        assert_eq!(url_of(&node, &request).await, expected, "{header}");
    }
}

#[tokio::test]
async fn a_configured_url_overrides_every_header_and_loses_its_path() {
    let node = full_setup()
        .set("server.public_url", "wss://gateway.example/path?v=1")
        .set("discord.resume_url", "wss://resume.example/")
        .set("server.trusted_proxies", "127.0.0.0/8")
        .start()
        .await;
    let request = "GET /api/v10/gateway HTTP/1.1\r\nhost: h\r\nx-forwarded-proto: http\r\n";
    assert_eq!(url_of(&node, request).await, "wss://gateway.example");
    let bot = fetch_as_bot(&node, "/api/v10/gateway/bot", &key("bot")).await;
    assert_eq!(bot["url"], "wss://gateway.example");
}

#[tokio::test]
async fn the_gateway_url_is_wss_over_tls() {
    let (node, _folder, trusted) = secured_node().await;
    let mut stream = stream(&node, trusted).await;
    let request = "GET /api/v10/gateway HTTP/1.1\r\nhost: localhost:1\r\nconnection: close\r\n\r\n";
    let mut answer = String::new();
    within("the answer over TLS", async {
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.read_to_string(&mut answer).await.ok();
    })
    .await;
    assert_eq!(url_in(&answer), "wss://localhost:1");
}

#[tokio::test]
async fn sighup_reloads_applications() {
    let node = setup().start().await;
    let text = fs::read_to_string(node.file()).unwrap();
    fs::write(
        node.file(),
        text.replace("shards = 3", "shards = 5").replace("\"Shop\"", "\"Mall\""),
    )
    .unwrap();
    node.signal(Signal::SIGHUP);
    node.logged("configuration reloaded").await;
    let bot = fetch_as_bot(&node, "/api/v10/gateway/bot", &key("seller")).await;
    assert_eq!(bot["shards"], 5);
    let user = fetch_as_bot(&node, "/api/v10/users/@me", &key("seller")).await;
    assert_eq!(
        (&user["username"], &user["id"]),
        (&json!("Mall"), &json!("80351110224678913"))
    );
}

#[tokio::test]
async fn a_revoked_key_is_rejected() {
    let node = setup().start().await;
    fetch_as_bot(&node, "/api/v10/users/@me", &key("seller")).await;
    let text = fs::read_to_string(node.file()).unwrap();
    fs::write(node.file(), text.replace("id = \"seller\"", "id = \"buyer\"")).unwrap();
    node.signal(Signal::SIGHUP);
    node.logged("configuration reloaded").await;
    let answer = request_as(&node, "/api/v10/users/@me", &format!("Bot {}", key("seller"))).await;
    assert_refused("a revoked key", &answer, 401, "401: Unauthorized");
    fetch_as_bot(&node, "/api/v10/users/@me", &key("buyer")).await;
}
