//! A session that receives what comes.

use serde_json::json;
use shared::discord::{Command, RequestMembers};
use smallvec::SmallVec;

use super::{super::Step, Steps};
use crate::{
    cluster::{Attachment, Checkpoint, Private, What},
    registry::{Line, Place},
};

/// How many points of a session are remembered that its client may acknowledge.
const POINTS: usize = 2;

/// A session that its shard delivers to.
pub(super) struct Live {
    pub(super) attachment: Attachment,
    /// Where it was at its last heartbeats: the number of its last dispatch, and the log's end at that number.
    points: SmallVec<[Checkpoint; POINTS]>,
}

impl Live {
    pub(super) fn new(attachment: Attachment) -> Self {
        Self {
            attachment,
            points: SmallVec::new(),
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
        match command {
            Command::Members(request) => self.members(&request, line),
            Command::Soundboard(guilds) => guilds
                .iter()
                .flat_map(|guild| {
                    let d = json!({"guild_id": guild.to_string(), "soundboard_sounds": []});
                    self.tell(line, "SOUNDBOARD_SOUNDS", &d.to_string())
                })
                .collect(),
            Command::ChannelInfo(guild) => {
                let d = json!({"guild_id": guild.to_string(), "channels": []});
                self.tell(line, "CHANNEL_INFO", &d.to_string())
            }
            Command::Presence(_)
            | Command::Voice(_)
            | Command::VoicePing
            | Command::Heartbeat { .. }
            | Command::Identify(_)
            | Command::Resume(_) => Steps::new(),
        }
    }

    fn members(&mut self, request: &RequestMembers, line: &Line) -> Steps {
        let not_found: Vec<_> = request.users.iter().flatten().map(u64::to_string).collect();
        let chunk = |guild: &u64| {
            let mut d = json!({
                "guild_id": guild.to_string(),
                "members": [],
                "chunk_index": 0,
                "chunk_count": 1,
                "not_found": not_found,
            });
            if request.presences {
                d["presences"] = json!([]);
            }
            if let Some(nonce) = &request.nonce {
                d["nonce"] = json!(nonce);
            }
            self.tell(line, "GUILD_MEMBERS_CHUNK", &d.to_string())
        };
        request.guilds.iter().flat_map(chunk).collect()
    }
}
