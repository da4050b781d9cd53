//! The client side of protocol version 1.

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::json;

use super::{LoadClientEvent, LoadClientState};

#[derive(Deserialize)]
struct LoadV1Payload<'a> {
    op: i64,
    #[serde(default)]
    e: i64,
    #[serde(borrow, default)]
    t: Option<&'a str>,
    #[serde(default)]
    m: Option<String>,
}

/// Returns the Identify packet, the answer to Hello.
pub(super) fn identify(kind: &str, key: &str) -> String {
    json!({ "op": 1, "t": "identify", "d": { "type": kind, "key": key } }).to_string()
}

/// Handles a payload. Returns whether it was Hello.
pub(super) fn take(
    payload: &[u8],
    state: &mut LoadClientState,
    error: &mut Option<Box<(i64, String)>>,
    on_event: &mut dyn FnMut(LoadClientEvent<'_>),
) -> Result<bool> {
    match payload {
        b"{\"op\":11}" => on_event(LoadClientEvent::Ack),
        // Long events are not parsed as JSON: that would cost the client more than they cost the node.
        long if long.len() > 1024 && long.starts_with(b"{\"op\":0,\"t\":\"announce\",") => {
            on_event(LoadClientEvent::Announce(long));
        }
        short => {
            let LoadV1Payload { op, e, t, m } = serde_json::from_slice(short)
                .with_context(|| format!("not a payload: {}", String::from_utf8_lossy(short)))?;
            match (op, t, &state) {
                (-1, _, _) => *error = Some(Box::new((e, m.unwrap_or_default()))),
                (5, _, LoadClientState::Upgraded) => {
                    *state = LoadClientState::Identifying;
                    return Ok(true);
                }
                (0, Some("bot_connect_success"), LoadClientState::Identifying) => *state = LoadClientState::Welcomed,
                (0, Some("GLOBAL_GUILD_COUNT"), LoadClientState::Welcomed) => {
                    *state = LoadClientState::Live;
                    on_event(LoadClientEvent::Live);
                }
                (0, Some("GLOBAL_GUILD_COUNT"), LoadClientState::Live) => {}
                (0, Some("announce"), _) => on_event(LoadClientEvent::Announce(short)),
                (11, _, _) => on_event(LoadClientEvent::Ack),
                _ => bail!(
                    "unexpected payload in state {state:?}: {}",
                    String::from_utf8_lossy(short)
                ),
            }
        }
    }
    Ok(false)
}
