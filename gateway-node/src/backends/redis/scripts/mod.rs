//! The scripts that run inside the server, each in a file of its own under `scripts/`.

use redis::Cmd;

/// One script. Everything that a node changes in Redis, it changes by one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Script {
    Publish,
    Register,
    Renew,
    Join,
    Enter,
    Taken,
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
    DiscordShow,
    DiscordFade,
    Order,
    OrderDone,
}

/// What the scripts of an application share.
const APPLICATION: &str = include_str!("scripts/application.lua");

impl Script {
    pub(super) const ALL: [Self; 28] = [
        Self::Publish,
        Self::Register,
        Self::Renew,
        Self::Join,
        Self::Enter,
        Self::Taken,
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
        Self::DiscordShow,
        Self::DiscordFade,
        Self::Order,
        Self::OrderDone,
    ];

    fn text(self) -> String {
        let own = match self {
            Self::Publish => include_str!("scripts/publish.lua"),
            Self::Register => include_str!("scripts/register.lua"),
            Self::Renew => include_str!("scripts/renew.lua"),
            Self::Join => include_str!("scripts/join.lua"),
            Self::Enter => include_str!("scripts/enter.lua"),
            Self::Taken => include_str!("scripts/taken.lua"),
            Self::Leave => include_str!("scripts/leave.lua"),
            Self::Report => include_str!("scripts/report.lua"),
            Self::Counts => include_str!("scripts/counts.lua"),
            Self::Redirect => include_str!("scripts/redirect.lua"),
            Self::Sweep => include_str!("scripts/sweep.lua"),
            Self::Reap => include_str!("scripts/reap.lua"),
            Self::Read => include_str!("scripts/read.lua"),
            Self::Guilds => include_str!("scripts/guilds.lua"),
            Self::GuildFold => include_str!("scripts/guild_fold.lua"),
            Self::DiscordStart => include_str!("scripts/discord_start.lua"),
            Self::DiscordOpen => include_str!("scripts/discord_open.lua"),
            Self::DiscordResume => include_str!("scripts/discord_resume.lua"),
            Self::DiscordKeep => include_str!("scripts/discord_keep.lua"),
            Self::DiscordCarry => include_str!("scripts/discord_carry.lua"),
            Self::DiscordCheckpoint => include_str!("scripts/discord_checkpoint.lua"),
            Self::DiscordDetach => include_str!("scripts/discord_detach.lua"),
            Self::DiscordEnd => include_str!("scripts/discord_end.lua"),
            Self::DiscordShow => include_str!("scripts/discord_show.lua"),
            Self::DiscordFade => include_str!("scripts/discord_fade.lua"),
            Self::Order => include_str!("scripts/order.lua"),
            Self::OrderDone => include_str!("scripts/order_done.lua"),
            Self::Lease => return include_str!("scripts/lease.lua").to_owned(),
        };
        [APPLICATION, own].join("\n")
    }
}

/// The scripts as the server knows them: by the hash of their text.
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
    /// What makes the server know every script.
    pub(super) fn load() -> impl Iterator<Item = Cmd> {
        Script::ALL.into_iter().map(|script| {
            let mut load = redis::cmd("SCRIPT");
            load.arg("LOAD").arg(script.text());
            load
        })
    }

    /// The beginning of a call: `key` is what the keys that the script touches start with.
    pub(super) fn call(&self, script: Script, key: &str) -> Cmd {
        let mut call = redis::cmd("EVALSHA");
        call.arg(&self.hashes[script as usize]).arg(1).arg(key);
        call
    }
}
