//! Requests of a client that are still to be answered.

use std::{collections::VecDeque, sync::Arc};

use shared::discord::{Command, Intents, RequestMembers};
use tokio::time::Instant;

use super::{call::Call, private_dispatch::Plan};
use crate::{
    guilds::Search,
    resume::{PrivateBody, Recipe},
};

/// The most pending requests of a session, including the one that is being answered. One more closes the connection
/// with 4008.
pub(super) const WAITING: usize = 128;
/// The most answers that are planned, stored and numbered at once.
const PLANNED: usize = 256;

/// A request whose answer takes work.
#[derive(Debug)]
pub(super) enum Request {
    /// Op 8, and when it arrived.
    Members(RequestMembers, Instant),
    /// Op 31, for these guilds.
    Sounds(Vec<u64>),
    /// Op 43, for this guild.
    Channels(u64),
}

/// The pending requests of a session. They are answered one at a time, first in, first out.
#[derive(Debug, Default)]
pub(super) struct Requests {
    waiting: VecDeque<Request>,
    /// The answers to the first request that are planned but not stored yet.
    planned: VecDeque<PrivateBody>,
}

/// The next thing to do for a session's requests.
#[derive(Debug)]
pub(super) enum NextAnswer {
    /// Find out what the answers are made from.
    Plan(Call),
    /// Store these dispatches, then send them.
    Keep(Vec<PrivateBody>),
}

impl Request {
    /// Returns the request that this command makes, or `None` if it makes none.
    pub(super) fn from_command(command: Command, now: Instant) -> Option<Self> {
        match command {
            Command::Members(request) => Some(Self::Members(request, now)),
            Command::Soundboard(guilds) => Some(Self::Sounds(guilds)),
            Command::ChannelInfo(guild) => Some(Self::Channels(guild)),
            _ => None,
        }
    }
}

impl Requests {
    /// Queues these dispatches before all pending requests.
    pub(super) fn planned(&mut self, answers: impl IntoIterator<Item = PrivateBody>) {
        self.planned.extend(answers);
    }

    /// Appends a request. Returns `false` if too many are pending.
    pub(super) fn push(&mut self, request: Request) -> bool {
        let has_room = self.waiting.len() < WAITING;
        if has_room {
            self.waiting.push_back(request);
        }
        has_room
    }

    /// Returns the next thing to do, or `None` if nothing is pending.
    pub(super) fn next(&mut self, application: &Arc<str>, intents: Intents) -> Option<NextAnswer> {
        while self.planned.is_empty() {
            match self.waiting.front_mut()? {
                Request::Members(request, at) => {
                    if let Some(guild) = (!request.guilds.is_empty()).then(|| request.guilds.remove(0)) {
                        return Some(NextAnswer::Plan(Call::Plan(Plan {
                            application: Arc::clone(application),
                            search: Search::new(guild, request, intents),
                            asked: *at,
                        })));
                    }
                }
                Request::Sounds(guilds) => {
                    let sounds = guilds.iter().map(|id| PrivateBody::Answer(Recipe::Sounds(*id)));
                    self.planned.extend(sounds);
                }
                Request::Channels(guild) => self.planned.push_back(PrivateBody::Answer(Recipe::Channels(*guild))),
            }
            self.waiting.pop_front();
        }
        let count = self.planned.len().min(PLANNED);
        Some(NextAnswer::Keep(self.planned.drain(..count).collect()))
    }
}
