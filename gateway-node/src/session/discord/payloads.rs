//! Decodes what a client sends, and handles it according to the connection's state.

use serde_json::Value;
use shared::{
    close::Close,
    discord::{Command, Encoding, Opcode, close, opcode_of},
    etf,
};
use smallvec::smallvec;
use tokio::time::Instant;

use super::{
    Discord, DiscordPhase,
    bot_state::BotState,
    call::{Call, DiscordActions},
    replaying::Replaying,
    requests::Request,
};
use crate::{
    session::{Action, Cx},
    transport::Message,
};

impl Discord {
    fn decode(&self, message: &Message) -> Result<Value, Close> {
        let bytes = match message {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
        };
        if bytes.len() > self.settings.payload_bytes {
            return Err(close::TOO_LARGE);
        }
        // JSON is accepted in binary messages too.
        match (self.query.encoding, message) {
            (Encoding::Json, _) => serde_json::from_slice(bytes).map_err(|_| close::DECODE),
            (Encoding::Etf, Message::Binary(_)) => etf::decode(bytes).map_err(|_| close::DECODE),
            (Encoding::Etf, Message::Text(_)) => Err(close::DECODE),
        }
    }

    pub(super) fn understand(&mut self, message: &Message, cx: &Cx<'_>) -> Result<DiscordActions, Close> {
        let payload = self.decode(message)?;
        let opcode = opcode_of(&payload)?;
        let bucket = if opcode == Opcode::Heartbeat {
            &mut self.heartbeats
        } else {
            &mut self.payloads
        };
        if !bucket.take(cx.now.saturating_duration_since(self.settings.origin)) {
            return Err(close::RATE_LIMITED);
        }
        let has_session = matches!(self.phase, DiscordPhase::Replaying(_) | DiscordPhase::Live(_));
        if !has_session && !opcode.needs_no_session() {
            return if self.had_session {
                Ok(smallvec![Action::Count])
            } else {
                Err(close::NOT_AUTHENTICATED)
            };
        }
        if has_session && matches!(opcode, Opcode::Identify | Opcode::Resume) {
            return Err(close::ALREADY_AUTHENTICATED);
        }
        let mut actions: DiscordActions = smallvec![Action::Count];
        match Command::parse(opcode, &payload, self.query.version)? {
            Command::Heartbeat { seq } => actions.extend(self.heartbeat(seq, cx)),
            // Everything but heartbeats is ignored until the pending Invalid Session has been sent.
            _ if matches!(self.phase, DiscordPhase::Invalid { .. }) => {}
            Command::Identify(mut identify) => {
                actions.extend(identify.library.take().map(Action::NameLibrary));
                if identify.compress {
                    self.encoder.compress_large();
                }
                // What was acknowledged of another session does not count for this one.
                self.acknowledged = 0;
                if let Some(presences) = &mut self.presences {
                    presences.forget();
                }
                self.phase = DiscordPhase::Asking;
                actions.push(Action::Call(Call::Identify(identify, self.query.version)));
            }
            Command::Resume(resume) => {
                self.acknowledged = resume.seq;
                self.phase = DiscordPhase::Asking;
                actions.push(Action::Call(Call::Resume(resume)));
            }
            command => actions.extend(self.obey(command, cx)?),
        }
        Ok(actions)
    }

    fn heartbeat(&mut self, seq: Option<u64>, cx: &Cx<'_>) -> DiscordActions {
        let now = cx.now;
        let mut actions = DiscordActions::new();
        if self.heartbeat_by.is_some() {
            self.heartbeat_by = Some(now + self.settings.heartbeat_limit);
            self.has_heartbeat = true;
        }
        if let DiscordPhase::Waiting { until, longest } = &mut self.phase {
            *until = (*until).max((now + self.settings.heartbeat_limit).min(*longest));
        }
        match (seq, &mut self.phase) {
            (Some(seq), DiscordPhase::Live(session)) => {
                self.acknowledged = self.acknowledged.max(seq);
                session.acknowledge(self.acknowledged, self.encoder.s(), cx.cursor());
            }
            _ => {
                if let Some(ownership) = self.ownership() {
                    ownership.checkpoint(None);
                }
            }
        }
        if self.deaf_until.as_ref().is_none_or(|until| **until <= now) {
            actions.push(Action::Heartbeat(self.encoder.frame(&self.settings.heartbeat_ack)));
        }
        actions
    }

    /// Handles a command of the session's client, or queues it.
    fn obey(&mut self, command: Command, cx: &Cx<'_>) -> Result<DiscordActions, Close> {
        let now = cx.now;
        let action = match command {
            Command::Presence(presence) => {
                let presence = self.presences.get_or_insert_default().set(presence, now);
                presence.and_then(|presence| self.publish_state(BotState::Presence(presence)))
            }
            Command::Voice(state) => self.publish_state(BotState::Voice(state)),
            command => match (Request::from_command(command, now), &mut self.phase) {
                (Some(request), DiscordPhase::Replaying(session)) => {
                    if !session.request(request) {
                        return Err(close::RATE_LIMITED);
                    }
                    None
                }
                (Some(request), DiscordPhase::Live(_)) => return Ok(self.answer_live(request, cx)),
                _ => None,
            },
        };
        Ok(action.into_iter().collect())
    }

    /// Ends the subscription of a live session, so that the answers to a request have places of their own among its
    /// dispatches, and replays from there.
    fn answer_live(&mut self, request: Request, cx: &Cx<'_>) -> DiscordActions {
        let DiscordPhase::Live(live) = std::mem::replace(&mut self.phase, DiscordPhase::Over) else {
            return DiscordActions::new();
        };
        let cursor = cx.cursor();
        cx.unsubscribe();
        let Some(cursor) = cursor else {
            // Its shard has stopped delivering to it; it is about to be told why.
            return self.close(close::UNKNOWN, None);
        };
        let (session, actions) = Replaying::pause(*live, request, self.encoder.s(), cursor);
        self.phase = DiscordPhase::Replaying(Box::new(session));
        actions
    }

    /// Returns the action that shows the session's bot with this presence or voice state.
    fn publish_state(&self, state: BotState) -> Option<Action<Call>> {
        let (ownership, record) = match &self.phase {
            DiscordPhase::Replaying(session) => (&session.ownership, session.record()),
            DiscordPhase::Live(session) => (&session.ownership, &*session.record),
            _ => return None,
        };
        Some(Action::Call(Call::SetState(
            ownership.presence_publisher(),
            record.filter,
            state,
        )))
    }

    /// Returns the step for a presence update that was held back and is now due.
    pub(super) fn late_presence(&mut self, now: Instant) -> Option<Action<Call>> {
        let presence = self.presences.as_mut()?.due(now)?;
        self.publish_state(BotState::Presence(presence))
    }
}
