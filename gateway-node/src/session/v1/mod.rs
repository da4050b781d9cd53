//! Protocol version 1 as a state machine: the rules of the protocol page and nothing else.

mod frame;
mod identify;
mod settings;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use shared::{
    client_type::ClientType,
    close::Close,
    compression::{InflateError, inflate_into},
    discord::{Header, Target},
    problem::Problem,
    routing::Route,
    token_bucket::TokenBucket,
    v1::{
        AfterIdentify, BeforeIdentify, Encoding, Envelope, ErrorCode, Query, Rejection, after_identify,
        before_identify, payload,
    },
};
use smallvec::smallvec;
use tokio::time::Instant;

use self::{frame::frame, identify::join};
pub use self::{
    identify::{Join, Unwelcome, Welcome},
    settings::Rules,
};
use super::{Asked, Ending, Protocol, Sources, Step};
use crate::{
    backplane::{JoinError, Publication, PublishError},
    registry::{Disturbance, Farewell, Registration},
    transport::{Message, Violation},
};

type Steps = super::Steps<Join>;

/// One connection that speaks version 1.
pub struct V1 {
    rules: Arc<Rules>,
    encoding: Encoding,
    stage: Stage,
    /// When the next heartbeat must have come.
    heartbeat_by: Instant,
    /// Until when heartbeats get no answer, as an administrator wishes.
    deaf_until: Option<Box<Instant>>,
    payloads: TokenBucket,
}

enum Stage {
    /// The URL asked for something that is not spoken: the Error takes the place of Hello.
    Refused(Rejection),
    /// Everything but heartbeats and an identify is ignored.
    Unidentified {
        until: Instant,
        /// How many bytes it may still send, counted inflated. Boxed, since an identified session has none.
        input: Box<TokenBucket>,
    },
    /// The answer to the identify is under way.
    Joining,
    Identified(ClientType),
    Over,
}

impl V1 {
    /// A connection whose URL had these values of `v` and `compression`.
    pub fn new(v: Option<&str>, compression: Option<&str>, rules: Arc<Rules>, now: Instant) -> Self {
        let (encoding, stage) = match Query::parse(v, compression) {
            Ok(Query { encoding }) => (
                encoding,
                Stage::Unidentified {
                    until: now + rules.identify_timeout,
                    input: Box::new(rules.unidentified_input()),
                },
            ),
            // The compression that was asked for holds for the Error too, if there is such a one.
            Err(rejection) => (
                Query::parse(None, compression).map_or(Encoding::Text, |query| query.encoding),
                Stage::Refused(rejection),
            ),
        };
        let payloads = TokenBucket::per_minute(rules.payloads_per_minute);
        Self {
            heartbeat_by: now + rules.heartbeat_limit(),
            deaf_until: None,
            rules,
            encoding,
            stage,
            payloads,
        }
    }

