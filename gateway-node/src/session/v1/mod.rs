//! Protocol version 1 as a state machine: exactly the rules of its protocol page.

mod answers;
mod frame;
mod identify;
mod settings;
#[cfg(test)]
mod tests;

use std::{rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use shared::{
    client_type::ClientType,
    close::Close,
    compression::{InflateError, inflate_into},
    discord::{Header, Target},
    problem::Problem,
    routing::Route,
    token_bucket::TokenBucket,
    v1::{
        AfterIdentify, BeforeIdentify, Encoding, Envelope, ErrorCode, Nonce, Query, Refusal, RefusalCode, Rejection,
        Report, Scope, after_identify, before_identify, payload,
    },
};
use smallvec::smallvec;
use tokio::time::Instant;

use self::{answers::Answers, frame::frame, identify::join};
pub use self::{
    identify::{Identified, JoinRequest, V1IdentifyError},
    settings::V1SessionSettings,
};
use super::{Action, CallContext, Cx, PendingCall, Protocol, SessionEnd};
use crate::{
    backplane::{JoinError, Position, Publication, PublishError, Unavailable},
    registry::{EndReason, InjectedFault, Registration},
    transport::{Message, Violation},
};

/// How many answers a session owes before it reads slowly.
const MOST_UNANSWERED: usize = 1024;
/// The pause after each packet of a client that is owed that many answers.
const UNANSWERED_PAUSE: Duration = Duration::from_millis(100);
/// An empty ping.
const PING: Bytes = Bytes::from_static(&[0x89, 0]);

type V1Actions = super::Actions<JoinRequest>;

/// One v1 connection.
pub struct V1 {
    settings: Rc<V1SessionSettings>,
    encoding: Encoding,
    phase: V1Phase,
    /// The time by which the next heartbeat must arrive.
    heartbeat_by: Instant,
    /// Heartbeats are not answered before this time: an injected fault.
    deaf_until: Option<Box<Instant>>,
    payloads: TokenBucket,
    /// When to check next whether a ping is due.
    ping_at: Option<Instant>,
    /// The answers to packets with a nonce. `None` until the first such packet.
    answers: Option<Box<Answers>>,
}

enum V1Phase {
    /// The URL asked for an unsupported version or compression. The client gets an Error instead of Hello.
    Refused(Rejection),
    /// Everything but heartbeats and identify is ignored.
    Unidentified {
        until: Instant,
        /// The bytes that the client may still send, counted after inflating. Boxed because identified sessions have
        /// none.
        input: Box<TokenBucket>,
    },
    /// The identify is being processed.
    Joining,
    Identified(ClientType),
    Over,
}

impl V1 {
    /// Creates a connection whose URL had these values of `v` and `compression`.
    pub fn new(v: Option<&str>, compression: Option<&str>, settings: Rc<V1SessionSettings>, now: Instant) -> Self {
        let (encoding, phase) = match Query::parse(v, compression) {
            Ok(Query { encoding }) => (
                encoding,
                V1Phase::Unidentified {
                    until: now + settings.identify_timeout,
                    input: Box::new(settings.unidentified_input()),
                },
            ),
            // The Error uses the requested compression if that is supported.
            Err(rejection) => (
                Query::parse(None, compression).map_or(Encoding::Text, |query| query.encoding),
                V1Phase::Refused(rejection),
            ),
        };
        let payloads = TokenBucket::per_minute(settings.payloads_per_minute);
        Self {
            heartbeat_by: now + settings.heartbeat_limit(),
            deaf_until: None,
            ping_at: settings.ping_interval.map(|interval| now + interval),
            answers: None,
            settings,
            encoding,
            phase,
            payloads,
        }
    }

    /// Ends the session with an Error from the protocol's table.
    fn fail(&mut self, rejection: &Rejection) -> V1Actions {
        let Rejection { code, problems } = rejection;
        let problem = match code {
            // Not the client's fault, and already logged where it was found.
            ErrorCode::Unknown => None,
            ErrorCode::WrongVersion => Some("wrong version"),
            ErrorCode::WrongAuthKey => Some("wrong auth key"),
            ErrorCode::BotIdUsed => Some("bot id used"),
            ErrorCode::NoOpcode => Some("no opcode"),
            ErrorCode::WrongOpcode => Some("wrong opcode"),
            ErrorCode::MalformedData => Some("malformed data"),
            ErrorCode::NoHeartbeat => Some("no heartbeat"),
            ErrorCode::WrongIdentify => Some("wrong identify"),
        };
        let words = payload::error(*code, code.message(), problems);
        self.finish(&words, code.close(), problem)
    }

    /// Ends the session for a reason that has no Error code of its own.
    fn fail_plainly(&mut self, close: Close, problem: Option<&'static str>) -> V1Actions {
        self.finish(&payload::error(ErrorCode::Unknown, close.reason, &[]), close, problem)
    }

    fn finish(&mut self, words: &str, close: Close, problem: Option<&'static str>) -> V1Actions {
        self.phase = V1Phase::Over;
        smallvec![Action::Close {
            last_words: Some(frame(self.encoding, self.settings.level, words)),
            close,
            problem
        }]
    }

    fn send(&self, words: &str) -> Action<JoinRequest> {
        Action::Send(frame(self.encoding, self.settings.level, words))
    }

    /// Takes one payload from the minute's allowance. Returns `false` if it is used up.
    fn allow(&mut self, now: Instant) -> bool {
        self.payloads.take(now.saturating_duration_since(self.settings.origin))
    }

    /// Charges for a packet of `bytes` (inflated) that was dropped or came before identify, and that led to `steps`.
    /// Reading pauses until the allowance is positive again. A client whose packets are dropped gets no answer, so it
    /// is slowed down instead of being closed.
    fn charge(&mut self, mut actions: V1Actions, bytes: usize, now: Instant) -> V1Actions {
        let since = now.saturating_duration_since(self.settings.origin);
        let mut wait = Duration::ZERO;
        if matches!(actions.first(), Some(Action::Drop(_))) {
            self.payloads.charge(1, since);
            wait = self.payloads.wait(since);
        }
        if let V1Phase::Unidentified { input, .. } = &mut self.phase {
            input.charge(u32::try_from(bytes).unwrap_or(u32::MAX), since);
            wait = wait.max(input.wait(since));
        }
        if !wait.is_zero() {
            actions.push(Action::StopReading { until: now + wait });
        }
        actions
    }

    fn drop_packet(&mut self, why: &'static str, bytes: usize, now: Instant) -> V1Actions {
        self.charge(smallvec![Action::Drop(why)], bytes, now)
    }

    fn receive_binary(&mut self, packet: &[u8], now: Instant) -> V1Actions {
        if self.encoding == Encoding::Text {
            return self.drop_packet("binary", packet.len(), now);
        }
        let mut inflated = Vec::new();
        let result = inflate_into(&mut inflated, packet, self.settings.message_bytes);
        let bytes = inflated.len().max(packet.len());
        match result {
            // Invalid UTF-8 cannot be JSON. An empty text stands for it.
            Ok(()) => self.receive_text(std::str::from_utf8(&inflated).unwrap_or_default(), bytes, now),
            Err(InflateError::TooBig) => self.too_big(),
            Err(_) => self.drop_packet("not_zlib", bytes, now),
        }
    }

    fn too_fast(&mut self) -> V1Actions {
        self.fail_plainly(Close::RATE_LIMITED, Some("rate limit exceeded"))
    }

    fn too_big(&mut self) -> V1Actions {
        self.fail_plainly(Close::TOO_BIG, Some("message too big"))
    }

    /// Handles a packet with this text. `bytes` is its size as received or inflated, whichever is larger.
    fn receive_text(&mut self, text: &str, bytes: usize, now: Instant) -> V1Actions {
        let Some(envelope) = Envelope::parse(text) else {
            return self.drop_packet("not_json", bytes, now);
        };
        match self.phase {
            V1Phase::Unidentified { .. } => {
                let actions = self.receive_before_identify(&envelope, now);
                self.charge(actions, bytes, now)
            }
            V1Phase::Identified(kind) => {
                if !self.allow(now) {
                    return self.too_fast();
                }
                // Only an event needs the table.
                let settings = Rc::clone(&self.settings);
                let mut table = None;
                match after_identify(&envelope, kind, settings.max_guilds, || {
                    table.insert(settings.events.lock()).current()
                }) {
                    Err(rejection) => self.fail(&rejection),
                    Ok(AfterIdentify::Heartbeat) => self.heartbeat(now),
                    Ok(AfterIdentify::Report { report, nonce }) => self.report(report, nonce, now),
                    Ok(AfterIdentify::Watch { guilds, nonce }) => self.report(Report::of_guilds(guilds), nonce, now),
                    Ok(AfterIdentify::Event { d, nonce, .. }) if d.get().len() > settings.event_bytes => match nonce {
                        Some(nonce) => self.refuse(nonce, RefusalCode::TooLarge.into(), now),
                        None => self.too_big(),
                    },
                    Ok(AfterIdentify::Event { route, d, key, nonce }) => {
                        let publish = Action::Publish {
                            publication: publication(&route, d.get()),
                            key,
                            number: nonce.map_or(0, |nonce| self.answers().expect(nonce)),
                        };
                        let mut actions: V1Actions = smallvec![Action::Count, publish];
                        self.slow_down(&mut actions, now);
                        actions
                    }
                    Ok(AfterIdentify::Faulty { refusal, nonce }) => self.refuse(nonce, refusal, now),
                }
            }
            V1Phase::Refused(_) | V1Phase::Joining | V1Phase::Over => V1Actions::new(),
        }
    }

    fn receive_before_identify(&mut self, envelope: &Envelope<'_>, now: Instant) -> V1Actions {
        match before_identify(envelope, self.settings.max_guilds) {
            None => smallvec![Action::Drop("unidentified")],
            Some(_) if !self.allow(now) => self.too_fast(),
            Some(BeforeIdentify::Heartbeat) => self.heartbeat(now),
            Some(BeforeIdentify::Identify(Err(rejection))) => self.fail(&rejection),
            Some(BeforeIdentify::Identify(Ok(identify))) => {
                self.phase = V1Phase::Joining;
                smallvec![
                    Action::Count,
                    Action::Call(JoinRequest {
                        kind: identify.kind,
                        key: identify.key,
                        scope: identify.scope
                    })
                ]
            }
        }
    }

    /// Replaces what the session reports or watches.
    fn report(&mut self, report: Report, nonce: Option<Nonce>, now: Instant) -> V1Actions {
        let number = nonce.map_or(0, |nonce| self.answers().expect(nonce));
        let mut actions = smallvec![Action::Count, self.report_action(report, number)];
        self.slow_down(&mut actions, now);
        actions
    }

    fn report_action(&self, report: Report, number: u64) -> Action<JoinRequest> {
        Action::Report {
            report,
            number,
            patience: self.settings.report_patience,
        }
    }

    fn answers(&mut self) -> &mut Answers {
        self.answers.get_or_insert_default()
    }

    /// Answers a packet whose outcome is known, once every packet before it is answered.
    fn answer(&mut self, nonce: Nonce, outcome: Result<String, Refusal>, actions: &mut V1Actions, now: Instant) {
        let answers = self.answers();
        let number = answers.expect(nonce);
        answers.settle(number, outcome);
        self.send_answers(actions);
        self.slow_down(actions, now);
    }

    /// Answers a packet that had no effect.
    fn refuse(&mut self, nonce: Nonce, refusal: Refusal, now: Instant) -> V1Actions {
        let mut actions = smallvec![Action::Refuse];
        self.answer(nonce, Err(refusal), &mut actions, now);
        actions
    }

    fn send_answers(&mut self, actions: &mut V1Actions) {
        while let Some(answer) = self.answers.as_mut().and_then(|answers| answers.next()) {
            actions.push(self.send(&answer));
        }
    }

    /// Reads slowly while many answers are owed.
    fn slow_down(&self, actions: &mut V1Actions, now: Instant) {
        if self.answers.as_ref().is_some_and(|it| it.len() >= MOST_UNANSWERED) {
            actions.push(Action::StopReading {
                until: now + UNANSWERED_PAUSE,
            });
        }
    }

    /// Sends a ping if nothing was sent for long enough. Sets when to check again.
    fn keep_alive(&mut self, cx: &Cx<'_>) -> Option<Action<JoinRequest>> {
        let (interval, due) = (self.settings.ping_interval?, self.ping_at?);
        if cx.now < due {
            return None;
        }
        let is_due = |last_sent| last_sent + interval <= cx.now;
        match cx.last_sent() {
            Some(last_sent) if !is_due(last_sent) => {
                self.ping_at = Some(last_sent + interval);
                None
            }
            _ => {
                self.ping_at = Some(cx.now + interval);
                Some(Action::Send(PING))
            }
        }
    }

    fn heartbeat(&mut self, now: Instant) -> V1Actions {
        self.heartbeat_by = now + self.settings.heartbeat_limit();
        if self.deaf_until.as_ref().is_some_and(|until| now < **until) {
            return smallvec![Action::Count];
        }
        smallvec![Action::Count, Action::Send(self.settings.heartbeat_ack(self.encoding))]
    }
}

/// Returns `d` of the answer to a packet that took effect at this position.
fn accepted_at(position: Position) -> String {
    format!(r#"{{"position":"{position}"}}"#)
}

/// Returns the answer to an event that was not published.
fn refusal(name: &str, error: &PublishError) -> Refusal {
    let code = match error {
        PublishError::NoReceiver { .. } => return Refusal::of(vec![Problem::no_receiver(name)]),
        PublishError::KeyReused => {
            let problem = Problem::with_str("The idempotency key was used for another event.", name);
            return Refusal {
                code: RefusalCode::IdempotencyKeyReused,
                problems: vec![problem],
            };
        }
        PublishError::Overloaded | PublishError::TooManyKeys { .. } => RefusalCode::Overloaded,
        PublishError::Unavailable | PublishError::Refused { .. } | PublishError::Expired => RefusalCode::Unavailable,
        PublishError::Unknown => RefusalCode::Unknown,
    };
    code.into()
}

fn publication(route: &Route<'_>, d: &str) -> Publication {
    let header = || Arc::new(Header::of(route.name, d, Target::All, None));
    Publication {
        name: Arc::clone(route.name),
        receivers: route.receivers,
        delivery: route.delivery,
        author: None,
        require_receiver: route.require_receiver,
        discord: route.to_discord.then(header),
        d: d.into(),
    }
}

impl Protocol for V1 {
    type Call = JoinRequest;
    type CallResult = Result<Identified, V1IdentifyError>;

    fn call(call: JoinRequest, cx: CallContext) -> PendingCall<Self::CallResult> {
        Box::pin(join(call, cx))
    }

    fn open(&mut self, _: &Cx<'_>) -> V1Actions {
        if let V1Phase::Refused(rejection) = &self.phase {
            let rejection = rejection.clone();
            self.fail(&rejection)
        } else {
            smallvec![Action::Send(self.settings.hello(self.encoding))]
        }
    }

    fn receive(&mut self, message: Message, cx: &Cx<'_>) -> V1Actions {
        let now = cx.now;
        match message {
            Message::Text(text) => self.receive_text(&text, text.len(), now),
            Message::Binary(packet) => self.receive_binary(&packet, now),
        }
    }

    fn tick(&mut self, cx: &Cx<'_>) -> V1Actions {
        let now = cx.now;
        if matches!(self.phase, V1Phase::Over) {
            return V1Actions::new();
        }
        if self.heartbeat_by <= now {
            return self.fail(&Rejection::plain(ErrorCode::NoHeartbeat));
        }
        match self.phase {
            V1Phase::Unidentified { until, .. } if until <= now => {
                self.fail(&Rejection::plain(ErrorCode::WrongIdentify))
            }
            _ => self.keep_alive(cx).into_iter().collect(),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let deadline = match self.phase {
            V1Phase::Refused(_) | V1Phase::Over => return None,
            V1Phase::Unidentified { until, .. } => until.min(self.heartbeat_by),
            V1Phase::Joining | V1Phase::Identified(_) => self.heartbeat_by,
        };
        Some(self.ping_at.map_or(deadline, |ping_at| deadline.min(ping_at)))
    }

    fn on_result(&mut self, answer: Self::CallResult, _: &Cx<'_>) -> V1Actions {
        match answer {
            Ok(identified) => {
                let Identified {
                    id,
                    kind,
                    key,
                    since,
                    counts,
                    scope,
                } = identified;
                let Scope {
                    guilds,
                    report,
                    counts: wants_counts,
                } = scope;
                self.phase = V1Phase::Identified(kind);
                let interval = self.settings.heartbeat_ms();
                let mut actions =
                    smallvec![self.send(&payload::connect_success(kind, id, &self.settings.node, interval))];
                if kind == ClientType::Bot || wants_counts {
                    actions.push(self.send(&payload::event(payload::GuildCount::NAME, &counts.d())));
                }
                // After the connect success and in the same turn, so that no event overtakes it.
                actions.push(Action::Register(Box::new(Registration {
                    id,
                    kind,
                    key,
                    encoding: self.encoding,
                    counts: wants_counts,
                    guilds: guilds.unwrap_or_default(),
                    since,
                })));
                actions.extend(report.map(|report| self.report_action(report, 0)));
                actions
            }
            Err(V1IdentifyError::Key) => self.fail(&Rejection::plain(ErrorCode::WrongAuthKey)),
            Err(V1IdentifyError::Cluster(JoinError::IdTaken)) => self.fail(&Rejection::plain(ErrorCode::BotIdUsed)),
            Err(V1IdentifyError::Cluster(JoinError::Unavailable)) => self.fail_plainly(Close::UNAVAILABLE, None),
            Err(V1IdentifyError::Cluster(_)) => self.fail(&Rejection::plain(ErrorCode::Unknown)),
        }
    }

    fn published(&mut self, name: &str, number: u64, result: Result<Position, PublishError>) -> V1Actions {
        let outcome = result.map(accepted_at).map_err(|error| refusal(name, &error));
        if number > 0 {
            let mut actions = V1Actions::new();
            self.answers().settle(number, outcome);
            self.send_answers(&mut actions);
            return actions;
        }
        let Err(refusal) = outcome else {
            return V1Actions::new();
        };
        match refusal.code {
            // The client's event was good, so its connection stays.
            RefusalCode::NoReceiver => smallvec![self.send(&payload::refused(None, &refusal))],
            RefusalCode::Overloaded => self.fail_plainly(Close::OVERLOADED, None),
            RefusalCode::Unavailable | RefusalCode::Unknown => self.fail_plainly(Close::UNAVAILABLE, None),
            _ => self.fail(&Rejection::malformed(refusal.problems)),
        }
    }

    fn reported(&mut self, number: u64, result: Result<Position, Unavailable>) -> V1Actions {
        let outcome = match (result, &self.phase) {
            (Ok(_), V1Phase::Identified(ClientType::Bot)) => Ok("{}".to_owned()),
            (Ok(position), _) => Ok(accepted_at(position)),
            // It may be applied later.
            (Err(Unavailable), _) => Err(RefusalCode::Unknown.into()),
        };
        let mut actions = V1Actions::new();
        self.answers().settle(number, outcome);
        self.send_answers(&mut actions);
        actions
    }

    fn inject(&mut self, fault: InjectedFault, cx: &Cx<'_>) -> V1Actions {
        let now = cx.now;
        match fault {
            InjectedFault::Close(code) => {
                let reason = Close::KICKED.reason;
                self.fail_plainly(Close { code, reason }, None)
            }
            InjectedFault::Cut => {
                self.phase = V1Phase::Over;
                smallvec![Action::Cut]
            }
            InjectedFault::Deafen(time) => {
                self.deaf_until = Some(Box::new(now + time));
                V1Actions::new()
            }
            // v1 sessions cannot be resumed.
            InjectedFault::Invalidate { .. } | InjectedFault::Forget => V1Actions::new(),
        }
    }

    fn end(&mut self, ending: SessionEnd, _: &Cx<'_>) -> V1Actions {
        match ending {
            SessionEnd::Violation(Violation::TooBig) => self.too_big(),
            SessionEnd::Violation(violation) => {
                // Violations of the WebSocket protocol have their own close codes, and no Error before them.
                self.phase = V1Phase::Over;
                let close = violation.close();
                smallvec![Action::Close {
                    last_words: None,
                    close,
                    problem: Some("protocol violation")
                }]
            }
            SessionEnd::TooSlow => self.fail_plainly(Close::TOO_SLOW, Some("reads too slowly")),
            SessionEnd::ByNode(EndReason::Restarting | EndReason::Missed | EndReason::Reconnect) => {
                self.fail_plainly(Close::RESTARTING, None)
            }
            SessionEnd::ByNode(EndReason::KeyRevoked) => self.fail(&Rejection::plain(ErrorCode::WrongAuthKey)),
            SessionEnd::ByNode(EndReason::Kicked | EndReason::Superseded { .. }) => {
                self.fail_plainly(Close::KICKED, None)
            }
        }
    }
}
