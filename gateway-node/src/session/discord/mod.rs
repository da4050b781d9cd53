//! Discord's protocol, versions 6 to 10, as a state machine: exactly the rules of its protocol page.
//!
//! A connection waits for an Identify or a Resume, then catches up with the log, then is live. New and resumed sessions
//! take the same path: a new session catches up with what came while it was greeted.

mod bot_state;
mod call;
#[cfg(test)]
mod cluster_tests;
mod endings;
mod guild_query;
mod identify;
mod live;
mod member_lists;
#[cfg(test)]
mod model_tests;
mod payloads;
mod presences;
mod private_dispatch;
mod replay_cursor;
mod replaying;
mod requests;
mod resume;
mod settings;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use shared::{
    close::Close,
    compression::Method,
    discord::{Encoding, Filter, Query, close, payload},
    token_bucket::TokenBucket,
};
use smallvec::smallvec;
use tokio::time::Instant;

use self::{
    call::{Call, CallResult, DiscordActions},
    identify::DiscordIdentifyError,
    live::Live,
    presences::Presences,
    replaying::{ReplayStep, Replaying},
};
pub use self::{member_lists::MemberLists, settings::DiscordSessionSettings};
use super::{Action, CallContext, Cx, PendingCall, Protocol, SessionEnd};
use crate::{
    backplane::{PublishError, Published, Unavailable},
    encode::DispatchEncoder,
    registry::{InjectedFault, SessionDetails},
    resume::ReadError,
    transport::Message,
};

/// The least delay before Invalid Session, and the most random delay added to it: some libraries reconnect at once.
const INVALID_DELAY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(4));
/// How long a connection that sends heartbeats may be without a session: libraries connect all their shards at once,
/// and each waits for its turn to identify.
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);
/// How long a connection is kept after op 9 for another Identify or Resume.
const SECOND_TRY: Duration = Duration::from_secs(8);

/// One connection with a protocol version from 6 to 10.
pub struct Discord {
    settings: Arc<DiscordSessionSettings>,
    encoder: DispatchEncoder,
    /// The parameters of the URL.
    query: Query,
    phase: DiscordPhase,
    /// When Hello is due; `None` once it is sent.
    hello_at: Option<Instant>,
    /// The time by which the next heartbeat must arrive; `None` until there is a session.
    heartbeat_by: Option<Instant>,
    /// Whether a heartbeat has come since then.
    has_heartbeat: bool,
    /// Heartbeats are not answered before this time: an injected fault.
    deaf_until: Option<Box<Instant>>,
    /// When the connection is closed, after the client was asked to reconnect.
    leaves_at: Option<Box<Instant>>,
    /// Whether there has been a session. Commands that its client sent before learning of its end may still arrive.
    had_session: bool,
    /// Whether a resume is under way.
    is_resuming: bool,
    /// The last dispatch that the client has acknowledged.
    acknowledged: u64,
    payloads: TokenBucket,
    /// Heartbeats have a limit of their own, so that a busy client can still send them.
    heartbeats: TokenBucket,
    /// The client's presence updates since it has a session; `None` without any.
    presences: Option<Box<Presences>>,
    /// Where the client should resume.
    resume_url: Arc<str>,
}

enum DiscordPhase {
    /// The URL asked for an unsupported version, encoding or compression.
    Refused(Close),
    /// There is no session yet.
    Waiting {
        until: Instant,
        /// Heartbeats can extend `until` no further than this.
        longest: Instant,
    },
    /// The answer to an Identify or Resume is pending.
    Asking,
    /// There is no session. Invalid Session is sent at this time.
    Invalid {
        at: Instant,
    },
    /// The session still has to get what it missed.
    Replaying(Box<Replaying>),
    /// The session receives events as they come.
    Live(Box<Live>),
    Over,
}

