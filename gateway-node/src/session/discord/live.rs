//! A session that receives what comes.

use std::{collections::VecDeque, sync::Arc};

use serde_json::json;
use shared::discord::{Command, Intents};
use smallvec::{SmallVec, smallvec};

use super::{
    super::Step,
    Steps,
    question::{Look, Question, Told},
};
use crate::{
    cluster::{Attachment, Checkpoint, Private, What},
    registry::{Line, Place},
};

/// How many points of a session are remembered that its client may acknowledge.
const POINTS: usize = 2;

/// How many bytes are sent at once of what can wait until the client has taken them. What is larger goes by itself.
pub(super) const AT_ONCE: usize = 32 * 1024;

/// A session that its shard delivers to.
pub(super) struct Live {
    pub(super) attachment: Attachment,
    /// Where it was at its last heartbeats: the number of its last dispatch, and the log's end at that number.
    points: SmallVec<[Checkpoint; POINTS]>,
    intents: Intents,
    /// What was found for the client and is not sent yet. The rate of its payloads bounds what it asks for.
    untold: VecDeque<Told>,
}

impl Live {
    pub(super) fn new(attachment: Attachment, intents: Intents) -> Self {
        Self {
            attachment,
            points: SmallVec::new(),
            intents,
            untold: VecDeque::new(),
        }
    }

    /// Notes that the client has everything up to dispatch `acknowledged`, while the session is at dispatch `s` and at
    /// this place. Only what the client says counts: what was written may not have arrived.
    pub(super) fn acknowledge(&mut self, acknowledged: u64, s: u64, place: Option<Place>) {
        let known = self.points.iter().rev().find(|point| point.s <= acknowledged).copied();
        let here = place.map(|place| Checkpoint {
            s,
            position: place.position,
        });
        let reached = here.filter(|here| here.s <= acknowledged).or(known);
        if let Some(checkpoint) = reached {
            self.attachment.checkpoint(checkpoint);
        }
        if let Some(here) = here {
            if self.points.len() == POINTS {
                self.points.remove(0);
            }
            self.points.push(here);
        }
    }

    /// Sends a dispatch that is for this session alone.
    pub(super) fn tell(&mut self, line: &Line, name: &str, d: &str) -> Steps {
        let private = Private {
            s: line.s() + 1,
            what: What::Event {
                name: name.into(),
                d: d.into(),
            },
        };
        // Kept before it is sent: what a client has seen can always be found again.
        if !self.attachment.keep(vec![private]) {
            return Steps::new();
        }
        line.dispatch(name, d).map(Step::Send).into_iter().collect()
    }

    /// Does what the client asks for.
    pub(super) fn carry_out(&mut self, command: Command, line: &Line) -> Steps {
        let look = match command {
            Command::Members(request) => Look::Members(request, self.intents),
            Command::Soundboard(guilds) => Look::Sounds(guilds),
            Command::ChannelInfo(guild) => {
                let d = json!({"guild_id": guild.to_string(), "channels": []});
                return self.tell(line, "CHANNEL_INFO", &d.to_string());
            }
            Command::Presence(_)
            | Command::Voice(_)
            | Command::VoicePing
            | Command::Heartbeat { .. }
            | Command::Identify(_)
            | Command::Resume(_) => return Steps::new(),
        };
        let application = Arc::clone(&self.attachment.owner().application);
        smallvec![Step::Ask(Question::Look(application, look))]
    }

    /// Sends what was found for the client, and no more at once than a client takes that reads.
    pub(super) fn answer(&mut self, told: Vec<Told>, line: &Line) -> Steps {
        self.untold.extend(told);
        self.go_on(line)
    }

    /// Sends more of what was found.
    pub(super) fn go_on(&mut self, line: &Line) -> Steps {
        let (mut steps, mut bytes) = (Steps::new(), 0);
        while let Some((_, d)) = self.untold.front()
            && (bytes == 0 || bytes + d.len() <= AT_ONCE)
            && let Some((name, d)) = self.untold.pop_front()
        {
            bytes += d.len();
            steps.extend(self.tell(line, name, &d));
        }
        if !self.untold.is_empty() {
            steps.push(Step::Drain);
        }
        steps
    }
}
