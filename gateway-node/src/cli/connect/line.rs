//! Parses typed lines into commands.

use serde::Deserialize as _;
use serde_json::value::RawValue;
use shared::v1::{ACK, NACK, REPLY, REPLY_ERROR};

use super::{
    args::{NoServers, Servers},
    packet,
};

/// The output of `/help`.
pub(super) const HELP: &[&str] = &[
    "NAME {\"a\":1}         send the event NAME with that data",
    "request NAME {...}   send a request, whose outcome has the same n",
    "reply RECEIPT {...}  answer a request; reply_error RECEIPT {...}: with an error",
    "ack RECEIPT          a job is done; nack RECEIPT [MS]: deliver it again, after MS",
    "{\"op\":10}            send a JSON object as it is",
    "servers 5 100 50     report guilds, members and cached members",
    "/help  /quit         this text; close and end",
];

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum InputCommand {
    /// Send this packet.
    Send(String),
    /// Send a request with this name and data, which get a nonce.
    Request {
        /// The name of the event.
        name: String,
        /// The data: a JSON object.
        data: String,
    },
    /// Print [`HELP`].
    Help,
    /// Close and end.
    Quit,
}

/// Why a line is not a command. `Display` says what was expected.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LineError {
    #[error("not sent: not a JSON object: {0}")]
    Object(String),
    #[error(
        "not sent: expected NAME {{...}}, request NAME {{...}}, reply RECEIPT {{...}}, ack RECEIPT, a JSON object, servers GUILDS [MEMBERS \
             [CACHED]], /help or /quit"
    )]
    Shape,
    #[error("not sent: the data of {name} is not a JSON object: {problem}")]
    Data { name: String, problem: String },
    #[error("not sent: servers: {0}")]
    Servers(#[from] NoServers),
    #[error("no such command: expected /help or /quit")]
    Slash,
}

/// Parses a line. Returns `None` if it is empty.
pub(super) fn parse(line: &str) -> Result<Option<InputCommand>, LineError> {
    let line = line.trim();
    if line.is_empty() {
        return Ok(None);
    }
    if line.starts_with('{') {
        object(line).map_err(LineError::Object)?;
        return Ok(Some(InputCommand::Send(line.to_owned())));
    }
    if line.starts_with('/') {
        return match line {
            "/help" => Ok(Some(InputCommand::Help)),
            "/quit" => Ok(Some(InputCommand::Quit)),
            _ => Err(LineError::Slash),
        };
    }
    let (name, rest) = line
        .split_once(char::is_whitespace)
        .map_or((line, ""), |(name, rest)| (name, rest.trim_start()));
    if name == "servers" && !rest.starts_with('{') {
        let servers = Servers::parse(rest.split_whitespace())?;
        return Ok(Some(InputCommand::Send(packet::send_servers(servers))));
    }
    if matches!(name, "request" | REPLY | REPLY_ERROR) && !rest.starts_with('{') {
        let (of, rest) = rest.split_once(char::is_whitespace).ok_or(LineError::Shape)?;
        let data = data(of, rest.trim_start())?;
        return Ok(Some(if name == "request" {
            InputCommand::Request {
                name: of.to_owned(),
                data: data.get().to_owned(),
            }
        } else {
            InputCommand::Send(packet::reply(name, of, data))
        }));
    }
    if matches!(name, ACK | NACK) && !rest.starts_with('{') {
        let mut words = rest.split_whitespace();
        let receipt = words.next().ok_or(LineError::Shape)?;
        let delay = words.next().filter(|_| name == NACK).map(str::parse).transpose();
        let delay = delay.map_err(|_| LineError::Shape)?;
        if words.next().is_some() || (name == ACK && rest.contains(char::is_whitespace)) {
            return Err(LineError::Shape);
        }
        return Ok(Some(InputCommand::Send(packet::settle(name, receipt, delay))));
    }
    if rest.is_empty() || name.contains(['{', '"']) {
        return Err(LineError::Shape);
    }
    Ok(Some(InputCommand::Send(packet::event(name, data(name, rest)?))))
}

/// Returns the data of an event if it is one JSON object.
fn data<'a>(name: &str, text: &'a str) -> Result<&'a RawValue, LineError> {
    object(text).map_err(|problem| LineError::Data {
        name: name.to_owned(),
        problem,
    })
}

