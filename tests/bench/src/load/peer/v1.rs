//! What a client of version 1 says and hears.

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::json;

use super::{Heard, Stage};

#[derive(Deserialize)]
struct Payload<'a> {
    op: i64,
    #[serde(default)]
    e: i64,
    #[serde(borrow, default)]
    t: Option<&'a str>,
    #[serde(default)]
    m: Option<String>,
}

/// What answers Hello.
pub(super) fn identify(kind: &str, key: &str) -> String {
    json!({ "op": 1, "t": "identify", "d": { "type": kind, "key": key } }).to_string()
}

/// Takes a payload; whether it was Hello.
pub(super) fn take(
    payload: &[u8],
    stage: &mut Stage,
    error: &mut Option<Box<(i64, String)>>,
    hear: &mut dyn FnMut(Heard<'_>),
) -> Result<bool> {
    match payload {
        b"{\"op\":11}" => hear(Heard::Ack),
        // A long event is not parsed: that would cost its reader more than the node paid for it.
        long if long.len() > 1024 && long.starts_with(b"{\"op\":0,\"t\":\"announce\",") => {
            hear(Heard::Announce(long));
        }
        short => {
            let Payload { op, e, t, m } = serde_json::from_slice(short)
                .with_context(|| format!("not a payload: {}", String::from_utf8_lossy(short)))?;
            match (op, t, &stage) {
                (-1, _, _) => *error = Some(Box::new((e, m.unwrap_or_default()))),
                (5, _, Stage::Upgraded) => {
                    *stage = Stage::Identifying;
                    return Ok(true);
                }
                (0, Some("bot_connect_success"), Stage::Identifying) => *stage = Stage::Welcomed,
                (0, Some("GLOBAL_GUILD_COUNT"), Stage::Welcomed) => {
                    *stage = Stage::Live;
                    hear(Heard::Live);
                }
                (0, Some("GLOBAL_GUILD_COUNT"), Stage::Live) => {}
                (0, Some("announce"), _) => hear(Heard::Announce(short)),
                (11, _, _) => hear(Heard::Ack),
                _ => bail!("unexpected while {stage:?}: {}", String::from_utf8_lossy(short)),
            }
        }
    }
    Ok(false)
}
