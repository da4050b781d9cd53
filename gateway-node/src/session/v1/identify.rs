//! Joining: from the key that a client shows to its place among the sessions.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::SystemTime,
};

use shared::{
    client_type::ClientType,
    session_id::SessionId,
    v1::{PresentedSecret, payload::GuildCount},
};
use tokio::{runtime::Handle, time::Instant};

use crate::{
    auth::{Key, Refused},
    backplane::{Backplane, JoinError, Joined, Joining, Pending, Position},
    session::CallContext,
};

/// A client that wants to join.
#[derive(Debug)]
pub struct JoinRequest {
    /// Its type, as sent.
    pub(super) kind: String,
    /// Its key, as sent.
    pub(super) key: PresentedSecret,
}

/// A session that has joined.
#[derive(Debug, Clone)]
pub struct Identified {
    /// Its id.
    pub id: SessionId,
    /// What it is.
    pub kind: ClientType,
    /// The key that it showed.
    pub key: Arc<Key>,
    /// The end of the log when it joined.
    pub since: Position,
    /// The counts of its application.
    pub counts: GuildCount,
}

/// Why a session may not join.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum V1IdentifyError {
    /// The key is not good, or not for this type.
    #[error("the key is not good for this type")]
    Key,
    /// The cluster cannot take it.
    #[error(transparent)]
    Cluster(#[from] JoinError),
}

/// Finds out whether the key is good for this type, and joins.
pub(super) async fn join(join: JoinRequest, cx: CallContext) -> Result<Identified, V1IdentifyError> {
    let services = &cx.services;
    let opened = services.keyring.open(join.key.expose(), SystemTime::now());
    let (key, kind) = match (opened, join.kind.parse()) {
        (Ok(key), Ok(kind)) if key.is_for(kind) => (key, kind),
        // The other keys are where the ids are: they come together.
        (Err(Refused::NotYet), _) => return Err(JoinError::Unavailable.into()),
        _ => return Err(V1IdentifyError::Key),
    };
    let joining = Joining {
        application: Arc::clone(key.application()),
        kind,
    };
    let joined = PendingJoin::of(&services.backplane, joining).await;
    let Joined { id, since, counts } = joined.inspect_err(|error| {
        // That the server is away, the backplane says itself, and once.
        if *error != JoinError::Unavailable {
            services.problems.fault(cx.address, error, Instant::now());
        }
    })?;
    if !services.keyring.is_good(&key, kind, SystemTime::now()) {
        // Revoked while the answer was under way: the shard did not know the session when it told the others.
        services.backplane.leave(key.application(), id);
        return Err(V1IdentifyError::Key);
    }
    log::debug!(session:% = id, client:% = kind, key = key.id(), address:% = cx.address; "session identified");
    Ok(Identified {
        id,
        kind,
        key,
        since,
        counts,
    })
}

/// The answer to a join, heard even when its session has ended before it came. Dropped before its answer, it leaves what it then has joined: no id and no membership may stay
/// behind without a session.
struct PendingJoin {
    backplane: Arc<dyn Backplane>,
    application: Arc<str>,
    pending: Option<Pending<Joined, JoinError>>,
}

impl PendingJoin {
    /// Asks to join.
    fn of(backplane: &Arc<dyn Backplane>, joining: Joining) -> Self {
        Self {
            backplane: Arc::clone(backplane),
            application: Arc::clone(&joining.application),
            pending: Some(backplane.join(joining)),
        }
    }
}

impl Future for PendingJoin {
    type Output = Result<Joined, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(pending) = &mut self.pending else {
            return Poll::Pending;
        };
        let answer = std::task::ready!(pending.as_mut().poll(cx));
        self.pending = None;
        Poll::Ready(answer)
    }
}

impl Drop for PendingJoin {
    fn drop(&mut self) {
        // Without a runtime the process is ending, and its memberships with it.
        if let (Some(pending), Ok(runtime)) = (self.pending.take(), Handle::try_current()) {
            let (backplane, application) = (Arc::clone(&self.backplane), Arc::clone(&self.application));
            runtime.spawn(async move {
                if let Ok(joined) = pending.await {
                    backplane.leave(&application, joined.id);
                }
            });
        }
    }
}
