//! Makes private dispatches, in slices.
//!
//! No guild is held across an `await`: the next event would have to copy a guild that is held elsewhere. Each slice looks
//! the guild up again and takes a turn, so that other sessions are served in between.

use std::{borrow::Cow, sync::Arc};

use serde_json::json;
use shared::discord::payload;
use tokio::time::Instant;

use super::guild_query::slice;
use crate::{
    backplane::Unavailable,
    guilds::{ChunkText, Picture, Search, Viewer},
    resume::{PrivateBody, Recipe},
    session::CallContext,
};

/// How many bytes of dispatches are made at once. A larger dispatch goes by itself.
const AT_ONCE: usize = 32 * 1024;

/// The name and the data of a private dispatch.
pub(super) type PrivateDispatch = (Cow<'static, str>, String);

/// A request for members of one guild.
#[derive(Debug)]
pub struct Plan {
    /// The application of the session.
    pub application: Arc<str>,
    /// The search.
    pub search: Search,
    /// When the request arrived.
    pub asked: Instant,
}

/// Private dispatches that have to be made.
#[derive(Debug)]
pub struct Make {
    /// The application of the session.
    pub application: Arc<str>,
    /// How the session sees guilds.
    pub viewer: Viewer,
    /// What the dispatches contain, in order. Only as many are made as are sent at once.
    pub privates: Vec<PrivateBody>,
}

/// Finds out what the answers to a request for members of one guild are made from.
///
/// # Errors
/// Fails if this node does not know the guilds for too long.
pub(super) async fn plan(plan: Plan, cx: &CallContext) -> Result<Vec<PrivateBody>, Unavailable> {
    let Plan {
        application,
        mut search,
        asked,
    } = plan;
    let guild = search.guild();
    // Members of an unknown guild are not listed.
    if search.is_whole() && slice(&application, cx, |guilds| guilds.has(guild)).await? {
        let lists = &cx.worker.member_lists;
        if let Err(wait) = lists.take(&application, guild, asked, Instant::now()) {
            return Ok(vec![PrivateBody::Event {
                name: payload::RATE_LIMITED.into(),
                d: payload::members_rate_limited(guild, search.nonce(), wait).into(),
            }]);
        }
    }
    while !slice(&application, cx, |guilds| guilds.search(&mut search)).await? {}
    let chunks = search.chunks().into_iter();
    Ok(chunks
        .map(|chunk| PrivateBody::Answer(Recipe::Members(chunk)))
        .collect())
}

/// Makes the first of these dispatches, at least one.
///
/// # Errors
/// Fails if this node does not know the guilds for too long.
pub(super) async fn make(make: Make, cx: &CallContext) -> Result<Vec<PrivateDispatch>, Unavailable> {
    let (mut dispatches, mut bytes) = (Vec::new(), 0);
    for body in &make.privates {
        let dispatch = make_one(body, &make, cx).await?;
        if bytes > 0 && bytes + dispatch.1.len() > AT_ONCE {
            break;
        }
        bytes += dispatch.1.len();
        dispatches.push(dispatch);
    }
    // The caller encodes the result at once, which is work too.
    drop(cx.worker.turns.take().await);
    Ok(dispatches)
}

async fn make_one(body: &PrivateBody, make: &Make, cx: &CallContext) -> Result<PrivateDispatch, Unavailable> {
    let Make {
        application, viewer, ..
    } = make;
    Ok(match body {
        PrivateBody::Event { name, d } => (Cow::Owned(name.to_string()), d.to_string()),
        PrivateBody::Guild(id) => {
            let (name, d) = draw(application, *id, *viewer, cx).await?;
            (Cow::Borrowed(name), d)
        }
        PrivateBody::Answer(Recipe::Members(chunk)) => {
            let mut text = ChunkText::new(chunk);
            while !slice(application, cx, |guilds| guilds.write_chunk(&mut text)).await? {}
            (Cow::Borrowed("GUILD_MEMBERS_CHUNK"), text.finish())
        }
        PrivateBody::Answer(Recipe::Sounds(id)) => {
            let sounds = slice(application, cx, |guilds| guilds.sounds(*id)).await?;
            let d = json!({"guild_id": id.to_string(), "soundboard_sounds": sounds});
            (Cow::Borrowed("SOUNDBOARD_SOUNDS"), d.to_string())
        }
        PrivateBody::Answer(Recipe::Channels(id)) => {
            let channels = slice(application, cx, |guilds| guilds.channels(*id)).await?;
            let d = json!({"guild_id": id.to_string(), "channels": channels});
            (Cow::Borrowed("CHANNEL_INFO"), d.to_string())
        }
    })
}

async fn draw(
    application: &str,
    id: u64,
    viewer: Viewer,
    cx: &CallContext,
) -> Result<(&'static str, String), Unavailable> {
    let mut picture = Picture::new(id, viewer);
    while !slice(application, cx, |guilds| guilds.draw(&mut picture)).await? {}
    Ok(picture.finish())
}
