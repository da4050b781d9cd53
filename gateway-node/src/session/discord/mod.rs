//! Versions 6 to 10 as a state machine: the rules of the protocol page and nothing else.
//!
//! A connection waits for an Identify or a Resume, then catches up with the log, then lives. Both ways into a session
//! are the same from there on: a session that begins catches up with what came while it was greeted.

#[cfg(test)]
mod cluster_tests;
mod endings;
mod live;
mod making;
mod member_lists;
#[cfg(test)]
mod model_tests;
mod payloads;
mod presences;
mod question;
mod replay_cursor;
mod replaying;
mod requests;
mod settings;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use shared::{
    close::Close,
    discord::{Encoding, Query, close, payload},
    token_bucket::TokenBucket,
};
use smallvec::smallvec;
use tokio::time::Instant;

use self::{
    live::Live,
    presences::Presences,
    question::{Answer, Question, Unwelcome},
    replaying::CatchingUp,
};
pub use self::{member_lists::MemberLists, settings::Rules};
use super::{Asked, Ending, Protocol, Sources, Step};
use crate::{
    backplane::{Away, PublishError},
    encode::{Line, Place},
    registry::Disturbance,
    resume::ReadError,
    transport::Message,
};

/// How long the answer to a session that may not begin takes at least, and how much longer at most: some libraries come
/// again at once.
const INVALID_DELAY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(4));
/// How long a connection that beats may be without a session: libraries connect all their shards at once, and let each
/// wait for its turn.
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);
/// How long a connection without a session is kept for another try after op 9.
const SECOND_TRY: Duration = Duration::from_secs(8);

type Steps = super::Steps<Question>;

/// One connection that speaks version 6 to 10.
pub struct Discord {
    rules: Arc<Rules>,
    line: Line,
    /// What the URL asked for.
    query: Query,
    stage: Stage,
    /// When Hello is due; none once it is sent.
    hello_at: Option<Instant>,
    /// When the next heartbeat must have come; none until there is a session.
    heartbeat_by: Option<Instant>,
    /// Until when heartbeats get no answer, as an administrator wishes.
    deaf_until: Option<Box<Instant>>,
    /// When the connection ends, after the client was asked to reconnect.
    leaves_at: Option<Box<Instant>>,
    /// Whether there has been a session. What its client still says to it may come after its end.
    had_session: bool,
    /// The last dispatch that the client says it has.
    acknowledged: u64,
    payloads: TokenBucket,
    /// Heartbeats have an allowance of their own: a client that is busy must not die of it.
    heartbeats: TokenBucket,
    /// What the client has said of its presence since it has a session; none where that is nothing.
    presences: Option<Box<Presences>>,
    /// Where the client is to resume.
    resume_url: Arc<str>,
}

enum Stage {
    /// The URL asked for what is not spoken.
    Refused(Close),
    /// There is no session yet.
    Waiting {
        until: Instant,
        /// Until when heartbeats can put that off.
        longest: Instant,
    },
    /// Whether there is one is being found out.
    Asking,
    /// There is none, and the client is told so at this time.
    Invalid {
        at: Instant,
    },
    /// It has a session that has still to get what it missed.
    CatchingUp(Box<CatchingUp>),
    /// It gets what comes.
    Live(Box<Live>),
    Over,
}

impl Discord {
    /// A connection whose URL asked for this, and that is to resume at `resume_url`.
    pub fn new(query: Result<Query, Close>, resume_url: Arc<str>, rules: Arc<Rules>, now: Instant) -> Self {
        let (query, stage) = match query {
            Ok(query) => {
                // No heartbeat need come any sooner.
                let until = now + rules.identify_timeout.max(rules.heartbeat_limit);
                let longest = now + LONGEST_WAIT;
                (query, Stage::Waiting { until, longest })
            }
            Err(close) => {
                let query = Query {
                    version: shared::discord::Version::V10,
                    encoding: Encoding::Json,
                    transport: None,
                };
                (query, Stage::Refused(close))
            }
        };
        Self {
            line: Line::new(query.encoding, query.transport, rules.level),
            hello_at: Some(rules.hello_at(now)),
            payloads: TokenBucket::per_minute(rules.payloads_per_minute),
            heartbeats: TokenBucket::per_minute(rules.payloads_per_minute),
            query,
            stage,
            heartbeat_by: None,
            leaves_at: None,
            deaf_until: None,
            had_session: false,
            acknowledged: 0,
            presences: None,
            resume_url,
            rules,
        }
    }

