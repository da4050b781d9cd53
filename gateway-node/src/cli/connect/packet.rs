//! Packets: those to send, and those received, whose members are kept as they arrived.

use std::{
    collections::BTreeMap,
    io::{self, Read as _},
    ops::Not,
};

use flate2::read::ZlibDecoder;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use shared::{client_type::ClientType, v1};

use super::args::Servers;
use crate::logging::escape_json;

/// Maximum bytes of a message, before and after inflating: far more than a gateway sends, but little enough to make a
/// zip bomb harmless.
pub(super) const MESSAGE_BYTES: usize = 16 << 20;

/// `op` of an error.
pub(super) const ERROR: i64 = -1;
/// `op` of an event from the gateway.
pub(super) const EVENT: i64 = 0;
/// `op` of an event from a client.
pub(super) const CLIENT_EVENT: i64 = 1;
/// `op` of the first packet of a connection.
pub(super) const HELLO: i64 = 5;
/// `op` of a client's heartbeat.
pub(super) const HEARTBEAT: i64 = 10;
/// `op` of the gateway's reply to a heartbeat.
pub(super) const HEARTBEAT_ACK: i64 = 11;

/// The members of a JSON object, each as raw JSON on one line that is safe to print.
#[derive(Debug, Default)]
pub(super) struct Packet {
    members: BTreeMap<String, Box<RawValue>>,
}

impl Packet {
    /// Parses `text`. Returns `None` if it is not a JSON object.
    pub(super) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str::<&RawValue>(text).ok()?;
        let members = serde_json::from_str(&escape_json(&compact(text))).ok()?;
        Some(Self { members })
    }

    /// Returns a member as raw JSON.
    pub(super) fn raw(&self, name: &str) -> Option<&RawValue> {
        self.members.get(name).map(AsRef::as_ref)
    }

    /// Returns a member as a `T`, or `None` if it is absent or of another type.
    pub(super) fn get<'a, T: Deserialize<'a>>(&'a self, name: &str) -> Option<T> {
        serde_json::from_str(self.raw(name)?.get()).ok()
    }

    /// Returns the opcode, if it is an integer.
    pub(super) fn op(&self) -> Option<i64> {
        self.get("op")
    }

    /// Returns the event's name.
    pub(super) fn name(&self) -> Option<String> {
        self.get("t")
    }

    /// Returns the position that the packet tells the client: `p`, or `position` of an event of the gateway about it.
    pub(super) fn position(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Told {
            position: String,
        }

        let is_own =
            |name: &String| name.ends_with("_connect_success") || *name == v1::CAUGHT_UP || *name == v1::EVENTS_LOST;
        let told = || self.get::<Told>("d").map(|told| told.position);
        self.get("p")
            .or_else(|| self.name().filter(is_own).and_then(|_| told()))
    }

    /// Returns the members that the protocol does not define.
    pub(super) fn others(&self) -> BTreeMap<&str, &RawValue> {
        let named = |name: &str| matches!(name, "op" | "t" | "e" | "m" | "d");
        self.members
            .iter()
            .filter(|(name, _)| !named(name))
            .map(|(name, value)| (name.as_str(), value.as_ref()))
            .collect()
    }

    /// Redacts the key in an identify.
    pub(super) fn without_key(mut self) -> Self {
        if self.name().as_deref() == Some("identify")
            && let Some(mut data) = self.get::<BTreeMap<String, Box<RawValue>>>("d")
            && let Some(key) = data.get_mut("key")
            && let Ok(stars) = serde_json::value::to_raw_value("<redacted>")
        {
            *key = stars;
            if let Ok(data) = serde_json::value::to_raw_value(&data) {
                self.members.insert("d".to_owned(), data);
            }
        }
        self
    }
}

