//! Protocol version 1 as a state machine: exactly the rules of its protocol page.

mod answering;
mod answers;
mod call;
mod catch_up;
mod catching_up;
mod frame;
mod identify;
mod identify_error;
mod joined;
mod keep_alive;
mod missed;
mod renewal;
mod requesting;
mod requests;
mod settings;
mod settling;
#[cfg(test)]
mod tests;
mod ticket;

use std::{rc::Rc, sync::Arc, time::Duration};

use shared::{
    client_type::ClientType,
    close::Close,
    compression::{InflateError, inflate_into},
    routing::Route,
    ticket::TicketRights,
    token_bucket::TokenBucket,
    v1::{
        AfterIdentify, BeforeIdentify, CommandContext, Encoding, Envelope, ErrorCode, Query, RefusalCode, Rejection,
        Report, after_identify, before_identify, payload,
    },
};
use smallvec::smallvec;
use tokio::time::Instant;

use self::{
    answers::Answers,
    catch_up::CatchUp,
    frame::frame,
    requests::{ReplyPacket, Requests},
    ticket::TicketState,
};
pub use self::{
    call::{V1Call, V1CallResult},
    identify::{Identified, JoinRequest},
    identify_error::V1IdentifyError,
    settings::V1SessionSettings,
    ticket::TakenTicket,
};
use super::{Action, CallContext, Cx, PendingCall, Protocol, SessionEnd};
use crate::{
    backplane::{Position, Publication, PublishError, Published, Unavailable},
    registry::{EndReason, InjectedFault, SessionDetails},
    requests::RequestError,
    transport::{Message, Violation},
};