    fn send(&self, payload: &str) -> Step<Question> {
        Step::Send(self.line.frame(payload))
    }

    /// Hello, if it has not been sent.
    fn hello(&mut self) -> Option<Step<Question>> {
        self.hello_at.take().map(|_| self.send(&self.rules.hello))
    }

    /// Ends the connection. A session that it has can be resumed.
    fn close(&mut self, close: Close, problem: Option<&'static str>) -> Steps {
        self.stage = Stage::Over;
        smallvec![Step::Close {
            last_words: None,
            close,
            problem,
        }]
    }

    /// The same for what the client has done wrong.
    fn fail(&mut self, close: Close) -> Steps {
        self.close(close, Some(close.reason))
    }

    fn attachment(&self) -> Option<&crate::resume::Attachment> {
        match &self.stage {
            Stage::CatchingUp(session) => Some(&session.attachment),
            Stage::Live(session) => Some(&session.attachment),
            _ => None,
        }
    }

    /// Tells the client that there is no session, and lets it try again on the same connection.
    fn invalid(&mut self, is_resumable: bool, now: Instant) -> Steps {
        let until = now + SECOND_TRY;
        self.stage = Stage::Waiting { until, longest: until };
        smallvec![self.send(&payload::invalid_session(is_resumable))]
    }

    /// The same, after a while.
    fn invalid_later(&mut self, now: Instant) -> Steps {
        self.heartbeat_by = None;
        let (least, more) = INVALID_DELAY;
        self.stage = Stage::Invalid {
            at: now + least + more.mul_f64(fastrand::f64()),
        };
        Steps::new()
    }

    /// Goes on with a session that has caught up.
    fn live(&mut self, now: Instant) -> Steps {
        let Stage::CatchingUp(caught_up) = std::mem::replace(&mut self.stage, Stage::Over) else {
            return Steps::new();
        };
        self.heartbeat_by.get_or_insert(now + self.rules.heartbeat_limit);
        self.stage = Stage::Live(Box::new(caught_up.finish()));
        self.late_presence(now).into_iter().collect()
    }

    /// The connection is given up, and the session may be resumed.
    fn away(&mut self) -> Steps {
        self.close(close::AWAY, None)
    }
}

impl Protocol for Discord {
    type Question = Question;
    type Answer = Answer;

    fn ask(question: Question, sources: Sources) -> Asked<Answer> {
        Box::pin(question::answer(question, sources))
    }

    fn open(&mut self, now: Instant) -> Steps {
        if let Stage::Refused(close) = self.stage {
            return self.fail(close);
        }
        self.tick(now)
    }

    fn receive(&mut self, message: Message, now: Instant) -> Steps {
        // Whoever speaks has taken the upgrade, and Hello comes before everything else.
        let mut steps: Steps = self.hello().into_iter().collect();
        match self.understand(&message, now) {
            Ok(more) => steps.extend(more),
            Err(close) => steps.extend(self.fail(close)),
        }
        steps
    }

    fn tick(&mut self, now: Instant) -> Steps {
        if matches!(self.stage, Stage::Over) {
            return Steps::new();
        }
        let mut steps = Steps::new();
        if self.hello_at.is_some_and(|at| at <= now) {
            steps.extend(self.hello());
        }
        if self.leaves_at.as_ref().is_some_and(|at| **at <= now) {
            steps.extend(self.close(close::RECONNECT, None));
        } else if self.heartbeat_by.is_some_and(|by| by <= now) {
            steps.extend(self.fail(close::SESSION_TIMED_OUT));
        } else {
            match self.stage {
                Stage::Waiting { until, .. } if until <= now => steps.extend(self.fail(close::NO_IDENTIFY)),
                Stage::Invalid { at } if at <= now => steps.extend(self.invalid(false, now)),
                Stage::Live(_) => steps.extend(self.late_presence(now)),
                _ => {}
            }
        }
        steps
    }

    fn deadline(&self) -> Option<Instant> {
        let of_stage = match self.stage {
            Stage::Over | Stage::Refused(_) => return None,
            Stage::Waiting { until, .. } => Some(until),
            Stage::Invalid { at } => Some(at),
            Stage::Live(_) => self.presences.as_ref().and_then(|presences| presences.deadline()),
            Stage::Asking | Stage::CatchingUp(_) => None,
        };
        let leaves_at = self.leaves_at.as_deref().copied();
        let deadlines = [of_stage, self.hello_at, self.heartbeat_by, leaves_at];
        deadlines.into_iter().flatten().min()
    }

