//! `/api/v1/applications/{application}/guilds`: reads and changes the guilds of an application. Changes reach sessions
//! through the log, like all their events.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use serde_json::{Map, Value, json};
use shared::{
    client_type::ClientTypes,
    discord::{GuildChange, Header, Target, snowflake},
    routing::Delivery,
};

use super::{
    ApiError, HttpState,
    page::{PageBody, PageQuery},
    publish::refusal,
};
use crate::{
    auth::Key,
    backplane::{Publication, Publishing, WhenUnavailable},
    config::Permission,
    guilds::{GuildProblem, Guilds, check, check_members},
};

/// Maximum members in one request.
const MAX_MEMBERS: usize = 1000;

#[derive(Serialize)]
struct IdsQuery {
    guilds: Vec<String>,
    /// The `after` of the next page; null on the last page.
    next: Option<String>,
}

#[derive(Serialize)]
struct MembersBody<'a> {
    members: Vec<&'a Value>,
    next: Option<String>,
}

type Paged = Result<web::Query<PageQuery>, actix_web::Error>;

/// `GET …/guilds?after=ID&limit=N`: lists the ids of the guilds, in ascending order.
pub(super) async fn list(
    request: HttpRequest,
    application: web::Path<String>,
    query: Paged,
    api: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    let key = of(&api, &request, &application, Permission::Read)?;
    let page = PageBody::of(query)?;
    let wanted = page.wanted();
    let kept = api.app.discord.guild_ids(key.application(), page.after, wanted).await;
    let mut ids = match kept.map_err(|_| ApiError::GuildsAway)? {
        Some(ids) => ids,
        None => seen(&api, &key, |guilds| guilds.ids(page.after).take(wanted).collect())?,
    };
    let next = page.cut(&mut ids, |id| *id);
    let guilds = ids.iter().map(u64::to_string).collect();
    Ok(HttpResponse::Ok().json(IdsQuery { guilds, next }))
}

/// `GET …/guilds/{guild}`: returns the guild, without its members and their presences.
pub(super) async fn get(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    api: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    let (key, id) = of_guild(&api, &request, &path, Permission::Read)?;
    let guilds = guild(&api, &key, id).await?;
    let about = guilds.about(id).ok_or(ApiError::NotFound)?;
    Ok(HttpResponse::Ok().json(about))
}

/// `GET …/guilds/{guild}/members?after=ID&limit=N`: lists members by ascending id.
pub(super) async fn members(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    query: Paged,
    api: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    let (key, id) = of_guild(&api, &request, &path, Permission::Read)?;
    let page = PageBody::of(query)?;
    let guilds = guild(&api, &key, id).await?;
    let found = guilds.members(id, page.after, page.wanted());
    let mut found = found.ok_or(ApiError::NotFound)?;
    let next = page.cut(&mut found, |(user, _)| *user);
    let members = found.into_iter().map(|(_, member)| member).collect();
    Ok(HttpResponse::Ok().json(MembersBody { members, next }))
}

/// `PUT …/guilds/{guild}`: replaces the guild with the body, the `d` of a `GUILD_CREATE`, and sends that event to
/// sessions. Responds with 202 and the position in the log.
pub(super) async fn put(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    payload: web::Payload,
    api: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    let (key, id) = of_guild(&api, &request, &path, Permission::Publish)?;
    let body = api.body(&request, payload, &key).await?;
    let mut d: Map<String, Value> = serde_json::from_slice(&body).map_err(|error| no_json("guild", &error))?;
    match d.get("id").map(snowflake) {
        Some(Some(named)) if named == id => {}
        Some(_) => return Err(ApiError::InvalidData("`id` is not that of the path".to_owned())),
        None => {
            d.insert("id".to_owned(), json!(id.to_string()));
        }
    }
    check(&d).map_err(|problem| wrong(&problem))?;
    let d = Value::Object(d).to_string();
    if d.len() > api.event_bytes {
        let what = "a guild, whose members can be put by themselves,";
        return Err(ApiError::event_too_large(what, api.event_bytes));
    }
    publish(&api, &key, vec![change("GUILD_CREATE", id, Target::All, &d)]).await
}

/// `DELETE …/guilds/{guild}`: removes the guild, and sends a `GUILD_DELETE` to sessions. Responds with 202, or 404 if
/// there is no such guild.
pub(super) async fn delete(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    api: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    let (key, id) = of_guild(&api, &request, &path, Permission::Publish)?;
    exists(&api, &key, id).await?;
    let d = json!({ "id": id.to_string() }).to_string();
    publish(&api, &key, vec![change("GUILD_DELETE", id, Target::All, &d)]).await
}

/// `PUT …/guilds/{guild}/members`: adds or replaces the members in the list. No event is sent to sessions: to announce
/// a member that joins, publish a `GUILD_MEMBER_ADD`. Responds with 202, or 404 if there is no such guild.
pub(super) async fn put_members(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    payload: web::Payload,
    api: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    let (key, id) = of_guild(&api, &request, &path, Permission::Publish)?;
    let body = api.body(&request, payload, &key).await?;
    let members: Vec<Value> = serde_json::from_slice(&body).map_err(|error| no_json("list of members", &error))?;
    if !(1..=MAX_MEMBERS).contains(&members.len()) {
        return Err(ApiError::TooLarge(format!(
            "a request may hold 1 to {MAX_MEMBERS} members, whatever the settings"
        )));
    }
    check_members(&members).map_err(|problem| wrong(&problem))?;
    let parts = parts(id, &members, api.event_bytes)?;
    exists(&api, &key, id).await?;
    let change = |d: &String| change(GuildChange::MEMBERS_PUT, id, Target::Nobody, d);
    publish(&api, &key, parts.iter().map(change).collect()).await
}