type V1Actions = super::Actions<V1Call>;

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
    /// The session's requests in flight. `None` until the first one.
    requests: Option<Box<Requests>>,
    /// The session's ticket, if it identified with one.
    ticket: Option<Box<TicketState>>,
    /// What the session still has to receive before it gets events as they come.
    catching_up: Option<Box<CatchUp>>,
    /// Whether the client is told the positions of what it receives.
    has_positions: bool,
    /// Whether it gets the guild counts because its scope asked for them.
    wants_counts: bool,
    /// Whether it takes jobs.
    takes_jobs: bool,
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
            requests: None,
            ticket: None,
            catching_up: None,
            has_positions: false,
            wants_counts: false,
            takes_jobs: false,
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

    fn send(&self, words: &str) -> Action<V1Call> {
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

    fn receive_binary(&mut self, packet: &[u8], cx: &Cx<'_>) -> V1Actions {
        let now = cx.now;
        if self.encoding == Encoding::Text {
            return self.drop_packet("binary", packet.len(), now);
        }
        let mut inflated = Vec::new();
        let result = inflate_into(&mut inflated, packet, self.settings.message_bytes);
        let bytes = inflated.len().max(packet.len());
        match result {
            // Invalid UTF-8 cannot be JSON. An empty text stands for it.
            Ok(()) => self.receive_text(std::str::from_utf8(&inflated).unwrap_or_default(), bytes, cx),
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
    fn receive_text(&mut self, text: &str, bytes: usize, cx: &Cx<'_>) -> V1Actions {
        let now = cx.now;
        let Some(envelope) = Envelope::parse(text) else {
            return self.drop_packet("not_json", bytes, now);
        };
        match self.phase {
            V1Phase::Unidentified { .. } => {
                let actions = self.receive_before_identify(&envelope, cx);
                self.charge(actions, bytes, now)
            }
            V1Phase::Identified(kind) => {
                if !self.allow(now) {
                    return self.too_fast();
                }
                // Only an event needs the table.
                let settings = Rc::clone(&self.settings);
                let mut table = None;
                let ticket = self.ticket.as_ref().map(|it| Arc::clone(&it.ticket));
                let command_cx = CommandContext {
                    sender: kind,
                    rights: ticket.as_ref().map(|ticket| &ticket.rights),
                    max_guilds: settings.max_guilds,
                };
                match after_identify(&envelope, &command_cx, || {
                    table.insert(settings.events.lock()).current()
                }) {
                    Err(rejection) => self.fail(&rejection),
                    Ok(AfterIdentify::Heartbeat) => self.heartbeat(cx),
                    Ok(AfterIdentify::Report { report, nonce }) => self.report(report, nonce, now),
                    Ok(AfterIdentify::Watch { guilds, nonce }) => self.report(Report::of_guilds(guilds), nonce, now),
                    Ok(AfterIdentify::Event { d, nonce, .. }) if d.get().len() > settings.event_bytes => match nonce {
                        Some(nonce) => self.refuse(nonce, RefusalCode::TooLarge.into(), now),
                        None => self.too_big(),
                    },
                    Ok(AfterIdentify::Settle {
                        receipt,
                        verdict,
                        nonce,
                    }) => self.settle(&receipt, verdict, nonce, now),
                    Ok(AfterIdentify::Reply {
                        receipt,
                        d,
                        is_error,
                        nonce,
                    }) => {
                        let packet = ReplyPacket {
                            receipt: &receipt,
                            d,
                            is_error,
                            nonce,
                        };
                        self.reply(packet, cx)
                    }
                    Ok(AfterIdentify::Event {
                        route:
                            route @ Route {
                                reply_timeout: Some(timeout),
                                ..
                            },
                        d,
                        nonce: Some(nonce),
                        ..
                    }) => {
                        let event = publication(route, d.get(), command_cx.rights);
                        self.request(event, timeout, nonce, cx)
                    }
                    Ok(AfterIdentify::Event { route, d, key, nonce }) => {
                        let publish = Action::Publish {
                            publication: publication(route, d.get(), command_cx.rights),
                            key,
                            number: nonce.map_or(0, |nonce| self.answers().expect(nonce)),
                        };
                        let mut actions: V1Actions = smallvec![Action::Count, publish];
                        self.slow_down(&mut actions, now);
                        actions
                    }
                    Ok(AfterIdentify::Renew { nonce: Some(nonce), .. }) if self.is_report_awaited() => {
                        self.refuse(nonce, RefusalCode::Overloaded.into(), now)
                    }
                    Ok(AfterIdentify::Renew { key, nonce }) => match ticket {
                        Some(held) => smallvec![
                            Action::Count,
                            Action::Call(V1Call::Renew {
                                ticket: key,
                                held,
                                nonce
                            })
                        ],
                        None => V1Actions::new(),
                    },
                    Ok(AfterIdentify::Faulty { refusal, nonce }) => self.refuse(nonce, refusal, now),
                }
            }
            V1Phase::Refused(_) | V1Phase::Joining | V1Phase::Over => V1Actions::new(),
        }
    }

    fn receive_before_identify(&mut self, envelope: &Envelope<'_>, cx: &Cx<'_>) -> V1Actions {
        match before_identify(envelope, self.settings.max_guilds) {
            None => smallvec![Action::Drop("unidentified")],
            Some(_) if !self.allow(cx.now) => self.too_fast(),
            Some(BeforeIdentify::Heartbeat) => self.heartbeat(cx),
            Some(BeforeIdentify::Identify(Err(rejection))) => self.fail(&rejection),
            Some(BeforeIdentify::Identify(Ok(identify))) => {
                self.phase = V1Phase::Joining;
                smallvec![
                    Action::Count,
                    Action::Call(V1Call::Join(JoinRequest {
                        kind: identify.kind,
                        key: identify.key,
                        scope: identify.scope
                    }))
                ]
            }
        }
    }

    fn heartbeat(&mut self, cx: &Cx<'_>) -> V1Actions {
        let now = cx.now;
        self.heartbeat_by = now + self.settings.heartbeat_limit();
        if self.deaf_until.as_ref().is_some_and(|until| now < **until) {
            return smallvec![Action::Count];
        }
        let ack = match self.position(cx) {
            Some(position) => frame(
                self.encoding,
                self.settings.level,
                &payload::heartbeat_ack_at(&position.to_string()),
            ),
            None => self.settings.heartbeat_ack(self.encoding),
        };
        smallvec![Action::Count, Action::Heartbeat(ack)]
    }
}

/// Builds the publication of an event that the table routes. It names the user of the session's ticket.
fn publication(route: Route<'_>, d: &str, rights: Option<&TicketRights>) -> Publication {
    Publication::routed(route, d, rights.and_then(|rights| rights.user.clone()))
}

impl Protocol for V1 {
    const NAME: &'static str = "v1";

    type Call = V1Call;
    type CallResult = V1CallResult;

    fn call(call: V1Call, cx: CallContext) -> PendingCall<Self::CallResult> {
        Box::pin(call::run(call, cx))
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
        match message {
            Message::Text(text) => self.receive_text(&text, text.len(), cx),
            Message::Binary(packet) => self.receive_binary(&packet, cx),
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
            _ => {
                let mut actions = self.end_ticket(now);
                if !matches!(self.phase, V1Phase::Over) {
                    actions.extend(self.keep_alive(cx));
                }
                actions
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let deadline = match self.phase {
            V1Phase::Refused(_) | V1Phase::Over => return None,
            V1Phase::Unidentified { until, .. } => until.min(self.heartbeat_by),
            V1Phase::Joining | V1Phase::Identified(_) => self.heartbeat_by,
        };
        let ticket = self
            .ticket
            .as_ref()
            .map(|it| it.deadline(self.settings.session_expiring));
        self.ping_at.into_iter().chain(ticket).chain([deadline]).min()
    }

    fn on_result(&mut self, result: Self::CallResult, cx: &Cx<'_>) -> V1Actions {
        match result {
            V1CallResult::Joined(result) => self.joined(result, cx.now),
            V1CallResult::Read(page) => self.read_page(page, cx),
            V1CallResult::Renewed { taken, nonce } => self.renewed(taken, nonce, cx.now),
        }
    }

    fn drained(&mut self, _: &Cx<'_>) -> V1Actions {
        self.read_on()
    }

    fn settled(&mut self, number: u64, result: Result<bool, Unavailable>) -> V1Actions {
        self.answer_settlement(number, result)
    }

    fn published(&mut self, name: &str, number: u64, result: Result<Published, PublishError>) -> V1Actions {
        self.answer_publication(name, number, result)
    }

    fn answered(&mut self, name: &str, number: u64, outcome: Result<Arc<str>, RequestError>) -> V1Actions {
        self.answer_request(name, number, outcome)
    }

    fn reported(&mut self, number: u64, result: Result<Position, Unavailable>, cx: &Cx<'_>) -> V1Actions {
        self.answer_report(number, result, cx.now)
    }

    fn describe(&self, details: &mut SessionDetails) -> Option<Instant> {
        details.version = 1;
        details.encoding = "json".into();
        details.compression = (self.encoding == Encoding::Zlib).then_some("zlib".into());
        let subscriptions = [
            (self.wants_counts, "counts"),
            (self.has_positions, "positions"),
            (self.takes_jobs, "jobs"),
        ];
        let chosen = subscriptions.into_iter().filter(|(is_chosen, _)| *is_chosen);
        details.subscriptions = chosen.map(|(_, name)| name.into()).collect();
        self.heartbeat_by.checked_sub(self.settings.heartbeat_limit())
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
            SessionEnd::ByNode(EndReason::KeyRevoked | EndReason::KeyExpired) => {
                // The client has made no error.
                let code = ErrorCode::WrongAuthKey;
                self.finish(&payload::error(code, code.message(), &[]), code.close(), None)
            }
            SessionEnd::ByNode(EndReason::Kicked | EndReason::Superseded { .. }) => {
                self.fail_plainly(Close::KICKED, None)
            }
        }
    }
}
