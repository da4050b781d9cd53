//! One client's session: an actor that carries out what a protocol's state machine decides.
//!
//! A protocol (`v1`, `discord`) receives events and returns [`Action`]s. It knows no sockets, actors or locks, so it is
//! tested as plain code. The [`Session`] actor owns the timer, queries the keyring, the registry and the backplane, and
//! puts frames into its outbox. To add a protocol, implement [`Protocol`].

mod actor;
mod client_names;
mod cx;
mod discord;
mod ending;
mod log_reader;
mod patience;
mod protocol;
#[cfg(test)]
mod tests;
mod turns;
mod v1;
mod worker_state;

pub use self::{
    actor::Session,
    client_names::{ClientName, ClientNames},
    cx::Cx,
    discord::{Discord, DiscordSessionSettings, MemberLists},
    ending::{DROPS, ENDINGS, PROBLEMS, RESUMES},
    protocol::{Action, Actions, CallContext, PendingCall, Protocol, SessionEnd},
    turns::{Turn, Turns},
    v1::{Identified, JoinRequest, TakenTicket, V1, V1Call, V1CallResult, V1IdentifyError, V1SessionSettings},
    worker_state::WorkerState,
};
