//! The client side of Discord's protocol. It checks the sequence numbers of dispatches; a gap fails the run.

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{super::announcement::number_after, LoadClientEvent, LoadClientState};

/// The start of an announcement. Announcements are not parsed as JSON: that would cost the client more than they cost
/// the node.
const ANNOUNCE: &[u8] = b"{\"t\":\"announce\",\"s\":";

/// What a client needs to resume its session after its connection has ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct ResumePoint {
    id: String,
    /// Sequence number of the last dispatch.
    seq: u64,
}

#[derive(Deserialize)]
struct LoadDiscordPayload<'a> {
    #[serde(borrow)]
    t: Option<&'a str>,
    s: Option<u64>,
    op: u64,
    #[serde(default)]
    d: Value,
}

/// Returns the Identify payload, the answer to Hello.
pub(super) fn identify(key: &str) -> String {
    json!({ "op": 2, "d": { "token": key, "intents": 0, "properties": {} } }).to_string()
}

/// Returns the Resume payload, the answer to Hello if the client has a session.
pub(super) fn resume(key: &str, ResumePoint { id, seq }: &ResumePoint) -> String {
    json!({ "op": 6, "d": { "token": key, "session_id": id, "seq": seq } }).to_string()
}

/// Handles a payload. Returns whether it was Hello.
pub(super) fn take(
    payload: &[u8],
    state: &mut LoadClientState,
    error: &mut Option<Box<(i64, String)>>,
    session: &mut Option<Box<ResumePoint>>,
    on_event: &mut dyn FnMut(LoadClientEvent<'_>),
) -> Result<bool> {
    if payload.starts_with(ANNOUNCE) {
        count(session, number_after(payload, b"\"s\":"))?;
        on_event(LoadClientEvent::Announce(payload));
        return Ok(false);
    }
    let LoadDiscordPayload { t, s, op, d } = serde_json::from_slice(payload)
        .with_context(|| format!("not a payload: {}", String::from_utf8_lossy(payload)))?;
    match (op, t, &state) {
        (10, _, LoadClientState::Upgraded) => {
            *state = LoadClientState::Identifying;
            return Ok(true);
        }
        (0, Some("READY"), LoadClientState::Identifying) => {
            let id = d["session_id"]
                .as_str()
                .context("READY without a session id")?
                .to_owned();
            *session = Some(Box::new(ResumePoint { id, seq: 1 }));
            *state = LoadClientState::Live;
            on_event(LoadClientEvent::Live);
        }
        (0, Some("RESUMED"), LoadClientState::Identifying) => {
            count(session, s)?;
            *state = LoadClientState::Live;
            on_event(LoadClientEvent::Live);
        }
        // The session cannot be resumed. The node closes the connection a little later.
        (9, _, _) => *error = Some(Box::new((9, "Invalid session".to_owned()))),
        // Reconnect: the node is draining.
        (7, _, _) => {}
        (11, _, _) => on_event(LoadClientEvent::Ack),
        _ => bail!(
            "unexpected payload in state {state:?}: {}",
            String::from_utf8_lossy(payload)
        ),
    }
    Ok(false)
}

/// Checks and stores the sequence number of a dispatch.
fn count(session: &mut Option<Box<ResumePoint>>, s: Option<u64>) -> Result<()> {
    let session = session.as_mut().context("a dispatch before READY")?;
    let s = s.context("a dispatch without a sequence number")?;
    ensure!(s == session.seq + 1, "dispatch {s} after {}", session.seq);
    session.seq = s;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(state: &mut LoadClientState, session: &mut Option<Box<ResumePoint>>, payload: &str) -> Result<bool> {
        take(payload.as_bytes(), state, &mut None, session, &mut |_| {})
    }

    #[test]
    fn resume_carries_the_sequence_number_of_the_last_dispatch() {
        let (mut state, mut session) = (LoadClientState::Upgraded, None);
        let hello = r#"{"t":null,"s":null,"op":10,"d":{"heartbeat_interval":41250}}"#;
        assert!(receive(&mut state, &mut session, hello).unwrap());
        for payload in [
            r#"{"t":"READY","s":1,"op":0,"d":{"session_id":"7"}}"#,
            r#"{"t":"announce","s":2,"op":0,"d":{"n":5,"us":1,"pad":"x"}}"#,
            r#"{"t":"announce","s":3,"op":0,"d":{"n":6,"us":1,"pad":"x"}}"#,
        ] {
            assert!(!receive(&mut state, &mut session, payload).unwrap());
        }
        assert_eq!(state, LoadClientState::Live);
        let resume_point = session.clone().unwrap();
        assert_eq!(
            resume("k", &resume_point),
            r#"{"d":{"seq":3,"session_id":"7","token":"k"},"op":6}"#
        );
        assert!(receive(&mut state, &mut session, r#"{"t":"announce","s":5,"op":0,"d":{}}"#).is_err());
    }
}