/// Packs the members into the data of as few events as possible.
fn parts(id: u64, members: &[Value], event_bytes: usize) -> Result<Vec<String>, ApiError> {
    let end = "]}";
    let begin = || format!("{{\"guild_id\":\"{id}\",\"members\":[");
    let (mut parts, mut part) = (Vec::new(), begin());
    let empty = part.len();
    for (index, member) in members.iter().enumerate() {
        let member = member.to_string();
        if empty + member.len() + end.len() > event_bytes {
            return Err(ApiError::event_too_large(
                format_args!("`members[{index}]` as an event"),
                event_bytes,
            ));
        }
        if part.len() > empty {
            if part.len() + 1 + member.len() + end.len() > event_bytes {
                parts.push(std::mem::replace(&mut part, begin()) + end);
            } else {
                part.push(',');
            }
        }
        part.push_str(&member);
    }
    parts.push(part + end);
    Ok(parts)
}

fn change(name: &str, guild: u64, target: Target, d: &str) -> Publication {
    Publication {
        name: name.into(),
        receivers: ClientTypes::NONE,
        delivery: Delivery::All,
        author: None,
        require_receiver: false,
        user: None,
        to_tickets: false,
        trace: None,
        request: None,
        job: None,
        discord: Some(Arc::new(Header::from_parts(
            name,
            Some(guild),
            None,
            Box::default(),
            target,
        ))),
        d: d.into(),
    }
}

async fn publish(api: &HttpState, key: &Key, events: Vec<Publication>) -> Result<HttpResponse, ApiError> {
    api.charge_events(key, events.len())?;
    let answer = api.app.backplane.publish(Publishing {
        application: Arc::clone(key.application()),
        events,
        idempotency: None,
        when_unavailable: WhenUnavailable::Fail,
    });
    let positions = answer.await.map_err(|error| refusal(api, &error))?;
    Ok(HttpResponse::Accepted().json(positions.last()))
}

/// Authenticates a request about the key's own application. Other applications' guilds are not found.
fn of(api: &HttpState, request: &HttpRequest, application: &str, permission: Permission) -> Result<Arc<Key>, ApiError> {
    let key = api.authorise(request, permission)?;
    if **key.application() == *application {
        Ok(key)
    } else {
        Err(ApiError::NotFound)
    }
}

/// Like [`of`], and parses the guild id in the path.
fn of_guild(
    api: &HttpState,
    request: &HttpRequest,
    (application, guild): &(String, String),
    permission: Permission,
) -> Result<(Arc<Key>, u64), ApiError> {
    let key = of(api, request, application, permission)?;
    let id = guild.parse().map_err(|_| ApiError::NotFound)?;
    Ok((key, id))
}

/// Returns the guild with this id; empty if there is none.
async fn guild(api: &HttpState, key: &Key, id: u64) -> Result<Guilds, ApiError> {
    match api.app.discord.guild(key.application(), id).await {
        Ok(Some(guilds)) => Ok(guilds),
        Ok(None) => seen(api, key, |guilds| guilds.only([id])),
        Err(_) => Err(ApiError::GuildsAway),
    }
}

async fn exists(api: &HttpState, key: &Key, id: u64) -> Result<(), ApiError> {
    let guilds = guild(api, key, id).await?;
    guilds.ids(None).next().map(|_| ()).ok_or(ApiError::NotFound)
}

/// Reads from the guilds of a node without Redis, which has them all.
fn seen<T>(api: &HttpState, key: &Key, look: impl FnOnce(&Guilds) -> T) -> Result<T, ApiError> {
    let seen = api.app.registry.guilds(key.application(), None, look);
    seen.ok_or(ApiError::GuildsAway)
}

fn no_json(what: &str, error: &serde_json::Error) -> ApiError {
    ApiError::Malformed(format!("the body is no {what}: {error}"))
}

fn wrong(problem: &GuildProblem) -> ApiError {
    ApiError::InvalidData(problem.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_packed_into_as_few_events_as_possible() {
        let members: Vec<_> = (10..15).map(|id| json!({ "user": { "id": id.to_string() } })).collect();
        let one = members[0].to_string().len();
        let empty = "{\"guild_id\":\"7\",\"members\":[]}".len();
        for (event_bytes, expected) in [
            (1 << 16, vec![5]),
            (empty + 2 * one + 1, vec![2, 2, 1]),
            (empty + 2 * one, vec![1; 5]),
            (empty + one, vec![1; 5]),
        ] {
            let parts = parts(7, &members, event_bytes).unwrap();
            let sizes: Vec<_> = parts
                .iter()
                .map(|part| {
                    assert!(part.len() <= event_bytes);
                    let d: Value = serde_json::from_str(part).unwrap();
                    assert_eq!(d["guild_id"], "7");
                    d["members"].as_array().unwrap().len()
                })
                .collect();
            assert_eq!(sizes, expected, "{event_bytes}");
        }
        assert!(parts(7, &members, empty + one - 1).is_err());
    }
}
