//! The Lua scripts that run inside the server, one file each.

use std::time::Duration;

use redis::Cmd;

/// Functions that several scripts share, by what they are about. Those that a script names are prepended to it in this
/// order, which is that in which they call each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Functions {
    /// Keys, numbers, time: every script of an application has them.
    Keys,
    Log,
    Publications,
    Turns,
    Jobs,
    HeldJobs,
    Receivers,
    Readdress,
    Guilds,
    Discord,
    Reports,
}

impl Functions {
    const fn text(self) -> &'static str {
        match self {
            Self::Keys => include_str!("functions/keys.lua"),
            Self::Log => include_str!("functions/log.lua"),
            Self::Publications => include_str!("functions/publications.lua"),
            Self::Turns => include_str!("functions/turns.lua"),
            Self::Jobs => include_str!("functions/jobs.lua"),
            Self::HeldJobs => include_str!("functions/held_jobs.lua"),
            Self::Receivers => include_str!("functions/receivers.lua"),
            Self::Readdress => include_str!("functions/readdress.lua"),
            Self::Guilds => include_str!("functions/guilds.lua"),
            Self::Discord => include_str!("functions/discord.lua"),
            Self::Reports => include_str!("functions/reports.lua"),
        }
    }
}

/// Declares the scripts, each with the name of its file and the functions that it calls, which have to be in order.
macro_rules! scripts {
    ($($script:ident = $name:literal [$($functions:ident)*],)+) => {
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

            const fn functions(self) -> &'static [Functions] {
                match self {
                    $(Self::$script => &[$(Functions::$functions),*],)+
                }
            }
        }
    };
}

scripts! {
    Publish = "publish" [Keys Log Publications Turns Jobs Receivers Guilds],
    PublishBroadcasts = "publish_broadcasts" [Keys Log Publications],
    Register = "register" [Keys Log],
    Renew = "renew" [Keys Log Turns],
    Join = "join" [Keys Log Turns Jobs HeldJobs Reports],
    Ready = "ready" [Keys Log Turns Jobs HeldJobs Receivers Readdress],
    Ack = "ack" [Keys],
    Leave = "leave" [Keys Turns Jobs HeldJobs Reports],
    Report = "report" [Keys Log Turns Receivers Readdress Reports],
    Counts = "counts" [Keys Log Reports],
    Redirect = "redirect" [Keys Log Turns Receivers Readdress],
    Sweep = "sweep" [Keys Log Turns Receivers Readdress],
    Reap = "reap" [Keys Log Turns Jobs HeldJobs Receivers Readdress Reports],
    Lease = "lease" [],
    Read = "read" [Keys Log],
    Guilds = "guilds" [Keys Log Reports],
    GuildFold = "guild_fold" [Keys Guilds],
    DiscordStart = "discord_start" [Keys],
    DiscordOpen = "discord_open" [Keys Log Discord],
    DiscordResume = "discord_resume" [Keys Log Discord],
    DiscordKeep = "discord_keep" [Keys Log Discord],
    DiscordCarry = "discord_carry" [Keys Log Discord],
    DiscordCheckpoint = "discord_checkpoint" [Keys Log Discord],
    DiscordDetach = "discord_detach" [Keys Discord],
    DiscordEnd = "discord_end" [Keys Discord],
    DiscordPresence = "discord_presence" [Keys Log Guilds Discord],
    DiscordExpire = "discord_expire" [Keys Log Guilds Discord],
    Command = "command" [Keys Log],
    CommandDone = "command_done" [Keys],
    TicketIssue = "ticket_issue" [Keys],
    TicketTake = "ticket_take" [Keys],
    TicketRevoke = "ticket_revoke" [Keys],
    Jobs = "jobs" [Keys Log Turns Jobs HeldJobs],
    JobSettle = "job_settle" [Keys Log Turns Jobs HeldJobs],
    JobList = "job_list" [Keys],
    JobChange = "job_change" [Keys Log Turns Jobs HeldJobs],
}

impl Script {
    fn text(self) -> String {
        let functions = self.functions().iter().map(|functions| functions.text());
        functions.chain([self.own_text()]).collect::<Vec<_>>().join("\n")
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

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    const FUNCTIONS: [Functions; 11] = [
        Functions::Keys,
        Functions::Log,
        Functions::Publications,
        Functions::Turns,
        Functions::Jobs,
        Functions::HeldJobs,
        Functions::Receivers,
        Functions::Readdress,
        Functions::Guilds,
        Functions::Discord,
        Functions::Reports,
    ];

    /// Returns a line without its comment and its strings.
    fn code(line: &str) -> String {
        let line = line.split("--").next().unwrap_or_default();
        line.split('\'').step_by(2).collect::<Vec<_>>().join(" ")
    }

    /// Returns the names in a text that are not those of fields.
    fn names(text: &str) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for line in text.lines().map(code) {
            let is_name = |character: char| character.is_alphanumeric() || character == '_';
            let mut rest = line.as_str();
            while let Some(start) = rest.find(is_name) {
                let is_field = rest[..start].ends_with(['.', ':']) && !rest[..start].ends_with("..");
                rest = &rest[start..];
                let end = rest.find(|character| !is_name(character)).unwrap_or(rest.len());
                if !is_field {
                    names.insert(rest[..end].to_owned());
                }
                rest = &rest[end..];
            }
        }
        names
    }

    /// Returns what a text defines outside of functions, each with its text.
    fn definitions(text: &str) -> Vec<(String, String)> {
        let mut found: Vec<(String, String)> = Vec::new();
        for line in text.lines() {
            if let Some(definition) = line.strip_prefix("local ") {
                let definition = definition.strip_prefix("function ").unwrap_or(definition);
                let end = definition.find(['(', '=']).unwrap_or(definition.len());
                for name in definition[..end].split(',') {
                    found.push((name.trim().to_owned(), String::new()));
                }
            }
            if let Some((_, body)) = found.last_mut() {
                body.push_str(line);
                body.push('\n');
            }
        }
        found
    }

    #[test]
    fn each_script_has_the_functions_that_it_calls() {
        let mut home = BTreeMap::new();
        let mut bodies = BTreeMap::new();
        for functions in FUNCTIONS {
            for (name, body) in definitions(functions.text()) {
                assert_eq!(home.insert(name.clone(), functions), None, "{name}");
                bodies.insert(name, body);
            }
        }
        assert!(home.len() > 70, "{home:?}");
        for script in Script::ALL.into_iter().filter(|script| *script != Script::Lease) {
            let mut used = BTreeSet::from([Functions::Keys]);
            let mut seen = BTreeSet::new();
            let mut open: Vec<_> = names(script.own_text()).into_iter().collect();
            while let Some(name) = open.pop() {
                if let Some(functions) = home.get(&name)
                    && seen.insert(name.clone())
                {
                    used.insert(*functions);
                    open.extend(names(&bodies[&name]));
                }
            }
            let declared: Vec<_> = script.functions().to_vec();
            assert!(declared.is_sorted(), "{script:?}");
            assert_eq!(declared, used.into_iter().collect::<Vec<_>>(), "{script:?}");
        }
    }
}
