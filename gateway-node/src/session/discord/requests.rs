//! What a client has asked for and has still to get.

use std::{collections::VecDeque, sync::Arc};

use shared::discord::{Command, Intents, RequestMembers};
use tokio::time::Instant;

use super::call::{Call, Plan};
use crate::{
    guilds::Search,
    resume::{PrivateBody, Recipe},
};

/// The most requests of a session, with the one that is being answered. One more closes the connection with 4008.
pub(super) const WAITING: usize = 128;
/// The most answers that are planned, kept and numbered at once.
const PLANNED: usize = 256;

/// A request whose answer takes work.
#[derive(Debug)]
pub(super) enum Request {
    /// Op 8, and when it came.
    Members(RequestMembers, Instant),
    /// Op 31: these guilds.
    Sounds(Vec<u64>),
    /// Op 43: this guild.
    Channels(u64),
}

/// The requests of a session: one is answered at a time, first in, first out.
#[derive(Debug, Default)]
pub(super) struct Requests {
    waiting: VecDeque<Request>,
    /// The answers of the first one that are planned, and not yet kept.
    planned: VecDeque<PrivateBody>,
}

/// What is to be done next for a session's requests.
#[derive(Debug)]
pub(super) enum NextAnswer {
    /// Find out what the answers are made from.
    Plan(Call),
    /// Keep and then send these.
    Keep(Vec<PrivateBody>),
}

impl Request {
    /// The request that a command is, if it is one.
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
    /// Has the client told these before anything else.
    pub(super) fn planned(&mut self, answers: impl IntoIterator<Item = PrivateBody>) {
        self.planned.extend(answers);
    }

    /// Appends a request. Returns `false` if too many wait.
    pub(super) fn push(&mut self, request: Request) -> bool {
        let has_room = self.waiting.len() < WAITING;
        if has_room {
            self.waiting.push_back(request);
        }
        has_room
    }

    /// What is to be done next; `None` if nothing waits.
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
