//! Cross-origin requests: which web pages may read the responses of the HTTP API.

use gateway_harness::{ApiResponse, NodeProcess, Setup, full_setup, request};

const PAGE: &str = "https://site.example";

async fn from_page(node: &NodeProcess, method: &str, target: &str, origin: &str) -> ApiResponse {
    let headers = [("origin", origin), ("access-control-request-method", "POST")];
    let headers = if method == "OPTIONS" {
        &headers[..]
    } else {
        &headers[..1]
    };
    request(node.address(), method, target, headers, "").await
}

fn allowed(response: &ApiResponse) -> Option<&str> {
    assert_eq!(response.header("vary"), Some("Origin"), "{response:?}");
    assert_eq!(response.header("access-control-allow-credentials"), None);
    response.header("access-control-allow-origin")
}

#[tokio::test]
async fn any_page_may_read_unless_some_are_listed() {
    let any = full_setup().start().await;
    let listed = full_setup().file(&format!(
        "server.allowed_origins = [\"{PAGE}\"]\n{}",
        gateway_harness::KEYS
    ));
    let listed = listed.start().await;
    for (node, origin, expected) in [
        (&any, PAGE, Some("*")),
        (&any, "null", Some("*")),
        (&listed, PAGE, Some(PAGE)),
        (&listed, "https://evil.example", None),
        (&listed, "null", None),
    ] {
        for target in ["/health", "/api/v1/events", "/nothing"] {
            let response = from_page(node, "GET", target, origin).await;
            assert_eq!(allowed(&response), expected, "{origin} {target}");
        }
    }
    let response = request(any.address(), "GET", "/health", &[], "").await;
    assert_eq!(allowed(&response), None);
}

#[tokio::test]
async fn development_mode_allows_only_pages_of_this_machine() {
    let node = Setup::new().start().await;
    let response = from_page(&node, "GET", "/health", "http://localhost:3000").await;
    assert_eq!(allowed(&response), Some("http://localhost:3000"));
    let response = from_page(&node, "GET", "/health", PAGE).await;
    assert_eq!((response.status, allowed(&response)), (403, None));
}

#[tokio::test]
async fn a_preflight_lists_the_methods_and_headers_of_its_path() {
    let node = full_setup().start().await;
    let response = from_page(&node, "OPTIONS", "/api/v1/events", PAGE).await;
    assert_eq!((response.status, allowed(&response)), (204, Some("*")));
    let header = |name| {
        response
            .header(name)
            .unwrap_or_else(|| panic!("{name} in {response:?}"))
    };
    assert_eq!(header("access-control-allow-methods"), header("allow"));
    assert!(header("access-control-allow-methods").contains("POST"));
    assert_eq!(
        header("access-control-allow-headers"),
        "authorization, content-type, idempotency-key, traceparent"
    );
    // A path that does not exist has no methods.
    let response = from_page(&node, "OPTIONS", "/nothing", PAGE).await;
    assert_eq!(response.header("access-control-allow-methods"), None);
}
