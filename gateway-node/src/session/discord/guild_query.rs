//! Queries of the guilds that the node knows.

use crate::{
    backplane::{Position, Unavailable},
    guilds::Guilds,
    session::{CallContext, patience::Patience},
};

/// Calls `query` with the guilds of an application, once the node has reached `since` and knows them.
///
/// # Errors
/// Fails if that takes too long.
pub(super) async fn guilds<T>(
    application: &str,
    since: Option<Position>,
    cx: &CallContext,
    query: impl Fn(&Guilds) -> T,
) -> Result<T, Unavailable> {
    let (registry, patience) = (&cx.worker.app.registry, Patience::begin());
    loop {
        let changed = registry.replay_changed();
        match registry.guilds(application, since, &query) {
            Some(result) => return Ok(result),
            None => patience.wait_for(changed).await?,
        }
    }
}

/// Does one slice of work on the guilds of an application, in a turn of its own. Waits while this node does not know
/// them.
///
/// # Errors
/// Fails if that takes too long.
pub(super) async fn slice<T>(
    application: &str,
    cx: &CallContext,
    mut work: impl FnMut(&Guilds) -> T,
) -> Result<T, Unavailable> {
    let (worker, patience) = (&cx.worker, Patience::begin());
    loop {
        let turn = worker.turns.take().await;
        let changed = worker.app.registry.replay_changed();
        let done = worker.app.registry.guilds(application, None, &mut work);
        drop(turn);
        match done {
            Some(done) => return Ok(done),
            None => patience.wait_for(changed).await?,
        }
    }
}
