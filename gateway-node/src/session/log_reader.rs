//! Reads the log of an application for a session that replays it.

use std::sync::Arc;

use super::patience::Patience;
use crate::{
    backplane::Position,
    replay::{ReadFrom, ReplayError, ReplayPage},
    resume::ReadError,
    session::CallContext,
};

/// The most entries of a page.
const PAGE: usize = 64;
/// The most bytes of data of a page.
const PAGE_BYTES: usize = 32 * 1024;

/// Reads from the replay buffer of this node, or else from the log. A session can subscribe only at the end of the
/// buffer.
///
/// # Errors
/// Fails if the log does not lead on from there, or if nothing can be read for too long.
pub(super) async fn read(
    application: &Arc<str>,
    mut from: ReadFrom,
    end: Option<Position>,
    cx: &CallContext,
) -> Result<ReplayPage, ReadError> {
    let worker = &cx.worker;
    let patience = Patience::begin();
    let mut cut = None;
    loop {
        let changed = worker.app.registry.replay_changed();
        match worker.app.registry.read(application, from, PAGE) {
            Ok(page) => {
                let page = page.up_to(end).cut_at(cut);
                if page.end.is_some() || page.entries().next().is_some() {
                    return Ok(page);
                }
                from = page.next;
            }
            Err(ReplayError::Ahead) => {}
            Err(ReplayError::Severed) => match worker.app.discord.read(application, from.position()).await {
                Ok(page) => {
                    let page = page.of_bytes(PAGE_BYTES);
                    cut = [cut, page.cut].into_iter().flatten().min();
                    if !page.entries.is_empty() {
                        return Ok(worker.app.registry.page(page).cut_at(cut));
                    }
                    from = ReadFrom::Position(page.through);
                }
                Err(ReadError::Severed) => return Err(ReadError::Severed),
                Err(ReadError::Unavailable) => {}
            },
        }
        patience.wait_for(changed).await.map_err(|_| ReadError::Unavailable)?;
    }
}

/// Reads the log itself, however far this node is. The client has seen more than this node has, so an empty page means
/// that the rest is lost.
///
/// # Errors
/// Fails if there is nothing, or if the log cannot be read for too long.
pub(super) async fn read_beyond(
    application: &Arc<str>,
    after: Position,
    cx: &CallContext,
) -> Result<ReplayPage, ReadError> {
    let worker = &cx.worker;
    let page = Patience::begin()
        .retry(
            |error| *error == ReadError::Unavailable,
            async || worker.app.discord.read(application, after).await,
        )
        .await?;
    if page.entries.is_empty() {
        return Err(ReadError::Severed);
    }
    let page = page.of_bytes(PAGE_BYTES);
    let cut = page.cut;
    Ok(worker.app.registry.page(page).cut_at(cut))
}
