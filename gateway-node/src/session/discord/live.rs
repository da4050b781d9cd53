//! A session that receives what comes.

use std::sync::Arc;

use shared::discord::Command;
use smallvec::SmallVec;

use super::{
    super::Step,
    question::{Look, Question, Show, Told},
};
use crate::{
    cluster::{Attachment, Checkpoint, Record},
    registry::Place,
};

/// How many points of a session are remembered that its client may acknowledge.
const POINTS: usize = 2;

/// A session that its shard delivers to.
pub(super) struct Live {
    pub(super) attachment: Attachment,
    pub(super) record: Arc<Record>,
    pub(super) points: Points,
    /// What its client is to be told as soon as nothing is delivered to it.
    pub(super) tells: Box<[Told]>,
}

/// Where a session was at its last heartbeats: the number of its last dispatch, and the log's end at that number.
#[derive(Debug, Default)]
pub(super) struct Points(SmallVec<[Checkpoint; POINTS]>);

impl Live {
    /// Has its bot seen like this.
    pub(super) fn show(&self, show: Show) -> Step<Question> {
        Step::Ask(Question::Show(self.attachment.appearing(), self.record.filter, show))
    }

    /// Finds out what a command asks for.
    pub(super) fn look(&self, command: Command) -> Option<Step<Question>> {
        let look = match command {
            Command::Members(request) => Look::Members(request, self.record.filter.intents),
            Command::Soundboard(guilds) => Look::Sounds(guilds),
            Command::ChannelInfo(guild) => Look::Channels(guild),
            Command::Voice(state) => return Some(self.show(Show::Voice(state))),
            // How often that may be is the connection's business.
            Command::Presence(_)
            | Command::VoicePing
            | Command::Heartbeat { .. }
            | Command::Identify(_)
            | Command::Resume(_) => return None,
        };
        let application = Arc::clone(&self.attachment.owner().application);
        Some(Step::Ask(Question::Look(application, look)))
    }

    /// Notes that the client has everything up to dispatch `acknowledged`, while the session is at dispatch `s` and at
    /// this place. Only what the client says counts: what was written may not have arrived.
    pub(super) fn acknowledge(&mut self, acknowledged: u64, s: u64, place: Option<Place>) {
        let Points(points) = &mut self.points;
        let known = points.iter().rev().find(|point| point.s <= acknowledged).copied();
        let here = place.map(|place| Checkpoint {
            s,
            position: place.position,
        });
        let reached = here.filter(|here| here.s <= acknowledged).or(known);
        // Without one it is said that the client is there.
        self.attachment.checkpoint(reached);
        if let Some(here) = here {
            if points.len() == POINTS {
                points.remove(0);
            }
            points.push(here);
        }
    }
}
