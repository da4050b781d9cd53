//! Tests of guilds: what is built from events, and what is read from it.

use serde_json::json;
use shared::discord::{RequestMembers, UserIds};

use super::*;

fn greeting(guilds: &Guilds, viewer: Viewer) -> (&'static str, Value) {
    let mut picture = Picture::new(7, viewer);
    while !guilds.draw(&mut picture) {}
    let (name, d) = picture.finish();
    (name, serde_json::from_str(&d).unwrap())
}

fn planned(guilds: &Guilds, request: &RequestMembers, intents: Intents) -> Vec<MembersChunk> {
    let of = |id: &u64| {
        let mut search = Search::new(*id, request, intents);
        while !guilds.search(&mut search) {}
        search.chunks()
    };
    request.guilds.iter().flat_map(of).collect()
}

fn text(guilds: &Guilds, chunk: &MembersChunk) -> Value {
    let mut text = ChunkText::new(chunk);
    while !guilds.write_chunk(&mut text) {}
    serde_json::from_str(&text.finish()).unwrap()
}

fn chunks(guilds: &Guilds, request: &RequestMembers, intents: Intents) -> Vec<Value> {
    let planned = planned(guilds, request, intents);
    planned.iter().map(|chunk| text(guilds, chunk)).collect()
}

fn member(id: u64, name: &str) -> Value {
    json!({"user": {"id": id.to_string(), "username": name}, "nick": null, "roles": []})
}

fn guilds() -> Guilds {
    let mut guilds = Guilds::default();
    let members: Vec<_> = (1..=3).map(|id| member(id, &format!("user-{id}"))).collect();
    let d = json!({
        "id": "7", "name": "G", "member_count": 3, "members": members,
        "channels": [{"id": "70", "name": "a"}], "roles": [{"id": "7", "name": "@everyone"}],
        "presences": [{"user": {"id": "2"}, "status": "online"}], "voice_states": [],
    });
    apply(&mut guilds, "GUILD_CREATE", &d);
    guilds
}

/// Applies the event at the next offset.
fn apply(guilds: &mut Guilds, name: &str, d: &Value) {
    let offset = guilds.guilds.get(&7).map_or(1, |known| known.through + 1);
    if let Some(change) = GuildChange::of(name) {
        guilds.apply(offset, change, 7, &d.to_string());
    }
}

fn viewer(intents: Intents) -> Viewer {
    Viewer {
        intents,
        user: 1,
        large_threshold: 50,
    }
}

fn picture(guilds: &Guilds, intents: Intents) -> Value {
    let (name, d) = greeting(guilds, viewer(intents));
    assert_eq!(name, "GUILD_CREATE");
    d
}

fn ids(list: &Value) -> Vec<&str> {
    let items = list.as_array().unwrap().iter();
    let id = |item: &'_ Value| item.pointer("/user/id").is_some();
    items
        .map(|item| if id(item) { &item["user"]["id"] } else { &item["id"] })
        .map(|id| id.as_str().unwrap())
        .collect()
}

#[test]
fn events_change_the_snapshot() {
    let mut guilds = guilds();
    apply(&mut guilds, "GUILD_UPDATE", &json!({"id": "7", "name": "H"}));
    apply(&mut guilds, "CHANNEL_CREATE", &json!({"id": "71", "guild_id": "7"}));
    apply(
        &mut guilds,
        "CHANNEL_UPDATE",
        &json!({"id": "70", "guild_id": "7", "name": "b"}),
    );
    apply(
        &mut guilds,
        "GUILD_ROLE_CREATE",
        &json!({"guild_id": "7", "role": {"id": "72"}}),
    );
    apply(
        &mut guilds,
        "GUILD_MEMBER_ADD",
        &json!({"guild_id": "7", "user": {"id": "4"}}),
    );
    apply(
        &mut guilds,
        "GUILD_MEMBER_REMOVE",
        &json!({"guild_id": "7", "user": {"id": "3"}}),
    );
    apply(
        &mut guilds,
        "VOICE_STATE_UPDATE",
        &json!({"guild_id": "7", "user_id": "4", "channel_id": "70"}),
    );
    let seen = picture(&guilds, Intents::ALL);
    assert_eq!((&seen["name"], &seen["member_count"]), (&json!("H"), &json!(3)));
    assert_eq!(ids(&seen["channels"]), ["70", "71"]);
    assert_eq!(seen["channels"][0]["name"], "b");
    assert_eq!(ids(&seen["roles"]), ["7", "72"]);
    assert_eq!(ids(&seen["members"]), ["1", "2", "4"]);
    assert_eq!(seen["voice_states"][0]["user_id"], "4");
    apply(&mut guilds, "CHANNEL_DELETE", &json!({"id": "71"}));
    apply(&mut guilds, "GUILD_ROLE_DELETE", &json!({"role_id": "72"}));
    apply(
        &mut guilds,
        "VOICE_STATE_UPDATE",
        &json!({"user_id": "4", "channel_id": null}),
    );
    let seen = picture(&guilds, Intents::ALL);
    assert_eq!((ids(&seen["channels"]), ids(&seen["roles"])), (vec!["70"], vec!["7"]));
    assert_eq!(seen["voice_states"], json!([]));
}