impl Discord {
    /// Creates a connection whose URL had these parameters, and whose client should resume at `resume_url`.
    pub fn new(
        query: Result<Query, Close>,
        resume_url: Arc<str>,
        settings: Arc<DiscordSessionSettings>,
        now: Instant,
    ) -> Self {
        let (query, phase) = match query {
            Ok(query) => {
                // No less than the heartbeat limit: a heartbeat that comes in time extends it.
                let until = now + settings.identify_timeout.max(settings.heartbeat_limit);
                let longest = now + LONGEST_WAIT;
                (query, DiscordPhase::Waiting { until, longest })
            }
            Err(close) => {
                let query = Query {
                    version: shared::discord::Version::V10,
                    encoding: Encoding::Json,
                    transport: None,
                };
                (query, DiscordPhase::Refused(close))
            }
        };
        Self {
            encoder: DispatchEncoder::new(query.encoding, query.transport, settings.level),
            hello_at: Some(settings.hello_at(now)),
            payloads: TokenBucket::per_minute(settings.payloads_per_minute),
            heartbeats: TokenBucket::per_minute(settings.payloads_per_minute),
            query,
            phase,
            heartbeat_by: None,
            has_heartbeat: false,
            leaves_at: None,
            deaf_until: None,
            had_session: false,
            is_resuming: false,
            acknowledged: 0,
            presences: None,
            resume_url,
            settings,
        }
    }

    fn send(&self, payload: &str) -> Action<Call> {
        Action::Send(self.encoder.frame(payload))
    }

    /// Returns Hello if it has not been sent.
    fn hello(&mut self) -> Option<Action<Call>> {
        self.hello_at.take().map(|_| self.send(&self.settings.hello))
    }

    /// Closes the connection. Its session stays resumable.
    fn close(&mut self, close: Close, problem: Option<&'static str>) -> DiscordActions {
        self.phase = DiscordPhase::Over;
        smallvec![Action::Close {
            last_words: None,
            close,
            problem,
        }]
    }

    /// Closes the connection because of a client error.
    fn fail(&mut self, close: Close) -> DiscordActions {
        self.close(close, Some(close.reason))
    }

    /// Tells the client that it has no session.
    fn not_identified(&mut self, error: DiscordIdentifyError, now: Instant) -> DiscordActions {
        match error {
            DiscordIdentifyError::Close(close) if close == close::AWAY => self.close(close, None),
            DiscordIdentifyError::Close(close) => self.fail(close),
            DiscordIdentifyError::Throttled | DiscordIdentifyError::Gone => self.invalid_later(now),
        }
    }

    /// Counts the resume that is under way, if there is one.
    fn resume_over(&mut self, result: &'static str) -> Option<Action<Call>> {
        std::mem::take(&mut self.is_resuming).then_some(Action::CountResume(result))
    }

    fn ownership(&self) -> Option<&crate::resume::SessionOwnership> {
        match &self.phase {
            DiscordPhase::Replaying(session) => Some(&session.ownership),
            DiscordPhase::Live(session) => Some(&session.ownership),
            _ => None,
        }
    }

    /// Sends Invalid Session, and lets the client try again on the same connection.
    fn invalid(&mut self, is_resumable: bool, now: Instant) -> DiscordActions {
        let until = now + SECOND_TRY;
        self.phase = DiscordPhase::Waiting { until, longest: until };
        smallvec![self.send(&payload::invalid_session(is_resumable))]
    }

    /// Sends Invalid Session after a delay.
    fn invalid_later(&mut self, now: Instant) -> DiscordActions {
        self.heartbeat_by = None;
        let (least, more) = INVALID_DELAY;
        self.phase = DiscordPhase::Invalid {
            at: now + least + more.mul_f64(crate::random::fraction()),
        };
        DiscordActions::new()
    }

    /// Makes the session live once it has caught up.
    fn live(&mut self, now: Instant) -> DiscordActions {
        let DiscordPhase::Replaying(caught_up) = std::mem::replace(&mut self.phase, DiscordPhase::Over) else {
            return DiscordActions::new();
        };
        self.heartbeat_by.get_or_insert(now + self.settings.heartbeat_limit);
        self.phase = DiscordPhase::Live(Box::new(caught_up.finish()));
        self.late_presence(now).into_iter().collect()
    }

    /// Closes the connection because the cluster is unavailable. The session stays resumable.
    fn away(&mut self) -> DiscordActions {
        self.close(close::AWAY, None)
    }
}

