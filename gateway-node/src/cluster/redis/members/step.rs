//! One thing to do in Redis for a session, or for what was for one.

use std::sync::Arc;

use redis::Cmd;
use shared::{
    client_type::ClientType,
    guild::GuildId,
    session_id::SessionId,
    v1::{Report, ReportedGuilds},
};

use super::{
    super::{Bounds, application::Application, link::Link, script::Script},
    Join,
    member::Is,
};

/// The most guilds that one call adds, removes or forgets.
const CHUNK: usize = 1000;

/// One thing to do. A session has at most one under way.
pub(super) enum Step {
    Join(SessionId, Join),
    JoinAgain(SessionId, ClientType, Is),
    Enter(SessionId),
    Leave(SessionId),
    /// Asks for the guilds that Redis has.
    Ask(SessionId),
    /// A part of a report: new guilds, those that are gone, and whether it is the last part.
    Report(SessionId, Arc<Report>, Vec<GuildId>, Vec<GuildId>, bool),
    Taken(Vec<u64>),
    GiveUp(u64),
}

impl Step {
    /// What Redis is asked for it.
    pub(super) fn call(&self, application: &Application, link: &Link, bounds: Bounds) -> Cmd {
        let call_script = |script| application.call(link, script);
        let call_log = |script| application.call_log(link, script);
        match self {
            Self::Join(id, Join { kind, .. }) => {
                let mut call = call_log(Script::Join);
                call.arg(id.get()).arg(*kind as u8).arg(0).arg(0);
                call
            }
            Self::JoinAgain(id, kind, is) => {
                let mut call = call_log(Script::Join);
                let can_receive = u8::from(*is == Is::Receiver);
                call.arg(id.get()).arg(*kind as u8).arg(1).arg(can_receive);
                call
            }
            Self::Enter(id) => {
                let mut call = call_script(Script::Enter);
                call.arg(id.get());
                call
            }
            Self::Leave(id) => {
                let mut call = call_script(Script::Leave);
                call.arg(id.get()).arg(CHUNK);
                call
            }
            Self::Ask(id) => {
                let mut ask = redis::cmd("SMEMBERS");
                ask.arg(application.key(format_args!("report:{id}")));
                ask
            }
            Self::Report(id, report, added, removed, is_last) => {
                let count = match report.guilds {
                    ReportedGuilds::Count(count) => count,
                    ReportedGuilds::Ids(_) => 0,
                };
                let mut call = call_script(Script::Report);
                call.arg(id.get())
                    .arg(u8::from(*is_last))
                    .arg(count)
                    .arg(report.guild_members)
                    .arg(report.cached_guild_members)
                    .arg(added.len());
                for guild in added.iter().chain(removed) {
                    call.arg(guild.get());
                }
                call
            }
            Self::Taken(offsets) => {
                let owner = application.registration().owner;
                let mut call = redis::cmd("ZREM");
                call.arg(application.key(format_args!("pending:{owner}"))).arg(offsets);
                call
            }
            Self::GiveUp(offset) => {
                let mut call = call_log(Script::Redirect);
                bounds.add_to(&mut call);
                call.arg(*offset);
                call
            }
        }
    }
}

/// The parts of the way from one report to another.
pub(super) fn parts(id: SessionId, from: Option<&Report>, to: &Arc<Report>) -> Vec<Step> {
    let from = from.map_or(&[][..], guilds);
    let to_guilds = guilds(to);
    // Both are in ascending order.
    let added = to_guilds.iter().filter(|guild| from.binary_search(guild).is_err());
    let removed = from.iter().filter(|guild| to_guilds.binary_search(guild).is_err());
    let mut changes = added
        .map(|guild| (*guild, true))
        .chain(removed.map(|guild| (*guild, false)))
        .peekable();
    let mut parts = Vec::new();
    loop {
        let part: Vec<_> = changes.by_ref().take(CHUNK).collect();
        let pick = |is_new| {
            let picked = part.iter().filter(|(_, new)| *new == is_new);
            picked.map(|(guild, _)| *guild).collect()
        };
        let is_last = changes.peek().is_none();
        parts.push(Step::Report(id, Arc::clone(to), pick(true), pick(false), is_last));
        if is_last {
            return parts;
        }
    }
}

fn guilds(report: &Report) -> &[GuildId] {
    match &report.guilds {
        ReportedGuilds::Count(_) => &[],
        ReportedGuilds::Ids(ids) => ids,
    }
}