/// Inflates one zlib stream.
///
/// # Errors
///
/// If `bytes` is not a whole zlib stream, or inflates to more than [`MESSAGE_BYTES`].
pub(super) fn inflate(bytes: &[u8]) -> io::Result<String> {
    let mut text = String::new();
    ZlibDecoder::new(bytes)
        .take(MESSAGE_BYTES as u64 + 1)
        .read_to_string(&mut text)?;
    if text.len() > MESSAGE_BYTES {
        return Err(io::Error::other("inflates to too much"));
    }
    Ok(text)
}

/// Builds a heartbeat.
pub(super) fn heartbeat() -> String {
    format!("{{\"op\":{HEARTBEAT}}}")
}

/// What an identify asks for besides a session.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct IdentifyScope {
    /// The guilds to watch or report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) guilds: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Not::not")]
    pub(super) counts: bool,
    #[serde(skip_serializing_if = "Not::not")]
    pub(super) positions: bool,
    /// How many jobs to take at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) jobs: Option<u16>,
    /// The position after which events are missed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) after: Option<String>,
}

/// Builds an identify. It contains the key, so it may be sent but not shown.
pub(super) fn identify(client_type: ClientType, key: &str, scope: &IdentifyScope) -> String {
    #[derive(Serialize)]
    struct IdentifyPacket<'a> {
        r#type: ClientType,
        key: &'a str,
        #[serde(flatten)]
        scope: &'a IdentifyScope,
    }

    client_event(
        "identify",
        &IdentifyPacket {
            r#type: client_type,
            key,
            scope,
        },
    )
}

/// Builds a report of servers.
pub(super) fn send_servers(servers: Servers) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct SendServers {
        guilds: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        guild_members: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cached_guild_members: Option<u64>,
    }

    client_event(
        "send_servers",
        &SendServers {
            guilds: servers.guilds,
            guild_members: servers.members,
            cached_guild_members: servers.cached,
        },
    )
}

/// Builds an application event, with `data` unchanged.
pub(super) fn event(name: &str, data: &RawValue) -> String {
    client_event(name, data)
}

