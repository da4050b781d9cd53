//! What is noted about Discord sessions on this node and has still to reach the server.
//!
//! Of each owner of a session there is the latest alone, so nothing has to be queued while the server is away.

use std::{sync::Mutex, time::Duration};

use redis::Cmd;
use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use crate::{
    backends::redis::{
        Shared,
        application::{Application, lock},
        connection::{problem::Problem, redis_connection::Link},
        membership::maintenance::millis,
        scripts::Script,
    },
    backplane::{Deliver, Epoch, Owner},
    resume::Checkpoint,
};

/// The most sessions of one batch.
const BATCH: usize = 256;

#[derive(Default)]
pub(in crate::backends::redis) struct Notes {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    notes: FxHashMap<Owner, Note>,
    /// How many were sent and have no answer yet.
    under_way: usize,
}

/// What is to be said of one session.
#[derive(Debug, Clone, Copy, Default)]
struct Note {
    checkpoint: Option<Checkpoint>,
    /// The life of the log in which everything stands that the client has seen, if that is known.
    epoch: Option<Epoch>,
    /// Whether it has lost its connection, and if so, whether because its client reads slowly.
    detached: Option<bool>,
    has_ended: bool,
}

impl Note {
    /// The same with what was said before and not heard.
    fn after(self, earlier: Self) -> Self {
        Self {
            checkpoint: self.checkpoint.or(earlier.checkpoint),
            epoch: self.epoch.or(earlier.epoch),
            detached: self.detached.or(earlier.detached),
            has_ended: self.has_ended || earlier.has_ended,
        }
    }
}

impl Notes {
    /// Notes what a client has, if that is known, and that it is there. All that it has seen stands in `epoch`.
    pub(in crate::backends::redis) fn checkpoint(
        &self,
        owner: &Owner,
        checkpoint: Option<Checkpoint>,
        epoch: Option<Epoch>,
    ) {
        self.note(
            owner,
            Note {
                checkpoint,
                epoch,
                ..Note::default()
            },
        );
    }

    /// Notes that a session has lost its connection.
    pub(in crate::backends::redis) fn detach(&self, owner: &Owner, is_slow: bool) {
        self.note(
            owner,
            Note {
                detached: Some(is_slow),
                ..Note::default()
            },
        );
    }

    /// Notes that a session has ended.
    pub(in crate::backends::redis) fn end(&self, owner: &Owner) {
        self.note(
            owner,
            Note {
                has_ended: true,
                ..Note::default()
            },
        );
    }

    /// Whether the server has everything.
    pub(in crate::backends::redis) fn are_settled(&self) -> bool {
        let state = lock(&self.state);
        state.notes.is_empty() && state.under_way == 0
    }

    fn note(&self, owner: &Owner, note: Note) {
        let mut state = lock(&self.state);
        let known = state.notes.entry(owner.clone()).or_default();
        *known = note.after(*known);
        drop(state);
        self.changed.notify_one();
    }

    fn take(&self) -> Vec<(Owner, Note)> {
        let mut state = lock(&self.state);
        let owners: Vec<_> = state.notes.keys().take(BATCH).cloned().collect();
        let taken: Vec<_> = owners
            .into_iter()
            .filter_map(|owner| state.notes.remove_entry(&owner))
            .collect();
        state.under_way = taken.len();
        taken
    }

    /// Takes back what may not have been heard. It does no harm twice.
    fn take_back(&self, taken: Vec<(Owner, Note)>) {
        let mut state = lock(&self.state);
        state.under_way = 0;
        for (owner, earlier) in taken {
            let known = state.notes.entry(owner).or_default();
            *known = known.after(earlier);
        }
    }
}

/// Notes that were taken; taken back unless they were heard.
struct UnderWay<'a> {
    notes: &'a Notes,
    taken: Vec<(Owner, Note)>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.notes.take_back(std::mem::take(&mut self.taken));
    }
}

/// Tells the server what is noted, for as long as the link lasts.
pub(in crate::backends::redis) async fn tell(shared: &Shared, link: &Link) -> Problem {
    let notes = &shared.notes;
    loop {
        let mut under_way = UnderWay {
            taken: notes.take(),
            notes,
        };
        if under_way.taken.is_empty() {
            drop(under_way);
            notes.changed.notified().await;
            continue;
        }
        let mut calls = Vec::new();
        let mut callers = Vec::new();
        for (owner, note) in &under_way.taken {
            let Some(application) = shared.applications.get(&owner.application) else {
                continue;
            };
            for call in calls_of(shared, link, application, owner, *note) {
                calls.push(call);
                callers.push(owner);
            }
        }
        let answers = match link.run(calls).await {
            Ok(answers) => answers,
            Err(problem) => return problem,
        };
        for (owner, answer) in callers.into_iter().zip(answers) {
            match answer {
                Ok(words) if words.word(0) == "superseded" => superseded(&*shared.deliver, owner, words.number(1)),
                // One that the server has forgotten cannot be resumed, but has its connection.
                Ok(_) => {}
                Err(problem) => return problem,
            }
        }
        if under_way.taken.iter().any(|(_, note)| note.has_ended) {
            shared.fade_now.notify_one();
        }
        under_way.taken.clear();
    }
}

/// Has the session's connection here let go of it: that another one has it was not heard.
pub(in crate::backends::redis) fn superseded(deliver: &dyn Deliver, owner: &Owner, generation: u64) {
    deliver.superseded(&Owner {
        generation,
        ..owner.clone()
    });
}

fn calls_of(
    shared: &Shared,
    link: &Link,
    application: &Application,
    owner: &Owner,
    note: Note,
) -> impl Iterator<Item = Cmd> {
    let call = |script, kept: Duration| {
        let mut call = link.script(script, &application.key(""));
        call.arg(owner.id.get()).arg(owner.generation).arg(millis(kept));
        call
    };
    let (window, presence) = (shared.options.resume_window, shared.options.presence());
    if note.has_ended {
        return [Some(call(Script::DiscordEnd, presence)), None].into_iter().flatten();
    }
    let checkpoint = (note.checkpoint.is_some() || note.detached.is_none()).then(|| {
        let mut call = call(Script::DiscordCheckpoint, presence);
        call.arg(epoch_or_none(note.epoch));
        if let Some(Checkpoint { s, position }) = note.checkpoint {
            call.arg(s).arg(position.epoch.to_string()).arg(position.offset);
        }
        call
    });
    let detach = note.detached.map(|is_slow| {
        let mut call = call(Script::DiscordDetach, window);
        call.arg(u8::from(is_slow));
        call
    });
    [checkpoint, detach].into_iter().flatten()
}

/// How the scripts are told of an epoch that is not always known.
pub(in crate::backends::redis) fn epoch_or_none(epoch: Option<Epoch>) -> String {
    epoch.map_or_else(|| "-".to_owned(), |epoch| epoch.to_string())
}
