//! The answer to a join, heard even when its session has ended before it came.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::runtime::Handle;

use crate::cluster::{Backplane, JoinError, Joined, Joining, Pending};

/// A join under way. Dropped before its answer, it leaves what it then has joined: no id and no membership may stay
/// behind without a session.
pub(super) struct JoinAnswer {
    backplane: Arc<dyn Backplane>,
    application: Arc<str>,
    pending: Option<Pending<Joined, JoinError>>,
}

impl JoinAnswer {
    /// Asks to join.
    pub(super) fn of(backplane: &Arc<dyn Backplane>, joining: Joining) -> Self {
        Self {
            backplane: Arc::clone(backplane),
            application: Arc::clone(&joining.application),
            pending: Some(backplane.join(joining)),
        }
    }
}

impl Future for JoinAnswer {
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

impl Drop for JoinAnswer {
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