    /// Ends the session with an Error of the table.
    fn fail(&mut self, rejection: &Rejection) -> Steps {
        let Rejection { code, problems } = rejection;
        let problem = match code {
            // Not the client's; who found it has said so.
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

    /// Ends the session for something that the table has no code for.
    fn fail_plainly(&mut self, close: Close, problem: Option<&'static str>) -> Steps {
        self.finish(&payload::error(ErrorCode::Unknown, close.reason, &[]), close, problem)
    }

    fn finish(&mut self, words: &str, close: Close, problem: Option<&'static str>) -> Steps {
        self.stage = Stage::Over;
        smallvec![Step::Close {
            last_words: Some(frame(self.encoding, self.rules.level, words)),
            close,
            problem
        }]
    }

    fn send(&self, words: &str) -> Step<Join> {
        Step::Send(frame(self.encoding, self.rules.level, words))
    }

    /// Whether the minute's allowance has room for one more payload.
    fn allow(&mut self, now: Instant) -> bool {
        self.payloads.take(now.saturating_duration_since(self.rules.origin))
    }

    /// Charges for a packet of `bytes`, inflated, that is dropped or comes before the identify, and led to `steps`. The
    /// next one is not read before there is room for it: a client that is not understood is never told that it sends
    /// too much.
    fn charge(&mut self, mut steps: Steps, bytes: usize, now: Instant) -> Steps {
        let since = now.saturating_duration_since(self.rules.origin);
        let mut wait = Duration::ZERO;
        if matches!(steps.first(), Some(Step::Drop(_))) {
            self.payloads.charge(1, since);
            wait = self.payloads.wait(since);
        }
        if let Stage::Unidentified { input, .. } = &mut self.stage {
            input.charge(u32::try_from(bytes).unwrap_or(u32::MAX), since);
            wait = wait.max(input.wait(since));
        }
        if !wait.is_zero() {
            steps.push(Step::StopReading { until: now + wait });
        }
        steps
    }

    fn drop_packet(&mut self, why: &'static str, bytes: usize, now: Instant) -> Steps {
        self.charge(smallvec![Step::Drop(why)], bytes, now)
    }

    fn receive_binary(&mut self, packet: &[u8], now: Instant) -> Steps {
        if self.encoding == Encoding::Text {
            return self.drop_packet("binary", packet.len(), now);
        }
        let mut inflated = Vec::new();
        let result = inflate_into(&mut inflated, packet, self.rules.message_bytes);
        let bytes = inflated.len().max(packet.len());
        match result {
            // What is no UTF-8 is no JSON: an empty text stands for it.
            Ok(()) => self.receive_text(std::str::from_utf8(&inflated).unwrap_or_default(), bytes, now),
            Err(InflateError::TooBig) => self.too_big(),
            Err(_) => self.drop_packet("not_zlib", bytes, now),
        }
    }

    fn too_fast(&mut self) -> Steps {
        self.fail_plainly(Close::RATE_LIMITED, Some("rate limit exceeded"))
    }

    fn too_big(&mut self) -> Steps {
        self.fail_plainly(Close::TOO_BIG, Some("message too big"))
    }

    /// What a packet means that is this text, and of so many bytes as it came or inflated.
    fn receive_text(&mut self, text: &str, bytes: usize, now: Instant) -> Steps {
        let Some(envelope) = Envelope::parse(text) else {
            return self.drop_packet("not_json", bytes, now);
        };
        match self.stage {
            Stage::Unidentified { .. } => {
                let steps = self.receive_before_identify(&envelope, now);
                self.charge(steps, bytes, now)
            }
            Stage::Identified(kind) => {
                if !self.allow(now) {
                    return self.too_fast();
                }
                let table = self.rules.events.current();
                match after_identify(&envelope, kind, &table) {
                    Err(rejection) => self.fail(&rejection),
                    Ok(AfterIdentify::Heartbeat) => self.heartbeat(now),
                    Ok(AfterIdentify::Report(report)) => smallvec![Step::Count, Step::Report(report)],
                    Ok(AfterIdentify::Event { d, .. }) if d.get().len() > self.rules.event_bytes => self.too_big(),
                    Ok(AfterIdentify::Event { route, d }) => {
                        smallvec![Step::Count, Step::Publish(publication(&route, d.get()))]
                    }
                }
            }
            Stage::Refused(_) | Stage::Joining | Stage::Over => Steps::new(),
        }
    }

    fn receive_before_identify(&mut self, envelope: &Envelope<'_>, now: Instant) -> Steps {
        match before_identify(envelope) {
            None => smallvec![Step::Drop("unidentified")],
            Some(_) if !self.allow(now) => self.too_fast(),
            Some(BeforeIdentify::Heartbeat) => self.heartbeat(now),
            Some(BeforeIdentify::Identify(Err(rejection))) => self.fail(&rejection),
            Some(BeforeIdentify::Identify(Ok(identify))) => {
                self.stage = Stage::Joining;
                smallvec![
                    Step::Count,
                    Step::Ask(Join {
                        kind: identify.kind,
                        key: identify.key
                    })
                ]
            }
        }
    }

    fn heartbeat(&mut self, now: Instant) -> Steps {
        self.heartbeat_by = now + self.rules.heartbeat_limit();
        if self.deaf_until.as_ref().is_some_and(|until| now < **until) {
            return smallvec![Step::Count];
        }
        smallvec![Step::Count, Step::Send(self.rules.heartbeat_ack(self.encoding))]
    }
}

fn publication(route: &Route<'_>, d: &str) -> Publication {
    let header = || Arc::new(Header::of(route.name, d, Target::All, None));
    Publication {
        name: Arc::clone(route.name),
        receivers: route.receivers,
        delivery: route.delivery,
        author: None,
        discord: route.to_discord.then(header),
        d: d.into(),
    }
}

impl Protocol for V1 {
    type Question = Join;
    type Answer = Result<Welcome, Unwelcome>;

    fn ask(question: Join, sources: Sources) -> Asked<Self::Answer> {
        Box::pin(join(question, sources))
    }

    fn open(&mut self, _: Instant) -> Steps {
        if let Stage::Refused(rejection) = &self.stage {
            let rejection = rejection.clone();
            self.fail(&rejection)
        } else {
            smallvec![Step::Send(self.rules.hello(self.encoding))]
        }
    }

    fn receive(&mut self, message: Message, now: Instant) -> Steps {
        match message {
            Message::Text(text) => self.receive_text(&text, text.len(), now),
            Message::Binary(packet) => self.receive_binary(&packet, now),
        }
    }

    fn tick(&mut self, now: Instant) -> Steps {
        if matches!(self.stage, Stage::Over) {
            return Steps::new();
        }
        if self.heartbeat_by <= now {
            return self.fail(&Rejection::plain(ErrorCode::NoHeartbeat));
        }
        match self.stage {
            Stage::Unidentified { until, .. } if until <= now => self.fail(&Rejection::plain(ErrorCode::WrongIdentify)),
            _ => Steps::new(),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Refused(_) | Stage::Over => None,
            Stage::Unidentified { until, .. } => Some(until.min(self.heartbeat_by)),
            Stage::Joining | Stage::Identified(_) => Some(self.heartbeat_by),
        }
    }

    fn answered(&mut self, answer: Self::Answer, _: Instant) -> Steps {
        match answer {
            Ok(welcome) => {
                let Welcome {
                    id,
                    kind,
                    key,
                    since,
                    counts,
                } = welcome;
                self.stage = Stage::Identified(kind);
                let interval = self.rules.heartbeat_ms();
                let mut steps = smallvec![self.send(&payload::connect_success(kind, id, &self.rules.node, interval))];
                if kind == ClientType::Bot {
                    steps.push(self.send(&payload::event(payload::GuildCount::NAME, &counts.d())));
                }
                // After its welcome and in the same turn, so that no event overtakes it.
                steps.push(Step::Register(Box::new(Registration {
                    id,
                    kind,
                    key,
                    encoding: self.encoding,
                    since,
                })));
                steps
            }
            Err(Unwelcome::Key) => self.fail(&Rejection::plain(ErrorCode::WrongAuthKey)),
            Err(Unwelcome::Cluster(JoinError::IdTaken)) => self.fail(&Rejection::plain(ErrorCode::BotIdUsed)),
            Err(Unwelcome::Cluster(JoinError::Away)) => self.fail_plainly(Close::UNAVAILABLE, None),
            Err(Unwelcome::Cluster(_)) => self.fail(&Rejection::plain(ErrorCode::Unknown)),
        }
    }

    fn published(&mut self, name: Arc<str>, answer: Result<(), PublishError>) -> Steps {
        match answer {
            Ok(()) => Steps::new(),
            Err(PublishError::NoReceiver { .. }) => self.fail(&Rejection::malformed(vec![Problem::no_receiver(&name)])),
            Err(PublishError::Away | PublishError::Refused { .. } | PublishError::Unknown | PublishError::Expired) => {
                self.fail_plainly(Close::UNAVAILABLE, None)
            }
            Err(PublishError::Overloaded | PublishError::KeyReused | PublishError::TooManyKeys { .. }) => {
                self.fail_plainly(Close::OVERLOADED, None)
            }
        }
    }

    fn disturb(&mut self, disturbance: Disturbance, now: Instant) -> Steps {
        match disturbance {
            Disturbance::Close(code) => {
                let reason = Close::KICKED.reason;
                self.fail_plainly(Close { code, reason }, None)
            }
            Disturbance::Cut => {
                self.stage = Stage::Over;
                smallvec![Step::Cut]
            }
            Disturbance::Deafen(time) => {
                self.deaf_until = Some(Box::new(now + time));
                Steps::new()
            }
            // There is nothing to resume.
            Disturbance::Invalidate { .. } | Disturbance::Forget => Steps::new(),
        }
    }

    fn end(&mut self, ending: Ending, _: Instant) -> Steps {
        match ending {
            Ending::Violation(Violation::TooBig) => self.too_big(),
            Ending::Violation(violation) => {
                // The transport's own rules have their own close codes, and no payload before them.
                self.stage = Stage::Over;
                let close = violation.close();
                smallvec![Step::Close {
                    last_words: None,
                    close,
                    problem: Some("protocol violation")
                }]
            }
            Ending::TooSlow => self.fail_plainly(Close::TOO_SLOW, Some("reads too slowly")),
            Ending::Farewell(Farewell::Restarting | Farewell::Missed | Farewell::Reconnect) => {
                self.fail_plainly(Close::RESTARTING, None)
            }
            Ending::Farewell(Farewell::KeyRevoked) => self.fail(&Rejection::plain(ErrorCode::WrongAuthKey)),
            Ending::Farewell(Farewell::Kicked | Farewell::Superseded { .. }) => self.fail_plainly(Close::KICKED, None),
        }
    }
}
