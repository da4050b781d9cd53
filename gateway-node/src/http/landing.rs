//! The pages for visitors who open the gateway's address without a WebSocket.

use actix_web::{HttpRequest, HttpResponse, http::header};

/// The protocol's documentation, so that a node can serve the version that it implements.
const PROTOCOL: &str = include_str!("../../../docs/protocol-v1.md");

/// Responds with 426, and to a browser with a page.
pub(super) async fn landing(request: HttpRequest) -> HttpResponse {
    let accept = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    let wants_page = accept.is_some_and(|accept| accept.contains("text/html"));
    let mut response = HttpResponse::UpgradeRequired();
    response
        .insert_header((header::UPGRADE, "websocket"))
        .insert_header((header::SEC_WEBSOCKET_VERSION, "13"));
    if wants_page {
        response
            .insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8"))
            .body(page())
    } else {
        response
            .insert_header((header::CONTENT_TYPE, "application/json"))
            .body(r#"{"code":"upgrade_required","message":"this is a WebSocket"}"#)
    }
}

fn page() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Utilbot Gateway</title>\n\
         <h1>Utilbot Gateway {version}</h1>\n<p>This address is a WebSocket: connect to it with a client.\n\
         <p>Documentation: <a href=\"/protocol\">the protocol</a>\n"
    )
}

/// Serves the documentation of the protocol.
pub(super) async fn protocol() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/markdown; charset=utf-8"))
        .body(PROTOCOL)
}
