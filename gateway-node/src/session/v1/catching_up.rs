//! How a session catches up with the end of the log before it receives events as they come.
//!
//! It reads the pages that Discord sessions replay, picks what it missed, and subscribes once it is at the end of the
//! node's replay buffer. A session that only wants positions does the same from where it joined, so that everything that
//! it is told has a place in the log.

use shared::{
    close::Close,
    v1::{Report, payload},
};

use super::{V1, V1Actions, call::V1Call, catch_up::CatchUp};
use crate::{
    backplane::Position,
    replay::ReplayPage,
    resume::ReadError,
    session::{Action, Cx},
};

impl V1 {
    /// Starts to catch up. `lost` is what the client is told if it named a position that this log cannot have.
    pub(super) fn catch_up(&mut self, catch_up: CatchUp, lost: Option<&str>) -> V1Actions {
        let mut actions: V1Actions = lost.into_iter().flat_map(|lost| self.tell_loss(lost)).collect();
        actions.push(catch_up.read());
        self.catching_up = Some(Box::new(catch_up));
        actions
    }

    fn tell_loss(&self, lost: &str) -> [Action<V1Call>; 2] {
        [self.send(lost), Action::CountCatchUp { is_complete: false }]
    }

    /// Sends what was read. Then reads on once the client has taken it, or subscribes at the end of the log.
    pub(super) fn read_page(&mut self, page: Result<ReplayPage, ReadError>, cx: &Cx<'_>) -> V1Actions {
        let Some(state) = &mut self.catching_up else {
            return V1Actions::new();
        };
        let page = match page {
            Ok(page) => page,
            Err(ReadError::Unavailable) => return self.fail_plainly(Close::UNAVAILABLE, None),
            Err(ReadError::Severed) => {
                return match state.lose() {
                    Some(lost) => {
                        let read = state.read();
                        self.tell_loss(&lost).into_iter().chain([read]).collect()
                    }
                    // As for any session that misses something.
                    None => self.fail_plainly(Close::RESTARTING, None),
                };
            }
        };
        let mut actions = V1Actions::new();
        for entry in page.entries() {
            let position = entry.entry().position;
            if entry.is_counts() {
                if state.gets_counts(position) {
                    actions.push(Action::Send(entry.frame(self.encoding)));
                }
            } else if state.missed.has(entry.entry()) {
                state.events += 1;
                state.last_sent = Some(position);
                actions.push(Action::Send(entry.frame(self.encoding)));
            }
        }
        state.from = page.next;
        match page.end {
            Some(end) if cx.subscribe_v1(state.subscription(end)) => {
                actions.extend(self.caught_up(end.position));
            }
            // There is more to read, or the shard has delivered more by now.
            _ if actions.is_empty() => actions.push(state.read()),
            _ => actions.push(Action::Drain),
        }
        actions
    }

    /// Tells the client that it has caught up, and does what had to wait.
    fn caught_up(&mut self, position: Position) -> V1Actions {
        let Some(state) = self.catching_up.take() else {
            return V1Actions::new();
        };
        let CatchUp {
            after,
            events,
            deferred,
            ..
        } = *state;
        let mut actions = V1Actions::new();
        if after.is_some() {
            actions.push(self.send(&payload::caught_up(&position.to_string(), events)));
            actions.push(Action::CountCatchUp { is_complete: true });
        }
        self.send_answers(&mut actions);
        actions.extend(deferred.and_then(|(report, number)| self.report_action(report, number)));
        actions
    }

    /// Reads on once the client has taken everything.
    pub(super) fn read_on(&self) -> V1Actions {
        self.catching_up.iter().map(|state| state.read()).collect()
    }

    /// Returns the position up to which the session has been sent everything, if its client is told. It is not known
    /// once the node has a gap.
    pub(super) fn position(&self, cx: &Cx<'_>) -> Option<Position> {
        match &self.catching_up {
            Some(state) => Some(state.position()),
            None if self.has_positions => cx.v1_cursor().map(|cursor| cursor.position),
            None => None,
        }
    }

    /// Whether no further report or renewal can be answered until the session has caught up.
    pub(super) fn is_report_awaited(&self) -> bool {
        let deferred = self.catching_up.as_ref().and_then(|state| state.deferred.as_ref());
        deferred.is_some_and(|(_, awaited)| *awaited > 0)
    }

    /// Replaces what the session reports or watches, at once or when it has caught up.
    pub(super) fn report_action(&mut self, report: Report, number: u64) -> Option<Action<V1Call>> {
        if let Some(state) = &mut self.catching_up {
            state.defer(report, number);
            return None;
        }
        Some(Action::Report {
            report,
            number,
            patience: self.settings.report_patience,
        })
    }
}
