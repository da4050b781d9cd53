//! What nodes ask each other about their sessions, and what they reply.

use serde::{Deserialize, Serialize};
use shared::{session_id::SessionId, v1::Receipt};

use crate::{
    backplane::ReplyAddress,
    registry::{ListedSession, Page, SessionFilter},
};

/// What a node wants to know of all nodes, or have done by the one that has a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Question {
    /// Which sessions there are.
    List { page: Page, filter: SessionFilter },
    /// Send a session a command, as [`SpreadCommand`](crate::registry::SpreadCommand) writes it.
    Command { id: SessionId, command: String },
}

/// The answer of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answered {
    /// The name of the node.
    pub(super) node: String,
    pub(super) answer: Answer,
}

/// What a node replies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Answer {
    /// Its part of the page.
    Sessions(Vec<ListedSession>),
    /// The session has the command.
    Done,
    /// The session is not on this node.
    Elsewhere,
    /// The node does not carry out such a command.
    Refused,
}

/// A question with the way back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) reply_to: ReplyAddress,
    pub(super) receipt: Receipt,
    pub(super) question: Question,
}

impl Asked {
    /// Returns the question as text for other nodes.
    pub(super) fn text(&self) -> String {
        let Self {
            reply_to,
            receipt,
            question,
        } = self;
        // Maps with text keys and numbers are always valid JSON.
        let question = serde_json::to_string(question).unwrap_or_default();
        format!("{reply_to} {receipt} {question}")
    }

    /// Parses a question. Returns `None` if this version does not know it.
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut words = text.splitn(3, ' ');
        let (reply_to, receipt) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let question = serde_json::from_str(words.next()?).ok()?;
        Some(Self {
            reply_to,
            receipt,
            question,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_survive_a_round_trip_through_text() {
        let list = Question::List {
            page: Page {
                after: Some(SessionId::from_raw(7)),
                limit: 100,
            },
            filter: SessionFilter {
                user: Some("a b \n".to_owned()),
                ..SessionFilter::default()
            },
        };
        let command = Question::Command {
            id: SessionId::from_raw(7),
            command: "0 close 4000".to_owned(),
        };
        for question in [list, command] {
            let asked = Asked {
                reply_to: ReplyAddress::from_raw(1),
                receipt: Receipt::from_raw(2),
                question,
            };
            assert_eq!(Asked::read(&asked.text()), Some(asked));
        }
        for other in ["", "1 2", "x 2 {}", "1 2 {}", r#"1 2 {"unknown":{}}"#] {
            assert_eq!(Asked::read(other), None, "{other}");
        }
    }
}
