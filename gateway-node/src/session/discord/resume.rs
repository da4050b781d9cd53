//! Resumes a session that may have been on any node.

use std::sync::Arc;

use shared::{discord::Resume, session_id::SessionId};

use super::identify::{Authenticated, DiscordIdentifyError, authenticate, unavailable};
use crate::{
    resume::{ResumeError, ResumeParams, ResumedSession},
    session::{CallContext, patience::Patience},
};

/// Resumes a session, and takes it over from the connection that has it.
///
/// # Errors
/// Says what the client is told instead.
pub(super) async fn resume(
    request: &Resume,
    cx: &CallContext,
) -> Result<Authenticated<ResumedSession>, DiscordIdentifyError> {
    let worker = &cx.worker;
    let (key, application) = authenticate(&request.token, cx).await?;
    let params = ResumeParams {
        application: Arc::clone(key.application()),
        key: Arc::clone(key.shared_id()),
        id: SessionId::from_raw(request.session_id.parse().map_err(|_| DiscordIdentifyError::Gone)?),
        seq: request.seq,
    };
    let id = params.id;
    let resumed = Patience::begin()
        .retry(
            |error| *error == ResumeError::Unavailable,
            async || worker.app.discord.resume(params.clone()).await,
        )
        .await;
    match resumed {
        Ok(session) => {
            log::debug!(session:% = id, key = key.id(), address:% = cx.address; "session resumed");
            Ok(Authenticated {
                session,
                key,
                application,
                guilds: Vec::new(),
            })
        }
        Err(ResumeError::Unavailable) => Err(unavailable().await),
        Err(_) => {
            log::debug!(session:% = id, seq = request.seq, address:% = cx.address; "session refused to resume");
            Err(DiscordIdentifyError::Gone)
        }
    }
}
