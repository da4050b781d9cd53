//! Makes what is for one session alone, in slices.
//!
//! Nothing here keeps a guild across an `await`: the next event would have to copy a guild that somebody else holds. A slice
//! looks at it anew, and takes a turn, so that other sessions are served meanwhile.

use std::borrow::Cow;

use serde_json::json;
use shared::discord::payload;
use tokio::time::{Instant, sleep};

use super::call::{Dispatch, GLANCE, Make, PATIENCE, Plan};
use crate::{
    backplane::Unavailable,
    guilds::{ChunkText, Guilds, Picture, Viewer},
    resume::{PrivateBody, Recipe},
    session::CallContext,
};

/// How many bytes are made at once. What is larger goes by itself.
const AT_ONCE: usize = 32 * 1024;

/// What the answers to a request for members of one guild are made from.
pub(super) async fn plan(plan: Plan, cx: &CallContext) -> Result<Vec<PrivateBody>, Unavailable> {
    let Plan {
        application,
        mut search,
        asked,
    } = plan;
    let guild = search.guild();
    // Of a guild that is not there, nothing is listed.
    if search.is_whole() && slice(&application, cx, |guilds| guilds.has(guild)).await? {
        let lists = &cx.services.member_lists;
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

/// Makes the first of these, at least one.
pub(super) async fn make(make: Make, cx: &CallContext) -> Result<Vec<Dispatch>, Unavailable> {
    let (mut dispatches, mut bytes) = (Vec::new(), 0);
    for body in &make.privates {
        let dispatch = make_one(body, &make, cx).await?;
        if bytes > 0 && bytes + dispatch.1.len() > AT_ONCE {
            break;
        }
        bytes += dispatch.1.len();
        dispatches.push(dispatch);
    }
    // Its caller encodes it at once, which is work as well.
    drop(cx.services.turns.take().await);
    Ok(dispatches)
}

async fn make_one(body: &PrivateBody, make: &Make, cx: &CallContext) -> Result<Dispatch, Unavailable> {
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

/// Does one slice of work on the guilds of an application, in a turn of its own. Waits while they are not known.
async fn slice<T>(application: &str, cx: &CallContext, mut work: impl FnMut(&Guilds) -> T) -> Result<T, Unavailable> {
    let services = &cx.services;
    let until = Instant::now() + PATIENCE;
    loop {
        let turn = services.turns.take().await;
        let done = services.registry.guilds(application, None, &mut work);
        drop(turn);
        match done {
            Some(done) => return Ok(done),
            None if Instant::now() < until => sleep(GLANCE).await,
            None => return Err(Unavailable),
        }
    }
}
