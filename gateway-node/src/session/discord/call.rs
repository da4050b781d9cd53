//! What a Discord session waits for: the calls of its protocol and their results.

use std::sync::Arc;

use shared::discord::{Filter, Identify, Resume, Version};

use super::{
    bot_state::{self, BotState, BotStateError},
    identify::{self, Authenticated, DiscordIdentifyError},
    private_dispatch::{self, Make, Plan, PrivateDispatch},
    resume,
};
use crate::{
    backplane::{Position, Unavailable},
    replay::{ReadFrom, ReplayPage},
    resume::{OpenedSession, PresencePublisher, PrivateBody, PrivateWrite, ReadError, ResumedSession},
    session::{Actions, CallContext, log_reader, patience::Patience},
};

/// The actions of a Discord session.
pub(super) type DiscordActions = Actions<Call>;

/// A call.
#[derive(Debug)]
pub enum Call {
    /// Opens a session for a client that speaks this version.
    Identify(Box<Identify>, Version),
    /// Resumes a session.
    Resume(Resume),
    /// Reads the log of an application. The page is not the last one before the given position, if there is one.
    Read(Arc<str>, ReadFrom, Option<Position>),
    /// Reads what the log has after this position, however far the node is.
    ReadBeyond(Arc<str>, Position),
    /// Stores private dispatches before they are sent.
    Write(PrivateWrite),
    /// Finds out what the answers to a request for members are made from.
    Plan(Plan),
    /// Makes private dispatches.
    Make(Make),
    /// Shows a presence or a voice state of a session that identified with this filter.
    SetState(PresencePublisher, Filter, BotState),
}

/// The result of a call.
pub enum CallResult {
    /// Of [`Call::Identify`].
    Identified(Result<Box<Authenticated<OpenedSession>>, DiscordIdentifyError>),
    /// Of [`Call::Resume`].
    Resumed(Result<Box<Authenticated<ResumedSession>>, DiscordIdentifyError>),
    /// Of [`Call::Read`] and [`Call::ReadBeyond`].
    Read(Result<ReplayPage, ReadError>),
    /// Of [`Call::Write`]: what was to be stored, and whether the session still has the same owner.
    Written(PrivateWrite, Result<bool, Unavailable>),
    /// Of [`Call::Plan`].
    Planned(Result<Vec<PrivateBody>, Unavailable>),
    /// Of [`Call::Make`]: the first of the dispatches, at least one.
    Made(Result<Vec<PrivateDispatch>, Unavailable>),
    /// Of [`Call::SetState`].
    StateSet(Result<(), BotStateError>),
}

/// Runs a call.
pub(super) async fn run(call: Call, cx: CallContext) -> CallResult {
    match call {
        Call::Identify(identify, version) => {
            CallResult::Identified(identify::open(*identify, version, &cx).await.map(Box::new))
        }
        Call::Resume(resume) => CallResult::Resumed(resume::resume(&resume, &cx).await.map(Box::new)),
        Call::Read(application, from, end) => CallResult::Read(log_reader::read(&application, from, end, &cx).await),
        Call::ReadBeyond(application, after) => {
            CallResult::Read(log_reader::read_beyond(&application, after, &cx).await)
        }
        Call::Write(write) => {
            let written = Patience::begin().retry(|_| true, async || write.attempt().await).await;
            CallResult::Written(write, written)
        }
        Call::Plan(plan) => CallResult::Planned(private_dispatch::plan(plan, &cx).await),
        Call::Make(make) => CallResult::Made(private_dispatch::make(make, &cx).await),
        Call::SetState(publisher, filter, state) => {
            CallResult::StateSet(bot_state::publish(&publisher, &filter, state, &cx).await)
        }
    }
}