impl Protocol for Discord {
    const NAME: &'static str = "discord";

    type Call = Call;
    type CallResult = CallResult;

    fn call(call: Call, cx: CallContext) -> PendingCall<CallResult> {
        Box::pin(call::run(call, cx))
    }

    fn is_resume(call: &Call) -> bool {
        matches!(call, Call::Resume(_))
    }

    fn open(&mut self, cx: &Cx<'_>) -> DiscordActions {
        if let DiscordPhase::Refused(close) = self.phase {
            return self.fail(close);
        }
        self.tick(cx)
    }

    fn receive(&mut self, message: Message, cx: &Cx<'_>) -> DiscordActions {
        // A client that sends something has completed the upgrade, and Hello must come before everything else.
        let mut actions: DiscordActions = self.hello().into_iter().collect();
        match self.understand(&message, cx) {
            Ok(more) => actions.extend(more),
            Err(close) => actions.extend(self.fail(close)),
        }
        actions
    }

    fn tick(&mut self, cx: &Cx<'_>) -> DiscordActions {
        let now = cx.now;
        if matches!(self.phase, DiscordPhase::Over) {
            return DiscordActions::new();
        }
        let mut actions = DiscordActions::new();
        if self.hello_at.is_some_and(|at| at <= now) {
            actions.extend(self.hello());
        }
        if self.leaves_at.as_ref().is_some_and(|at| **at <= now) {
            actions.extend(self.close(close::RECONNECT, None));
        } else if self.heartbeat_by.is_some_and(|by| by <= now) {
            actions.extend(self.fail(close::SESSION_TIMED_OUT));
        } else {
            match self.phase {
                DiscordPhase::Waiting { until, .. } if until <= now => actions.extend(self.fail(close::NO_IDENTIFY)),
                DiscordPhase::Invalid { at } if at <= now => actions.extend(self.invalid(false, now)),
                DiscordPhase::Live(_) => actions.extend(self.late_presence(now)),
                _ => {}
            }
        }
        actions
    }

    fn deadline(&self) -> Option<Instant> {
        let of_phase = match self.phase {
            DiscordPhase::Over | DiscordPhase::Refused(_) => return None,
            DiscordPhase::Waiting { until, .. } => Some(until),
            DiscordPhase::Invalid { at } => Some(at),
            DiscordPhase::Live(_) => self.presences.as_ref().and_then(|presences| presences.deadline()),
            DiscordPhase::Asking | DiscordPhase::Replaying(_) => None,
        };
        let leaves_at = self.leaves_at.as_deref().copied();
        let deadlines = [of_phase, self.hello_at, self.heartbeat_by, leaves_at];
        deadlines.into_iter().flatten().min()
    }

