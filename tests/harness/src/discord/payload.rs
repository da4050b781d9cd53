//! Payloads as the gateway sends them.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// A payload of the gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct GatewayPayload {
    /// The opcode.
    pub op: u64,
    /// The event name of a dispatch.
    pub t: Option<String>,
    /// The sequence number of a dispatch.
    pub s: Option<u64>,
    /// The data.
    pub d: Value,
}

impl GatewayPayload {
    /// Parses a payload. It must have exactly these fields, in this order and without spaces between them, because
    /// twilight searches the text for `"t":`, `"s":` and `"op":` and takes the first of each. Only a dispatch has a
    /// name and a sequence number.
    pub(super) fn read(text: &str) -> Self {
        let payload = Self::split(text).unwrap_or_else(|| panic!("no payload in the order t, s, op, d: {text}"));
        let is_dispatch = payload.op == 0;
        let has = (payload.t.is_some(), payload.s.is_some());
        assert_eq!(has, (is_dispatch, is_dispatch), "{text}");
        payload
    }

    fn split(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(r#"{"t":"#)?;
        let (t, rest) = rest.split_once(r#","s":"#)?;
        let (s, rest) = rest.split_once(r#","op":"#)?;
        let (op, rest) = rest.split_once(r#","d":"#)?;
        Some(Self {
            op: parse(op)?,
            t: parse(t)?,
            s: parse(s)?,
            d: parse(rest.strip_suffix('}')?)?,
        })
    }
}

fn parse<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::GatewayPayload;

    #[test]
    fn reads_a_dispatch_and_a_heartbeat_ack() {
        let dispatch = GatewayPayload::read(r#"{"t":"GUILD_CREATE","s":2,"op":0,"d":{"op":1,"d":[",\"d\":"]}}"#);
        assert_eq!((dispatch.op, dispatch.s), (0, Some(2)));
        assert_eq!(dispatch.t.as_deref(), Some("GUILD_CREATE"));
        assert_eq!(dispatch.d, json!({ "op": 1, "d": [",\"d\":"] }));
        let ack = GatewayPayload::read(r#"{"t":null,"s":null,"op":11,"d":null}"#);
        assert_eq!((ack.op, ack.s, ack.t, ack.d), (11, None, None, json!(null)));
    }

    #[test]
    #[should_panic(expected = "in the order t, s, op, d")]
    fn refuses_another_field_order() {
        GatewayPayload::read(r#"{"op":11,"t":null,"s":null,"d":null}"#);
    }

    #[test]
    #[should_panic(expected = "right: (true, true)")]
    fn refuses_a_dispatch_without_a_sequence_number() {
        GatewayPayload::read(r#"{"t":"READY","s":null,"op":0,"d":{}}"#);
    }
}