/// Builds a request with a nonce, with `data` unchanged. `data` must be JSON.
pub(super) fn request(name: &str, nonce: &str, data: &str) -> String {
    let [name, nonce] = [name, nonce].map(|text| serde_json::Value::from(text).to_string());
    format!(r#"{{"op":{CLIENT_EVENT},"t":{name},"n":{nonce},"d":{data}}}"#)
}

/// Builds what a client says about a job: that it is done, or that it is to be delivered again, after this time in
/// milliseconds.
pub(super) fn settle(event: &str, receipt: &str, delay_ms: Option<u32>) -> String {
    let receipt = serde_json::Value::from(receipt);
    let d = delay_ms.map_or_else(String::new, |ms| format!(r#","d":{{"delay_ms":{ms}}}"#));
    format!(r#"{{"op":{CLIENT_EVENT},"t":"{event}","r":{receipt}{d}}}"#)
}

/// Builds the answer to a request: a reply or an error, with `data` unchanged.
pub(super) fn reply(event: &str, receipt: &str, data: &RawValue) -> String {
    let receipt = serde_json::Value::from(receipt);
    format!(r#"{{"op":{CLIENT_EVENT},"t":"{event}","r":{receipt},"d":{data}}}"#)
}

fn client_event<D: Serialize + ?Sized>(t: &str, d: &D) -> String {
    #[derive(Serialize)]
    struct EventPacket<'a, D: ?Sized> {
        op: i64,
        t: &'a str,
        d: &'a D,
    }

    let event = EventPacket { op: CLIENT_EVENT, t, d };
    // Strings, numbers and raw JSON always serialise.
    serde_json::to_string(&event).unwrap_or_default()
}

/// Removes the white space between the tokens of `json`, which must be valid.
pub(in crate::cli) fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for c in json.chars() {
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if matches!(c, ' ' | '\t' | '\n' | '\r') {
            continue;
        } else {
            in_string = c == '"';
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::ZlibEncoder};

    use super::*;

    fn deflate(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn members_keep_their_digits_and_lose_white_space() {
        let packet = Packet::parse("{\"op\":0,\n\"t\":\"a b\",\"d\":{ \"n\": 1.0,\n\"s\":\" \\\" \" }}").unwrap();
        assert_eq!(packet.op(), Some(0));
        assert_eq!(packet.name().as_deref(), Some("a b"));
        assert_eq!(packet.raw("d").unwrap().get(), r#"{"n":1.0,"s":" \" "}"#);
    }

    #[test]
    fn only_json_objects_are_packets() {
        for text in ["", "[]", "5", "\"{}\"", "{", "{} {}", "{\"a\":1,}"] {
            assert!(Packet::parse(text).is_none(), "{text}");
        }
        assert_eq!(Packet::parse("{\"op\":1.5}").unwrap().op(), None);
        assert_eq!(Packet::parse("{}").unwrap().op(), None);
    }

    #[test]
    fn the_key_of_an_identify_is_redacted() {
        let text = identify(ClientType::Bot, "id.se\"cret", &IdentifyScope::default());
        assert_eq!(
            text,
            r#"{"op":1,"t":"identify","d":{"type":"bot","key":"id.se\"cret"}}"#
        );
        let packet = Packet::parse(&text).unwrap().without_key();
        assert_eq!(packet.raw("d").unwrap().get(), r#"{"key":"<redacted>","type":"bot"}"#);
        let other = Packet::parse(r#"{"t":"other","d":{"key":"k"}}"#).unwrap();
        assert_eq!(other.without_key().raw("d").unwrap().get(), r#"{"key":"k"}"#);
    }

    #[test]
    fn an_identify_asks_for_what_was_given() {
        let scope = IdentifyScope {
            guilds: Some(["1", "42"].map(str::to_owned).into()),
            counts: true,
            positions: true,
            jobs: Some(3),
            after: Some("a-1".to_owned()),
        };
        assert_eq!(
            identify(ClientType::Website, "k", &scope),
            concat!(
                r#"{"op":1,"t":"identify","d":{"type":"website","key":"k","#,
                r#""guilds":["1","42"],"counts":true,"positions":true,"jobs":3,"after":"a-1"}}"#
            )
        );
    }

    #[test]
    fn a_position_is_read_where_the_gateway_tells_it() {
        let position = |text: &str| Packet::parse(text).unwrap().position();
        for text in [
            r#"{"op":11,"p":"a-1"}"#,
            r#"{"op":0,"t":"x","p":"a-1","d":{"position":"b-2"}}"#,
            r#"{"op":0,"t":"bot_connect_success","d":{"position":"a-1"}}"#,
            r#"{"op":0,"t":"events_lost","d":{"after":"b-2","position":"a-1"}}"#,
        ] {
            assert_eq!(position(text).as_deref(), Some("a-1"), "{text}");
        }
        // An answer says where a packet of the client is, not how far the client has come.
        for text in [
            r#"{"op":0,"t":"event_accepted","n":1,"d":{"position":"a-1"}}"#,
            r#"{"op":0,"t":"x","d":{"position":"a-1"}}"#,
            r#"{"op":11}"#,
        ] {
            assert_eq!(position(text), None, "{text}");
        }
    }

    #[test]
    fn inflating_is_bounded_and_needs_the_whole_stream() {
        let stream = deflate(b"{\"op\":11}");
        assert_eq!(inflate(&stream).unwrap(), "{\"op\":11}");
        assert!(inflate(&stream[..stream.len() - 5]).is_err());
        assert!(inflate(b"not zlib").is_err());
        assert!(inflate(&deflate(&vec![b' '; MESSAGE_BYTES])).is_ok());
        assert!(inflate(&deflate(&vec![b' '; MESSAGE_BYTES + 1])).is_err());
    }
}