    fn answered(&mut self, answer: Answer, now: Instant) -> Steps {
        if self.rules.keeps_history && matches!(answer, Answer::Opened(Ok(_)) | Answer::Resumed(Ok(_))) {
            // Not before: who has no session has no compressor either.
            self.line.keep_history();
        }
        match answer {
            Answer::Opened(Ok(known)) => {
                let (session, steps) = CatchingUp::begin(
                    *known,
                    self.query.version,
                    &self.resume_url,
                    &self.rules.node,
                    &self.line,
                );
                self.stage = Stage::CatchingUp(Box::new(session));
                self.had_session = true;
                steps
            }
            Answer::Resumed(Ok(known)) => {
                let (session, steps) = CatchingUp::go_on(*known, self.acknowledged, &self.line);
                self.stage = Stage::CatchingUp(Box::new(session));
                self.had_session = true;
                steps
            }
            Answer::Opened(Err(unwelcome)) | Answer::Resumed(Err(unwelcome)) => match unwelcome {
                Unwelcome::Close(close) if close == close::AWAY => self.close(close, None),
                Unwelcome::Close(close) => self.fail(close),
                Unwelcome::Throttled | Unwelcome::Gone => self.invalid_later(now),
            },
            Answer::Planned(Err(Away)) | Answer::Made(Err(Away)) => self.away(),
            Answer::Planned(Ok(answers)) => match &mut self.stage {
                Stage::CatchingUp(session) => session.planned(answers),
                _ => Steps::new(),
            },
            Answer::Made(Ok(dispatches)) => match &mut self.stage {
                Stage::CatchingUp(session) => session.made(dispatches, &self.line),
                _ => Steps::new(),
            },
            Answer::Read(reading) => {
                let Stage::CatchingUp(session) = &mut self.stage else {
                    return Steps::new();
                };
                match reading.map(|reading| session.read(&reading, &self.line)) {
                    Ok(Ok(steps)) => steps,
                    Err(ReadError::Away) => self.away(),
                    // It cannot be made whole.
                    _ => {
                        log::debug!(session:% = session.attachment.owner().id, s = self.line.s(); "session cannot be made whole");
                        session.attachment.end();
                        self.invalid_later(now)
                    }
                }
            }
            Answer::Shown(shown) => shown
                .err()
                .map(|unseen| Step::Drop(unseen.word()))
                .into_iter()
                .collect(),
            Answer::Kept(keeping, kept) => {
                let Stage::CatchingUp(session) = &mut self.stage else {
                    return Steps::new();
                };
                match kept {
                    Ok(true) => session.kept(keeping.privates()),
                    Ok(false) => self.close(close::SUPERSEDED, None),
                    // It may be kept, so nothing else may have its numbers.
                    Err(_) => self.away(),
                }
            }
        }
    }

    fn subscribed(&mut self, is_receiver: bool, now: Instant) -> Steps {
        match &mut self.stage {
            Stage::CatchingUp(_) if is_receiver => self.live(now),
            Stage::CatchingUp(session) => session.read_on(),
            _ => Steps::new(),
        }
    }

    fn drained(&mut self, _: Instant) -> Steps {
        match &mut self.stage {
            Stage::CatchingUp(session) => session.drained(),
            _ => Steps::new(),
        }
    }

    fn located(&mut self, place: Option<Place>, _: Instant) -> Steps {
        if let Stage::Live(session) = &mut self.stage {
            session.acknowledge(self.acknowledged, self.line.s(), place);
        }
        Steps::new()
    }

    fn paused(&mut self, place: Option<Place>, _: Instant) -> Steps {
        let Stage::Live(live) = std::mem::replace(&mut self.stage, Stage::Over) else {
            return Steps::new();
        };
        let Some(place) = place else {
            // Whoever receives is somewhere.
            return self.close(close::UNKNOWN, None);
        };
        let (session, steps) = CatchingUp::pause(*live, self.line.s(), place);
        self.stage = Stage::CatchingUp(Box::new(session));
        steps
    }

    fn published(&mut self, _: Arc<str>, _: Result<(), PublishError>) -> Steps {
        Steps::new()
    }

    fn end(&mut self, ending: Ending, now: Instant) -> Steps {
        self.leave(ending, now)
    }

    fn disturb(&mut self, disturbance: Disturbance, now: Instant) -> Steps {
        self.suffer(disturbance, now)
    }

    fn gone(&mut self, code: Option<u16>) {
        // Any other end leaves the session to whoever resumes it.
        if let (Some(1000 | 1001), Some(attachment)) = (code, self.attachment()) {
            attachment.end();
        }
    }
}
