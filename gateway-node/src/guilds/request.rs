//! Which members answer a request.

use serde_json::{Value, json};
use shared::discord::{Intents, RequestMembers};

use super::guild::Guild;

/// The most members of one answer.
const CHUNK: usize = 1000;
/// The most that are found by a name or by their ids.
const FOUND: usize = 100;

/// The data of each answer for one guild; one that is not there has no members.
pub(super) fn chunks(id: u64, guild: Option<&Guild>, request: &RequestMembers, intents: Intents) -> Vec<Value> {
    let (members, not_found) = found(guild, request, intents);
    let presences = request.presences && intents.contains(Intents::GUILD_PRESENCES);
    let groups: Vec<&[(u64, &Value)]> = if members.is_empty() {
        vec![&[]]
    } else {
        members.chunks(CHUNK).collect()
    };
    let chunk = |(index, group): (usize, &&[(u64, &Value)])| {
        let mut d = json!({
            "guild_id": id.to_string(),
            "members": group.iter().map(|(_, member)| member).collect::<Vec<_>>(),
            "chunk_index": index,
            "chunk_count": groups.len(),
        });
        if !not_found.is_empty() {
            d["not_found"] = json!(not_found);
        }
        if presences {
            let presence = |(user, _): &(u64, &Value)| guild.and_then(|guild| guild.presence(*user));
            d["presences"] = json!(group.iter().filter_map(presence).collect::<Vec<_>>());
        }
        if let Some(nonce) = &request.nonce {
            d["nonce"] = json!(nonce);
        }
        d
    };
    groups.iter().enumerate().map(chunk).collect()
}

/// The members, and the ids among those asked for that nobody has.
fn found<'a>(
    guild: Option<&'a Guild>,
    request: &RequestMembers,
    intents: Intents,
) -> (Vec<(u64, &'a Value)>, Vec<String>) {
    if let Some(users) = &request.users {
        let member = |user: &u64| Some((*user, guild?.members.get(user)?));
        let (there, gone): (Vec<_>, Vec<_>) = users.iter().take(FOUND).partition(|user| member(user).is_some());
        return (
            there.into_iter().filter_map(member).collect(),
            gone.into_iter().map(u64::to_string).collect(),
        );
    }
    let query = request.query.as_deref().unwrap_or_default();
    let is_whole = query.is_empty() && request.limit == 0;
    if is_whole && !intents.contains(Intents::GUILD_MEMBERS) {
        return (Vec::new(), Vec::new());
    }
    let most = match usize::try_from(request.limit) {
        _ if is_whole => usize::MAX,
        Ok(limit @ 1..=FOUND) => limit,
        _ => FOUND,
    };
    let query = query.to_lowercase();
    let is_called = |member: &Value| {
        let names = [member.pointer("/user/username"), member.get("nick")];
        let mut names = names.into_iter().flatten().filter_map(Value::as_str);
        query.is_empty() || names.any(|name| name.to_lowercase().starts_with(&query))
    };
    let members = guild.into_iter().flat_map(|guild| &guild.members);
    let called = members.filter(|(_, member)| is_called(member)).take(most);
    (called.map(|(user, member)| (*user, member)).collect(), Vec::new())
}