#[test]
fn presences_need_the_intent() {
    let mut guilds = guilds();
    apply(
        &mut guilds,
        "VOICE_STATE_UPDATE",
        &json!({"user_id": "3", "channel_id": "70"}),
    );
    let seen = picture(&guilds, Intents::ALL);
    assert_eq!(
        (ids(&seen["members"]).len(), seen["presences"].as_array().unwrap().len()),
        (3, 1)
    );
    let seen = picture(&guilds, Intents::GUILDS);
    // The bot itself, and members in a voice channel.
    assert_eq!(ids(&seen["members"]), ["1", "3"]);
    assert_eq!((&seen["presences"], &seen["large"]), (&json!([]), &json!(false)));
    let large = Viewer {
        large_threshold: 2,
        ..viewer(Intents::ALL)
    };
    let (_, seen) = greeting(&guilds, large);
    assert_eq!(
        ids(&seen["members"]),
        ["1", "2", "3"],
        "the bot, an online member, a member in a voice channel"
    );
    assert_eq!(seen["large"], true);
    apply(
        &mut guilds,
        "PRESENCE_UPDATE",
        &json!({"user": {"id": "2"}, "status": "offline"}),
    );
    assert_eq!(ids(&greeting(&guilds, large).1["members"]), ["1", "3"]);
}

#[test]
fn a_speaker_has_its_member_and_voice_state() {
    let mut guilds = guilds();
    assert_eq!(guilds.speaker(7, 1), Some((Some(&member(1, "user-1")), None)));
    let state = json!({"guild_id": "7", "user_id": "9", "channel_id": "70", "mute": true});
    apply(&mut guilds, "VOICE_STATE_UPDATE", &state);
    assert_eq!(guilds.speaker(7, 9), Some((None, Some(&state))));
    assert_eq!(guilds.speaker(8, 1), None);
    apply(&mut guilds, "GUILD_DELETE", &json!({"id": "7", "unavailable": true}));
    assert_eq!(guilds.speaker(7, 1), None);
}

#[test]
fn a_removed_guild_is_sent_as_guild_delete() {
    let mut guilds = guilds();
    assert_eq!(guilds.of_shard(Shard::WHOLE), [7]);
    assert_eq!(guilds.of_shard(Shard { id: 1, count: 2 }), [0; 0]);
    apply(&mut guilds, "GUILD_DELETE", &json!({"id": "7", "unavailable": true}));
    assert_eq!(greeting(&guilds, viewer(Intents::ALL)).1["unavailable"], true);
    apply(&mut guilds, "GUILD_DELETE", &json!({"id": "7"}));
    let (name, d) = greeting(&guilds, viewer(Intents::ALL));
    assert_eq!((name, d), ("GUILD_DELETE", json!({"id": "7", "unavailable": false})));
    assert_eq!(guilds.of_shard(Shard::WHOLE), [0; 0]);
}

#[test]
fn malformed_events_change_nothing() {
    let mut guilds = guilds();
    let before = picture(&guilds, Intents::ALL);
    for (name, d) in [
        ("GUILD_MEMBER_ADD", "{}"),
        ("GUILD_MEMBER_ADD", "[]"),
        ("CHANNEL_CREATE", "{\"id\":[]}"),
        ("GUILD_ROLE_CREATE", "{\"role\":7}"),
        ("MESSAGE_CREATE", "{\"id\":\"1\"}"),
        ("PRESENCE_UPDATE", "{\"user\":{}}"),
    ] {
        if let Some(change) = GuildChange::of(name) {
            guilds.apply(9, change, 7, d);
            guilds.apply(9, change, 8, d);
        }
    }
    assert_eq!(picture(&guilds, Intents::ALL), before);
}

#[test]
fn events_already_included_are_not_applied_again() {
    let mut guilds = guilds();
    let add = |guilds: &mut Guilds, offset: u64, user: u64| {
        guilds.apply(offset, GuildChange::MemberAdd, 7, &member(user, "x").to_string());
    };
    add(&mut guilds, 5, 10);
    let mut later = guilds.only([7, 8]);
    add(&mut guilds, 5, 11);
    add(&mut guilds, 4, 12);
    add(&mut guilds, 6, 13);
    let of = |guilds: &Guilds| -> Vec<u64> {
        let members = guilds.members(7, Some(3), 100).unwrap();
        members.into_iter().map(|(user, _)| user).collect()
    };
    assert_eq!((of(&guilds), of(&later)), (vec![10, 13], vec![10]));
    later.apply(5, GuildChange::Delete, 7, "{}");
    assert_eq!(later.ids(None).collect::<Vec<_>>(), [7]);
    later.apply(6, GuildChange::Delete, 7, "{}");
    assert_eq!((later.ids(None).count(), guilds.ids(None).count()), (0, 1));
    assert_eq!(guilds.ids(Some(7)).count(), 0);
}

