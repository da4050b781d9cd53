//! HEAD, OPTIONS and wrong methods on every route of every listener.

use std::net::{Ipv4Addr, SocketAddr};

use gateway_harness::{ApiResponse, Raw, full_setup, key, request};
use gateway_node::http::{Endpoint, admin_endpoints, public_endpoints};

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Builds a path that the route `pattern` matches, with a value for each of its parameters.
fn path(pattern: &str) -> String {
    let mut path = String::new();
    for segment in pattern.split_inclusive('/') {
        let (segment, slash) = segment
            .strip_suffix('/')
            .map_or((segment, ""), |segment| (segment, "/"));
        path.push_str(match segment {
            "{application}" => "utilbot",
            "{guild}" => "7",
            "{id}" => "1",
            "{job}" => "00000000000000000000000000000001",
            "{order}" => "reconnect",
            "{version:v(?:[6-9]|10)}" => "v10",
            segment => segment,
        });
        path.push_str(slash);
    }
    assert!(!path.contains('{'), "no value for {pattern}");
    path
}

/// Returns the header lines that are the same in every response: all but the date and the length.
fn stable_headers(answer: &ApiResponse) -> Vec<String> {
    let is_stable = |line: &&str| !line.starts_with("date:") && !line.starts_with("content-length:");
    let mut lines: Vec<_> = answer.head.lines().filter(is_stable).map(str::to_owned).collect();
    lines.sort();
    lines
}

async fn check_methods(address: SocketAddr, endpoints: &[Endpoint]) {
    for endpoint in endpoints {
        let allow = endpoint.allow();
        let allowed: Vec<_> = allow.split(", ").collect();
        for target in endpoint.paths().iter().map(|pattern| path(pattern)) {
            for method in METHODS.into_iter().filter(|method| !allowed.contains(method)) {
                let answer = request(address, method, &target, &[], "").await;
                assert_eq!(
                    (answer.status, answer.header("allow")),
                    (405, Some(&*allow)),
                    "{method} {target}: {answer:?}"
                );
                assert_eq!(
                    answer.header("content-type"),
                    Some("application/json"),
                    "{method} {target}"
                );
                if method != "HEAD" {
                    let body = answer.json();
                    let is_discords = body["code"] == 0 && body["message"] == "405: Method Not Allowed";
                    assert!(
                        is_discords || body["code"] == "method_not_allowed",
                        "{method} {target}: {body}"
                    );
                }
            }
            let options = request(address, "OPTIONS", &target, &[], "").await;
            assert_eq!(
                (options.status, options.header("allow"), &*options.body),
                (204, Some(&*allow), ""),
                "OPTIONS {target}"
            );
            if allowed.contains(&"GET") {
                assert!(allowed.contains(&"HEAD"), "{target}");
                for authorization in ["", &format!("Bearer {}", key("root")), &format!("Bot {}", key("bot"))] {
                    let headers = [("authorization", authorization)];
                    for target in [target.clone(), format!("{target}?probe=1")] {
                        let get = request(address, "GET", &target, &headers, "").await;
                        let head = request(address, "HEAD", &target, &headers, "").await;
                        assert_eq!(stable_headers(&head), stable_headers(&get), "HEAD {target}");
                        assert_eq!(head.body, "", "HEAD {target}");
                        assert_eq!(
                            head.header("content-length").is_some(),
                            get.header("content-length").is_some(),
                            "HEAD {target}"
                        );
                    }
                }
            }
        }
    }
    for target in [
        "/nothing",
        "/api/v1/nothing",
        "/api/v10/nothing",
        "/api/v1/sessions/1/2/3",
    ] {
        for method in METHODS {
            assert_eq!(
                request(address, method, target, &[], "").await.status,
                404,
                "{method} {target}"
            );
        }
    }
}

#[tokio::test]
async fn every_route_answers_head_as_get_options_with_204_and_wrong_methods_with_405() {
    let node = full_setup()
        .set("metrics.public", true)
        .set("admin.bind", "127.0.0.1:0")
        .set("limits.connection_attempts_per_minute", 1_000_000)
        .start()
        .await;
    let admin = node.banner()["admin_address"].as_str().unwrap().parse().unwrap();
    check_methods(node.address(), &public_endpoints()).await;
    check_methods(admin, &admin_endpoints()).await;
}

#[tokio::test]
async fn requests_with_any_method_count_as_attempts() {
    let node = full_setup()
        .set("limits.connection_attempts_per_minute", 3)
        .start()
        .await;
    for (method, expected) in [("POST", 405), ("OPTIONS", 204), ("HEAD", 200), ("OPTIONS", 429)] {
        let raw = Raw::connect_from(Ipv4Addr::new(127, 0, 0, 2), node.address()).await;
        let answer = raw.expect("the node accepts").ask(method, "/health", &[]).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {expected} ")),
            "{method}: {answer}"
        );
    }
}

#[tokio::test]
async fn a_full_node_answers_head_without_a_body() {
    let node = full_setup().set("limits.connections", 1).start().await;
    // Open more than fit, so that a request of this test cannot take the last place.
    let mut open = Vec::new();
    for _ in 0..3 {
        open.extend(Raw::connect_from(Ipv4Addr::LOCALHOST, node.address()).await);
    }
    for (target, expected) in [("/livez", 200), ("/health", 503)] {
        gateway_harness::eventually("a full node answers", async || {
            let raw = Raw::connect_from(Ipv4Addr::new(127, 0, 0, 2), node.address()).await?;
            let answer = raw.ask("HEAD", target, &[]).await;
            let is_it = answer.starts_with(&format!("HTTP/1.1 {expected} ")) && answer.ends_with("\r\n\r\n");
            is_it.then_some(())
        })
        .await;
    }
}