    fn on_result(&mut self, answer: CallResult, cx: &Cx<'_>) -> DiscordActions {
        let now = cx.now;
        if self.settings.keeps_history && matches!(answer, CallResult::Identified(Ok(_)) | CallResult::Resumed(Ok(_))) {
            // Not earlier: a connection without a session has no compressor of its own.
            self.encoder.use_own_compressor();
        }
        match answer {
            CallResult::Identified(Ok(authenticated)) => {
                let (session, actions) = Replaying::begin(
                    *authenticated,
                    self.query.version,
                    &self.resume_url,
                    &self.settings.node,
                    &self.encoder,
                );
                self.phase = DiscordPhase::Replaying(Box::new(session));
                self.had_session = true;
                actions
            }
            CallResult::Resumed(Ok(authenticated)) => {
                let (session, actions) = Replaying::resume(*authenticated, self.acknowledged, &self.encoder);
                self.phase = DiscordPhase::Replaying(Box::new(session));
                self.had_session = true;
                self.is_resuming = true;
                actions
            }
            CallResult::Resumed(Err(error)) => {
                let mut actions: DiscordActions = smallvec![Action::CountResume(match error {
                    DiscordIdentifyError::Close(close) if close == close::AWAY => "unavailable",
                    DiscordIdentifyError::Close(_) => "refused",
                    DiscordIdentifyError::Throttled | DiscordIdentifyError::Gone => "gone",
                })];
                actions.extend(self.not_identified(error, now));
                actions
            }
            CallResult::Identified(Err(error)) => self.not_identified(error, now),
            CallResult::Planned(Err(Unavailable)) | CallResult::Made(Err(Unavailable)) => self.away(),
            CallResult::Planned(Ok(answers)) => match &mut self.phase {
                DiscordPhase::Replaying(session) => session.planned(answers),
                _ => DiscordActions::new(),
            },
            CallResult::Made(Ok(dispatches)) => match &mut self.phase {
                DiscordPhase::Replaying(session) => session.made(dispatches, &self.encoder),
                _ => DiscordActions::new(),
            },
            CallResult::Read(page) => {
                let DiscordPhase::Replaying(session) = &mut self.phase else {
                    return DiscordActions::new();
                };
                match page.map(|page| session.read(&page, &self.encoder, cx)) {
                    Ok(Ok(ReplayStep::More(actions))) => actions,
                    Ok(Ok(ReplayStep::CaughtUp(mut actions))) => {
                        actions.extend(self.live(now));
                        actions.extend(self.resume_over("resumed"));
                        actions
                    }
                    Err(ReadError::Unavailable) => self.away(),
                    // The client cannot be given everything that it missed.
                    _ => {
                        log::debug!(
                            session:% = session.ownership.owner().id, s = self.encoder.s();
                            "session cannot be replayed completely"
                        );
                        session.ownership.end();
                        let mut actions = self.invalid_later(now);
                        actions.extend(self.resume_over("incomplete"));
                        actions
                    }
                }
            }
            CallResult::StateSet(set) => set
                .err()
                .map(|unseen| Action::Drop(unseen.word()))
                .into_iter()
                .collect(),
            CallResult::Written(private_write, kept) => {
                let DiscordPhase::Replaying(session) = &mut self.phase else {
                    return DiscordActions::new();
                };
                match kept {
                    Ok(true) => session.kept(private_write.privates()),
                    Ok(false) => self.close(close::SUPERSEDED, None),
                    // It may have been stored, so its sequence numbers must not be used for anything else.
                    Err(_) => self.away(),
                }
            }
        }
    }

    fn drained(&mut self, _: &Cx<'_>) -> DiscordActions {
        match &mut self.phase {
            DiscordPhase::Replaying(session) => session.drained(),
            _ => DiscordActions::new(),
        }
    }

    fn published(&mut self, _: &str, _: u64, _: Result<Published, PublishError>) -> DiscordActions {
        DiscordActions::new()
    }

    fn end(&mut self, end: SessionEnd, cx: &Cx<'_>) -> DiscordActions {
        self.leave(end, cx)
    }

    fn describe(&self, details: &mut SessionDetails) -> Option<Instant> {
        details.version = self.query.version.number();
        details.encoding = match self.query.encoding {
            Encoding::Json => "json".into(),
            Encoding::Etf => "etf".into(),
        };
        details.compression = self.encoder.wire_format().method.map(|method| match method {
            Method::ZlibPacket => "zlib".into(),
            Method::ZlibStream => "zlib-stream".into(),
            Method::ZstdStream => "zstd-stream".into(),
        });
        let filter = match &self.phase {
            DiscordPhase::Replaying(session) => Some(&session.record().filter),
            DiscordPhase::Live(session) => Some(&session.record.filter),
            _ => None,
        };
        if let Some(Filter { intents, shard, .. }) = filter {
            details.subscriptions = intents.names().map(Into::into).collect();
            details.shard = Some([shard.id, shard.count]);
        }
        details.resumes = self
            .ownership()
            .map_or(0, |it| it.owner().fencing_token.saturating_sub(1));
        let last = self.heartbeat_by?.checked_sub(self.settings.heartbeat_limit);
        last.filter(|_| self.has_heartbeat)
    }

    fn inject(&mut self, fault: InjectedFault, cx: &Cx<'_>) -> DiscordActions {
        self.inject_fault(fault, cx)
    }

    fn gone(&mut self, code: Option<u16>) {
        // After any other code the session stays resumable.
        if let (Some(1000 | 1001), Some(ownership)) = (code, self.ownership()) {
            ownership.end();
        }
    }
}
