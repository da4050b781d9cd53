//! How Discord sessions are seen, on its way to the server: told in batches, and that they are seen no more when they are
//! over.

use std::time::Duration;

use redis::Cmd;
use tokio::time::sleep;

use super::write_behind::superseded;
use crate::{
    backends::redis::{
        Shared,
        application::Application,
        connection::{problem::Problem, redis_connection::Link},
        log::wire::NONE,
        membership::maintenance::Pulse,
        scripts::Script,
    },
    backplane::Owner,
    resume::{Appearance, Appearances, PRESENCE_UPDATE, VOICE_STATE_UPDATE, pause_after},
};

/// How often a node looks for sessions that are over.
const LOOK: Duration = Duration::from_secs(1);
/// How many events of such sessions one call appends, about.
const FADE: usize = 64;

/// Appearances that were taken; taken back unless they were told.
struct UnderWay<'a> {
    queue: &'a Appearances,
    taken: Vec<(Owner, Vec<Appearance>)>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.queue.take_back(std::mem::take(&mut self.taken));
    }
}

/// Tells the server how sessions of this node are seen, for as long as the link lasts. What had no answer is told again: a
/// presence that was heard is no news then, and a voice state twice is the same one.
pub(in crate::backends::redis) async fn tell(shared: &Shared, link: &Link) -> Problem {
    let queue = &shared.appearances;
    loop {
        let mut under_way = UnderWay {
            taken: queue.take(),
            queue,
        };
        if under_way.taken.is_empty() {
            drop(under_way);
            queue.changed().await;
            continue;
        }
        let told = under_way.taken.iter().filter_map(|(owner, appearances)| {
            let application = shared.applications.get(&owner.application)?;
            Some((owner, call(shared, link, application, owner, appearances)))
        });
        let (owners, calls): (Vec<_>, Vec<_>) = told.unzip();
        let answers = match link.run(calls).await {
            Ok(answers) => answers,
            Err(problem) => return problem,
        };
        let mut events = 0;
        for (owner, answer) in owners.into_iter().zip(answers) {
            match answer {
                Ok(words) => match words.word(0) {
                    "ok" => events += words.number(1),
                    "superseded" => superseded(&*shared.deliver, owner, words.number(1)),
                    "fenced" => return link.fenced(),
                    // Who is over is not seen.
                    _ => {}
                },
                Err(problem) => return problem,
            }
        }
        under_way.taken.clear();
        drop(under_way);
        sleep(pause_after(usize::try_from(events).unwrap_or(usize::MAX))).await;
    }
}

fn call(shared: &Shared, link: &Link, application: &Application, owner: &Owner, appearances: &[Appearance]) -> Cmd {
    let mut call = application.call_log(link, Script::DiscordShow);
    shared.bounds.add_to(&mut call);
    call.arg(owner.id.get()).arg(owner.generation);
    for appearance in appearances {
        call.arg(appearance.guild());
        match appearance {
            Appearance::Presence(guise, _) => {
                call.arg(PRESENCE_UPDATE).arg(&*appearance.d());
                match guise.digest() {
                    Some(digest) => call.arg(format!("{digest:016x}")),
                    None => call.arg(NONE),
                };
            }
            Appearance::Voice(voice) => {
                call.arg(VOICE_STATE_UPDATE).arg(&*appearance.d());
                call.arg(voice.leaving().map_or(NONE, |leaving| leaving));
            }
        }
    }
    call
}

impl Pulse<'_> {
    /// Has those seen no more whose session is over.
    pub(in crate::backends::redis) async fn fade(&self) -> Problem {
        loop {
            for application in self.shared.applications.values() {
                if let Err(problem) = self.fade_all(application).await {
                    return problem;
                }
            }
            tokio::select! {
                () = sleep(LOOK) => {}
                () = self.shared.fade_now.notified() => {}
            }
        }
    }

    async fn fade_all(&self, application: &Application) -> Result<(), Problem> {
        loop {
            // When the server comes back after a while every deadline has passed, and those who live say so first.
            let is_sure = self.link.since().elapsed() > self.shared.options.lease;
            let mut call = application.call_log(self.link, Script::DiscordFade);
            self.shared.bounds.add_to(&mut call);
            call.arg(u8::from(is_sure)).arg(FADE);
            let words = self.link.ask(call).await?;
            let is_more = match words.word(0) {
                "ok" => false,
                "more" => true,
                _ => return Err(self.link.fenced()),
            };
            sleep(pause_after(usize::try_from(words.number(1)).unwrap_or(usize::MAX))).await;
            if !is_more {
                return Ok(());
            }
        }
    }
}
