//! The Lua scripts that run inside the server, one file each.

use std::time::Duration;

use redis::Cmd;

/// Declares the scripts, each with the name of its file.
macro_rules! scripts {
    ($($script:ident = $name:literal,)+) => {
        /// A script. Everything that a node changes in Redis, it changes through one of these.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Script {
            $($script,)+
        }

        impl Script {
            pub(super) const ALL: [Self; [$($name,)+].len()] = [$(Self::$script,)+];

            /// The names of all scripts, which are those of their files.
            pub(super) const NAMES: [&'static str; Self::ALL.len()] = [$($name,)+];

            fn own_text(self) -> &'static str {
                match self {
                    $(Self::$script => include_str!(concat!($name, ".lua")),)+
                }
            }
        }
    };
}

scripts! {
    Publish = "publish",
    Register = "register",
    Renew = "renew",
    Join = "join",
    Ready = "ready",
    Ack = "ack",
    Leave = "leave",
    Report = "report",
    Counts = "counts",
    Redirect = "redirect",
    Sweep = "sweep",
    Reap = "reap",
    Lease = "lease",
    Read = "read",
    Guilds = "guilds",
    GuildFold = "guild_fold",
    DiscordStart = "discord_start",
    DiscordOpen = "discord_open",
    DiscordResume = "discord_resume",
    DiscordKeep = "discord_keep",
    DiscordCarry = "discord_carry",
    DiscordCheckpoint = "discord_checkpoint",
    DiscordDetach = "discord_detach",
    DiscordEnd = "discord_end",
    DiscordPresence = "discord_presence",
    DiscordExpire = "discord_expire",
    Command = "command",
    CommandDone = "command_done",
    TicketIssue = "ticket_issue",
    TicketTake = "ticket_take",
    TicketRevoke = "ticket_revoke",
    Jobs = "jobs",
    JobSettle = "job_settle",
    JobList = "job_list",
    JobChange = "job_change",
}

/// The functions shared by the scripts of an application.
const APPLICATION: &str = include_str!("application.lua");

impl Script {
    fn text(self) -> String {
        match self {
            Self::Lease => self.own_text().to_owned(),
            script => [APPLICATION, script.own_text()].join("\n"),
        }
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

    /// Returns the name of the script that a command calls, if it calls one.
    pub(super) fn name_of(&self, command: &Cmd) -> Option<&'static str> {
        let mut args = command.args_iter();
        let redis::Arg::Simple(b"EVALSHA") = args.next()? else {
            return None;
        };
        let redis::Arg::Simple(hash) = args.next()? else {
            return None;
        };
        let index = self.hashes.iter().position(|known| known.as_bytes() == hash)?;
        Some(Script::NAMES[index])
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