/// Returns `text` unchanged if it is one JSON object.
pub(in crate::cli) fn object(text: &str) -> Result<&RawValue, String> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let raw = <&RawValue>::deserialize(&mut reader)
        .and_then(|raw| reader.end().map(|()| raw))
        .map_err(|error| error.to_string())?;
    if raw.get().starts_with('{') {
        Ok(raw)
    } else {
        Err("expected {...}".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(line: &str) -> String {
        match parse(line) {
            Ok(Some(InputCommand::Send(text))) => text,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_name_and_an_object_become_an_event() {
        assert_eq!(
            sent(" announce  {\"b\": 1.0, \"a\": 12345678901234567890123} \n"),
            r#"{"op":1,"t":"announce","d":{"b": 1.0, "a": 12345678901234567890123}}"#
        );
        assert_eq!(sent("ä\\ {}"), r#"{"op":1,"t":"ä\\","d":{}}"#);
    }

    #[test]
    fn an_object_is_sent_as_it_is() {
        assert_eq!(sent("{\"op\":10, \"x\":1}"), "{\"op\":10, \"x\":1}");
        assert_eq!(sent("{}"), "{}");
    }

    #[test]
    fn servers_become_a_report() {
        assert_eq!(
            sent("servers 5 100 50"),
            r#"{"op":1,"t":"send_servers","d":{"guilds":5,"guildMembers":100,"cachedGuildMembers":50}}"#
        );
        assert_eq!(sent("servers 5"), r#"{"op":1,"t":"send_servers","d":{"guilds":5}}"#);
        assert_eq!(sent("servers {}"), r#"{"op":1,"t":"servers","d":{}}"#);
    }

    #[test]
    fn requests_and_replies_are_recognised() {
        let request = InputCommand::Request {
            name: "get_settings".to_owned(),
            data: "{\"a\": 1.0}".to_owned(),
        };
        assert_eq!(parse("request get_settings {\"a\": 1.0}"), Ok(Some(request)));
        assert_eq!(
            sent("reply 0a {\"b\":1}"),
            r#"{"op":1,"t":"reply","r":"0a","d":{"b":1}}"#
        );
        assert_eq!(
            sent("reply_error 0a {}"),
            r#"{"op":1,"t":"reply_error","r":"0a","d":{}}"#
        );
        // An event of the table may be named like a command.
        assert_eq!(sent("request {}"), r#"{"op":1,"t":"request","d":{}}"#);
        let error = |line: &str| parse(line).unwrap_err().to_string();
        assert!(error("request get_settings").contains("request NAME {...}"));
        assert!(error("reply 0a 5").contains("data of 0a is not a JSON object"));
    }

    #[test]
    fn jobs_are_acknowledged_and_given_back() {
        assert_eq!(sent("ack 0a.1"), r#"{"op":1,"t":"ack","r":"0a.1"}"#);
        assert_eq!(sent("nack 0a.1"), r#"{"op":1,"t":"nack","r":"0a.1"}"#);
        assert_eq!(
            sent("nack 0a.1 500"),
            r#"{"op":1,"t":"nack","r":"0a.1","d":{"delay_ms":500}}"#
        );
        for wrong in ["ack", "ack a b", "nack a b", "nack a 1 2"] {
            assert_eq!(parse(wrong), Err(LineError::Shape), "{wrong}");
        }
    }

    #[test]
    fn commands_and_empty_lines_are_recognised() {
        assert_eq!(parse("/help"), Ok(Some(InputCommand::Help)));
        assert_eq!(parse(" /quit "), Ok(Some(InputCommand::Quit)));
        assert_eq!(parse(""), Ok(None));
        assert_eq!(parse(" \t"), Ok(None));
    }

    #[test]
    fn bad_lines_say_what_was_expected() {
        let error = |line: &str| parse(line).unwrap_err().to_string();
        assert!(error("hello").contains("expected NAME {...}"));
        assert!(error("\"x\" {}").contains("expected NAME {...}"));
        assert!(error("{\"op\":").starts_with("not sent: not a JSON object: EOF"));
        assert!(error("{} {}").contains("trailing characters"));
        assert!(error("announce 5").contains("data of announce is not a JSON object: expected {...}"));
        assert!(error("announce {}x").contains("trailing characters"));
        assert!(error("announce {a:1}").contains("key must be a string"));
        assert!(error("servers").contains("GUILDS [MEMBERS [CACHED]]"));
        assert!(error("servers 1 2 3 4").contains("GUILDS [MEMBERS [CACHED]]"));
        assert!(error("/nope").contains("expected /help or /quit"));
    }
}
