//! The Lua scripts that run inside the server, one file each.

use std::time::Duration;

use redis::Cmd;

/// A script. Everything that a node changes in Redis, it changes through one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Script {
    Publish,
    Register,
    Renew,
    Join,
    Ready,
    Ack,
    Leave,
    Report,
    Counts,
    Redirect,
    Sweep,
    Reap,
    Lease,
    Read,
    Guilds,
    GuildFold,
    DiscordStart,
    DiscordOpen,
    DiscordResume,
    DiscordKeep,
    DiscordCarry,
    DiscordCheckpoint,
    DiscordDetach,
    DiscordEnd,
    DiscordPresence,
    DiscordExpire,
    Command,
    CommandDone,
    TicketIssue,
    TicketTake,
    TicketRevoke,
    Jobs,
    JobSettle,
    JobList,
    JobChange,
}

/// The functions shared by the scripts of an application.
const APPLICATION: &str = include_str!("application.lua");

impl Script {
    pub(super) const ALL: [Self; 35] = [
        Self::Publish,
        Self::Register,
        Self::Renew,
        Self::Join,
        Self::Ready,
        Self::Ack,
        Self::Leave,
        Self::Report,
        Self::Counts,
        Self::Redirect,
        Self::Sweep,
        Self::Reap,
        Self::Lease,
        Self::Read,
        Self::Guilds,
        Self::GuildFold,
        Self::DiscordStart,
        Self::DiscordOpen,
        Self::DiscordResume,
        Self::DiscordKeep,
        Self::DiscordCarry,
        Self::DiscordCheckpoint,
        Self::DiscordDetach,
        Self::DiscordEnd,
        Self::DiscordPresence,
        Self::DiscordExpire,
        Self::Command,
        Self::CommandDone,
        Self::TicketIssue,
        Self::TicketTake,
        Self::TicketRevoke,
        Self::Jobs,
        Self::JobSettle,
        Self::JobList,
        Self::JobChange,
    ];

    fn text(self) -> String {
        let own = match self {
            Self::Publish => include_str!("publish.lua"),
            Self::Register => include_str!("register.lua"),
            Self::Renew => include_str!("renew.lua"),
            Self::Join => include_str!("join.lua"),
            Self::Ready => include_str!("ready.lua"),
            Self::Ack => include_str!("ack.lua"),
            Self::Leave => include_str!("leave.lua"),
            Self::Report => include_str!("report.lua"),
            Self::Counts => include_str!("counts.lua"),
            Self::Redirect => include_str!("redirect.lua"),
            Self::Sweep => include_str!("sweep.lua"),
            Self::Reap => include_str!("reap.lua"),
            Self::Read => include_str!("read.lua"),
            Self::Guilds => include_str!("guilds.lua"),
            Self::GuildFold => include_str!("guild_fold.lua"),
            Self::DiscordStart => include_str!("discord_start.lua"),
            Self::DiscordOpen => include_str!("discord_open.lua"),
            Self::DiscordResume => include_str!("discord_resume.lua"),
            Self::DiscordKeep => include_str!("discord_keep.lua"),
            Self::DiscordCarry => include_str!("discord_carry.lua"),
            Self::DiscordCheckpoint => include_str!("discord_checkpoint.lua"),
            Self::DiscordDetach => include_str!("discord_detach.lua"),
            Self::DiscordEnd => include_str!("discord_end.lua"),
            Self::DiscordPresence => include_str!("discord_presence.lua"),
            Self::DiscordExpire => include_str!("discord_expire.lua"),
            Self::Command => include_str!("command.lua"),
            Self::CommandDone => include_str!("command_done.lua"),
            Self::TicketIssue => include_str!("ticket_issue.lua"),
            Self::TicketTake => include_str!("ticket_take.lua"),
            Self::TicketRevoke => include_str!("ticket_revoke.lua"),
            Self::Jobs => include_str!("jobs.lua"),
            Self::JobSettle => include_str!("job_settle.lua"),
            Self::JobList => include_str!("job_list.lua"),
            Self::JobChange => include_str!("job_change.lua"),
            Self::Lease => return include_str!("lease.lua").to_owned(),
        };
        [APPLICATION, own].join("\n")
    }
}

/// The SHA-1 hashes of the scripts, by which the server identifies them.
#[derive(Debug)]
pub(super) struct Scripts {
    hashes: [String; Script::ALL.len()],
}

impl Default for Scripts {
    fn default() -> Self {
        Self {
            hashes: Script::ALL.map(|script| redis::Script::new(&script.text()).get_hash().to_owned()),
        }
    }
}

impl Scripts {
    /// Returns the commands that load every script.
    pub(super) fn load() -> impl Iterator<Item = Cmd> {
        Script::ALL.into_iter().map(|script| {
            let mut load = redis::cmd("SCRIPT");
            load.arg("LOAD").arg(script.text());
            load
        })
    }

    /// Starts a call of a script. `key` is the prefix of all keys that the script touches.
    pub(super) fn call(&self, script: Script, key: &str) -> Cmd {
        let mut call = redis::cmd("EVALSHA");
        call.arg(&self.hashes[script as usize]).arg(1).arg(key);
        call
    }
}

/// Returns a duration as the scripts take it.
pub(in crate::backends::redis) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
