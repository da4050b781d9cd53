//! The judge of a run: what senders and clients wrote down goes in, what was lost, doubled, reordered or shown to the
//! wrong client comes out.
//!
//! Pure code: `record` is what goes in, `judge` holds the rules, `discord` both for Discord sessions, `verdict` is what comes out. Times are those of one
//! process, so an event that was sent after a session had identified is due to it. Where a record allows both, that a
//! promise was kept and that it was broken, nothing is held against the gateway.

mod discord;
mod recording;
mod rules;
#[cfg(test)]
mod tests;
mod verdict;

pub use self::{
    discord::{DiscordSession, Reach, ReceivedDispatch},
    recording::{
        ClientKind, EventSender, GuildReport, Loss, PublishOutcome, Receipt, Recipients, Recording, SenderId,
        SentEvent, SessionEnd, V1Session,
    },
    rules::check,
    verdict::FaultVerdict,
};
