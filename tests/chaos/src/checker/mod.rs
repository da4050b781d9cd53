//! Checks a run: from the records of senders and clients, it finds events that were lost, doubled, reordered or
//! delivered to the wrong client.
//!
//! Pure code. `recording` is the input, `rules` holds the rules, `discord` has both for Discord sessions, and `verdict`
//! is the output. All times come from one process, so an event that was sent after a session identified must reach that
//! session. If a recording allows both readings, that a promise was kept and that it was broken, the gateway gets the
//! benefit of the doubt.

mod discord;
mod recording;
mod rules;
#[cfg(test)]
mod tests;
mod verdict;

pub use self::{
    discord::{DiscordSession, Reach, ReceivedDispatch},
    recording::{
        ClientKind, GuildReport, Loss, PublishOutcome, Receipt, Recipients, RecordedEnd, RecordedSender, Recording,
        SenderId, SentEvent, V1Session,
    },
    rules::check,
    verdict::FaultVerdict,
};