#[test]
fn channel_info_has_status_and_start_time() {
    let mut guilds = guilds();
    assert_eq!(guilds.channels(7), [Value::Null; 0]);
    let status = |guilds: &mut Guilds, id: &str, status: Value| {
        let d = json!({"guild_id": "7", "id": id, "status": status});
        apply(guilds, "VOICE_CHANNEL_STATUS_UPDATE", &d);
    };
    status(&mut guilds, "70", json!("talking"));
    status(&mut guilds, "71", json!("nowhere"));
    let d = json!({"guild_id": "7", "id": "70", "voice_start_time": 5});
    apply(&mut guilds, "VOICE_CHANNEL_START_TIME_UPDATE", &d);
    assert_eq!(
        guilds.channels(7),
        [json!({"id": "70", "status": "talking", "voice_start_time": 5})]
    );
    status(&mut guilds, "70", Value::Null);
    assert_eq!(guilds.channels(7), [json!({"id": "70", "voice_start_time": 5})]);
    assert_eq!(
        (
            picture(&guilds, Intents::ALL)["channels"][0]["name"].clone(),
            guilds.channels(8).len()
        ),
        (json!("a"), 0)
    );
}

#[test]
fn members_put_does_not_change_the_published_count() {
    let mut guilds = guilds();
    apply(
        &mut guilds,
        "GUILD_MEMBERS_PUT",
        &json!({"members": [member(3, "other"), member(9, "new"), 7]}),
    );
    let seen = picture(&guilds, Intents::ALL);
    assert_eq!(ids(&seen["members"]), ["1", "2", "3", "9"]);
    assert_eq!(
        (&seen["members"][2]["user"]["username"], &seen["member_count"]),
        (&json!("other"), &json!(4))
    );
}

fn request(query: Option<&str>, limit: u64, users: Option<Vec<u64>>) -> RequestMembers {
    RequestMembers {
        guilds: vec![7],
        query: query.map(str::to_owned),
        limit,
        users: users.map(|ids| UserIds {
            ids,
            ..UserIds::default()
        }),
        presences: true,
        nonce: Some("n".to_owned()),
    }
}

#[test]
fn members_are_found_by_name_by_id_or_all() {
    let guilds = guilds();
    let all = |request: &RequestMembers, intents| chunks(&guilds, request, intents);
    let whole = all(&request(Some(""), 0, None), Intents::ALL);
    assert_eq!((whole.len(), ids(&whole[0]["members"])), (1, vec!["1", "2", "3"]));
    assert_eq!((&whole[0]["nonce"], &whole[0]["chunk_count"]), (&json!("n"), &json!(1)));
    assert_eq!(whole[0]["presences"].as_array().unwrap().len(), 1);
    // Without the intents there is no full list, and no presences.
    let none = all(&request(Some(""), 0, None), Intents::GUILDS);
    assert_eq!((&none[0]["members"], none[0].get("presences")), (&json!([]), None));
    let named = all(&request(Some("USER-2"), 10, None), Intents::GUILDS);
    assert_eq!(ids(&named[0]["members"]), ["2"]);
    let two = all(&request(Some("user"), 2, None), Intents::GUILDS);
    assert_eq!(ids(&two[0]["members"]).len(), 2);
    let found = all(&request(None, 0, Some(vec![3, 9])), Intents::GUILDS);
    assert_eq!(
        (ids(&found[0]["members"]), &found[0]["not_found"]),
        (vec!["3"], &json!(["9"]))
    );
    let mut other = request(Some("a"), 1, None);
    other.guilds = vec![8];
    assert_eq!(all(&other, Intents::ALL)[0]["members"], json!([]));
}

#[test]
fn a_chunk_has_a_thousand_members() {
    let mut guilds = Guilds::default();
    let members: Vec<_> = (1..=2001).map(|id| member(id, "x")).collect();
    apply(&mut guilds, "GUILD_CREATE", &json!({"id": "7", "members": members}));
    let whole = chunks(&guilds, &request(Some(""), 0, None), Intents::ALL);
    let sizes: Vec<_> = whole.iter().map(|it| it["members"].as_array().unwrap().len()).collect();
    assert_eq!(sizes, [1000, 1000, 1]);
    let places: Vec<_> = whole
        .iter()
        .map(|it| (it["chunk_index"].clone(), it["chunk_count"].clone()))
        .collect();
    assert_eq!(
        places,
        [(json!(0), json!(3)), (json!(1), json!(3)), (json!(2), json!(3))]
    );
    let some = chunks(&guilds, &request(Some("x"), 5000, None), Intents::ALL);
    assert_eq!(some[0]["members"].as_array().unwrap().len(), 100);
}
