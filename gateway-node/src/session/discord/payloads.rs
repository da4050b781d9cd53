//! What a client says, and what it means where the connection is.

use serde_json::Value;
use shared::{
    close::Close,
    discord::{Command, Encoding, Opcode, close, opcode_of},
    etf,
};
use smallvec::smallvec;
use tokio::time::Instant;

use super::{
    Discord, Stage, Steps,
    question::{Question, Show},
    requests::Request,
};
use crate::{session::Step, transport::Message};

impl Discord {
    fn decode(&self, message: &Message) -> Result<Value, Close> {
        let bytes = match message {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
        };
        if bytes.len() > self.rules.payload_bytes {
            return Err(close::TOO_LARGE);
        }
        // JSON comes in binary messages as well.
        match (self.query.encoding, message) {
            (Encoding::Json, _) => serde_json::from_slice(bytes).map_err(|_| close::DECODE),
            (Encoding::Etf, Message::Binary(_)) => etf::decode(bytes).map_err(|_| close::DECODE),
            (Encoding::Etf, Message::Text(_)) => Err(close::DECODE),
        }
    }

    pub(super) fn understand(&mut self, message: &Message, now: Instant) -> Result<Steps, Close> {
        let payload = self.decode(message)?;
        let opcode = opcode_of(&payload)?;
        let bucket = if opcode == Opcode::Heartbeat {
            &mut self.heartbeats
        } else {
            &mut self.payloads
        };
        if !bucket.take(now.saturating_duration_since(self.rules.origin)) {
            return Err(close::RATE_LIMITED);
        }
        let has_session = matches!(self.stage, Stage::CatchingUp(_) | Stage::Live(_));
        if !has_session && !opcode.needs_no_session() {
            return if self.had_session {
                Ok(smallvec![Step::Count])
            } else {
                Err(close::NOT_AUTHENTICATED)
            };
        }
        if has_session && matches!(opcode, Opcode::Identify | Opcode::Resume) {
            return Err(close::ALREADY_AUTHENTICATED);
        }
        let mut steps: Steps = smallvec![Step::Count];
        match Command::parse(opcode, &payload, self.query.version)? {
            Command::Heartbeat { seq } => steps.extend(self.heartbeat(seq, now)),
            // Whoever is about to hear that there is no session waits for that.
            _ if matches!(self.stage, Stage::Invalid { .. }) => {}
            Command::Identify(identify) => {
                if identify.compress {
                    self.line.pack();
                }
                // Of this session it has nothing yet, whatever it had of another one.
                self.acknowledged = 0;
                if let Some(presences) = &mut self.presences {
                    presences.forget();
                }
                self.stage = Stage::Asking;
                steps.push(Step::Ask(Question::Open(identify, self.query.version)));
            }
            Command::Resume(resume) => {
                self.acknowledged = resume.seq;
                self.stage = Stage::Asking;
                steps.push(Step::Ask(Question::Resume(resume)));
            }
            command => steps.extend(self.obey(command, now)?),
        }
        Ok(steps)
    }

    fn heartbeat(&mut self, seq: Option<u64>, now: Instant) -> Steps {
        let mut steps = Steps::new();
        if self.heartbeat_by.is_some() {
            self.heartbeat_by = Some(now + self.rules.heartbeat_limit);
        }
        if let Stage::Waiting { until, longest } = &mut self.stage {
            *until = (*until).max((now + self.rules.heartbeat_limit).min(*longest));
        }
        match (seq, &self.stage) {
            (Some(seq), Stage::Live(_)) => {
                self.acknowledged = self.acknowledged.max(seq);
                steps.push(Step::Locate);
            }
            _ => {
                if let Some(attachment) = self.attachment() {
                    attachment.checkpoint(None);
                }
            }
        }
        if self.deaf_until.as_ref().is_none_or(|until| **until <= now) {
            steps.push(self.send(&self.rules.heartbeat_ack));
        }
        steps
    }

    /// Does what the client of a session asks for, or has it wait for its turn.
    fn obey(&mut self, command: Command, now: Instant) -> Result<Option<Step<Question>>, Close> {
        Ok(match command {
            Command::Presence(presence) => {
                let presence = self.presences.get_or_insert_default().set(presence, now);
                presence.and_then(|presence| self.show(Show::Presence(presence)))
            }
            Command::Voice(state) => self.show(Show::Voice(state)),
            command => match (Request::from_command(command, now), &mut self.stage) {
                (Some(request), Stage::CatchingUp(session)) => {
                    if !session.request(request) {
                        return Err(close::RATE_LIMITED);
                    }
                    None
                }
                (Some(request), Stage::Live(session)) => {
                    session.request = Some(Box::new(request));
                    Some(Step::Pause)
                }
                _ => None,
            },
        })
    }

    /// Has the bot of the session seen like this.
    fn show(&self, show: Show) -> Option<Step<Question>> {
        let (attachment, record) = match &self.stage {
            Stage::CatchingUp(session) => (&session.attachment, session.record()),
            Stage::Live(session) => (&session.attachment, &*session.record),
            _ => return None,
        };
        Some(Step::Ask(Question::Show(attachment.appearing(), record.filter, show)))
    }

    /// Shows a presence that had to wait.
    pub(super) fn late_presence(&mut self, now: Instant) -> Option<Step<Question>> {
        let presence = self.presences.as_mut()?.due(now)?;
        self.show(Show::Presence(presence))
    }
}
