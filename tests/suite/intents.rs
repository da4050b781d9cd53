//! The intents that each event needs, compared with Discord's public documentation and with twilight-gateway, and how a
//! node filters by them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use gateway_harness::{KEYS, Setup, discord::DiscordClient, key, publish, ready};
use serde::{Deserialize, Deserializer, de::Visitor, forward_to_deserialize_any};
use serde_json::json;
use shared::discord::{Filter, Header, Intents, Shard, Target};
use twilight_gateway::{EventType, EventTypeFlags};

const V10: &str = "v=10&encoding=json";
const GUILD: u64 = 5 << 22;

/// Discord's list of intents, as of August 2026. An event may appear under several intents.
const LISTED: &[(Intents, &[&str])] = &[
    (
        Intents::GUILDS,
        &[
            "GUILD_CREATE",
            "GUILD_UPDATE",
            "GUILD_DELETE",
            "GUILD_ROLE_CREATE",
            "GUILD_ROLE_UPDATE",
            "GUILD_ROLE_DELETE",
            "CHANNEL_CREATE",
            "CHANNEL_UPDATE",
            "CHANNEL_DELETE",
            "CHANNEL_PINS_UPDATE",
            "THREAD_CREATE",
            "THREAD_UPDATE",
            "THREAD_DELETE",
            "THREAD_LIST_SYNC",
            "THREAD_MEMBER_UPDATE",
            "THREAD_MEMBERS_UPDATE",
            "STAGE_INSTANCE_CREATE",
            "STAGE_INSTANCE_UPDATE",
            "STAGE_INSTANCE_DELETE",
            "VOICE_CHANNEL_STATUS_UPDATE",
            "VOICE_CHANNEL_START_TIME_UPDATE",
        ],
    ),
    (
        Intents::GUILD_MEMBERS,
        &[
            "GUILD_MEMBER_ADD",
            "GUILD_MEMBER_UPDATE",
            "GUILD_MEMBER_REMOVE",
            "THREAD_MEMBERS_UPDATE",
        ],
    ),
    (
        Intents::GUILD_MODERATION,
        &["GUILD_AUDIT_LOG_ENTRY_CREATE", "GUILD_BAN_ADD", "GUILD_BAN_REMOVE"],
    ),
    (
        Intents::GUILD_EXPRESSIONS,
        &[
            "GUILD_EMOJIS_UPDATE",
            "GUILD_STICKERS_UPDATE",
            "GUILD_SOUNDBOARD_SOUND_CREATE",
            "GUILD_SOUNDBOARD_SOUND_UPDATE",
            "GUILD_SOUNDBOARD_SOUND_DELETE",
            "GUILD_SOUNDBOARD_SOUNDS_UPDATE",
        ],
    ),
    (
        Intents::GUILD_INTEGRATIONS,
        &[
            "GUILD_INTEGRATIONS_UPDATE",
            "INTEGRATION_CREATE",
            "INTEGRATION_UPDATE",
            "INTEGRATION_DELETE",
        ],
    ),
    (Intents::GUILD_WEBHOOKS, &["WEBHOOKS_UPDATE"]),
    (Intents::GUILD_INVITES, &["INVITE_CREATE", "INVITE_DELETE"]),
    (
        Intents::GUILD_VOICE_STATES,
        &["VOICE_CHANNEL_EFFECT_SEND", "VOICE_STATE_UPDATE"],
    ),
    (Intents::GUILD_PRESENCES, &["PRESENCE_UPDATE"]),
    (
        Intents::GUILD_MESSAGES,
        &[
            "MESSAGE_CREATE",
            "MESSAGE_UPDATE",
            "MESSAGE_DELETE",
            "MESSAGE_DELETE_BULK",
        ],
    ),
    (
        Intents::GUILD_MESSAGE_REACTIONS,
        &[
            "MESSAGE_REACTION_ADD",
            "MESSAGE_REACTION_REMOVE",
            "MESSAGE_REACTION_REMOVE_ALL",
            "MESSAGE_REACTION_REMOVE_EMOJI",
        ],
    ),
    (Intents::GUILD_MESSAGE_TYPING, &["TYPING_START"]),
    (
        Intents::DIRECT_MESSAGES,
        &[
            "MESSAGE_CREATE",
            "MESSAGE_UPDATE",
            "MESSAGE_DELETE",
            "CHANNEL_PINS_UPDATE",
        ],
    ),
    (
        Intents::DIRECT_MESSAGE_REACTIONS,
        &[
            "MESSAGE_REACTION_ADD",
            "MESSAGE_REACTION_REMOVE",
            "MESSAGE_REACTION_REMOVE_ALL",
            "MESSAGE_REACTION_REMOVE_EMOJI",
        ],
    ),
    (Intents::DIRECT_MESSAGE_TYPING, &["TYPING_START"]),
    (Intents::MESSAGE_CONTENT, &[]),
    (
        Intents::GUILD_SCHEDULED_EVENTS,
        &[
            "GUILD_SCHEDULED_EVENT_CREATE",
            "GUILD_SCHEDULED_EVENT_UPDATE",
            "GUILD_SCHEDULED_EVENT_DELETE",
            "GUILD_SCHEDULED_EVENT_USER_ADD",
            "GUILD_SCHEDULED_EVENT_USER_REMOVE",
        ],
    ),
    (
        Intents::AUTO_MODERATION_CONFIGURATION,
        &[
            "AUTO_MODERATION_RULE_CREATE",
            "AUTO_MODERATION_RULE_UPDATE",
            "AUTO_MODERATION_RULE_DELETE",
        ],
    ),
    (
        Intents::AUTO_MODERATION_EXECUTION,
        &["AUTO_MODERATION_ACTION_EXECUTION"],
    ),
    (
        Intents::GUILD_MESSAGE_POLLS,
        &["MESSAGE_POLL_VOTE_ADD", "MESSAGE_POLL_VOTE_REMOVE"],
    ),
    (
        Intents::DIRECT_MESSAGE_POLLS,
        &["MESSAGE_POLL_VOTE_ADD", "MESSAGE_POLL_VOTE_REMOVE"],
    ),
];

/// Discord's other dispatches, which need no intent.
const UNLISTED: &[&str] = &[
    "APPLICATION_COMMAND_PERMISSIONS_UPDATE",
    "CHANNEL_INFO",
    "ENTITLEMENT_CREATE",
    "ENTITLEMENT_DELETE",
    "ENTITLEMENT_UPDATE",
    "GUILD_MEMBERS_CHUNK",
    "INTERACTION_CREATE",
    "RATE_LIMITED",
    "READY",
    "RESUMED",
    "SOUNDBOARD_SOUNDS",
    "SUBSCRIPTION_CREATE",
    "SUBSCRIPTION_DELETE",
    "SUBSCRIPTION_UPDATE",
    "USER_UPDATE",
    "VOICE_SERVER_UPDATE",
];

/// Differences between the gateway and Discord's list: the event, its intents in the list, and the reason.
const FROM_LIST: &[(&str, Intents, &str)] = &[(
    "MESSAGE_DELETE_BULK",
    Intents::GUILD_MESSAGES,
    "without a guild it is treated as direct, like every other message event; Discord does not send it there",
)];

/// Differences between the gateway and twilight-gateway: the event, its intents in that library (`None` if it does not
/// know the event), and the reason.
const FROM_TWILIGHT: &[(&str, Option<u64>, &str)] = &[
    ("CHANNEL_INFO", None, "newer than the library"),
    (
        "CHANNEL_PINS_UPDATE",
        Some(Intents::GUILDS.bits()),
        "it omits DIRECT_MESSAGES, under which Discord lists the event too",
    ),
    ("GUILD_SOUNDBOARD_SOUNDS_UPDATE", None, "it does not know soundboards"),
    ("GUILD_SOUNDBOARD_SOUND_CREATE", None, "it does not know soundboards"),
    ("GUILD_SOUNDBOARD_SOUND_DELETE", None, "it does not know soundboards"),
    ("GUILD_SOUNDBOARD_SOUND_UPDATE", None, "it does not know soundboards"),
    ("READY", Some(POLLS), "its flag has the bit of MESSAGE_POLL_VOTE_ADD"),
    (
        "RESUMED",
        Some(POLLS),
        "its flag has the bit of MESSAGE_POLL_VOTE_REMOVE",
    ),
    ("SOUNDBOARD_SOUNDS", None, "it does not know soundboards"),
    ("VOICE_CHANNEL_EFFECT_SEND", None, "it does not know soundboards"),
    ("VOICE_CHANNEL_START_TIME_UPDATE", None, "newer than the library"),
    ("VOICE_CHANNEL_STATUS_UPDATE", None, "it does not know statuses"),
];

/// Events of twilight-gateway that Discord does not dispatch.
const ONLY_TWILIGHT: &[(&str, &str)] = &[
    ("GATEWAY_CLOSE", "a close frame"),
    ("GATEWAY_HEARTBEAT", "an opcode"),
    ("GATEWAY_HEARTBEAT_ACK", "an opcode"),
    ("GATEWAY_HELLO", "an opcode"),
    ("GATEWAY_INVALIDATE_SESSION", "an opcode"),
    ("GATEWAY_RECONNECT", "an opcode"),
    ("UNAVAILABLE_GUILD", "a GUILD_CREATE or GUILD_DELETE"),
];

const POLLS: u64 = Intents::GUILD_MESSAGE_POLLS.bits() | Intents::DIRECT_MESSAGE_POLLS.bits();
const DIRECT: u64 = Intents::DIRECT_MESSAGES.bits()
    | Intents::DIRECT_MESSAGE_REACTIONS.bits()
    | Intents::DIRECT_MESSAGE_TYPING.bits()
    | Intents::DIRECT_MESSAGE_POLLS.bits();

/// Returns every single intent.
fn single_intents() -> impl Iterator<Item = Intents> {
    (0..64).filter_map(|bit| Intents::from_bits(1 << bit))
}

/// Returns every dispatch of Discord with its intents in Discord's list.
fn listed() -> BTreeMap<&'static str, u64> {
    let mut events: BTreeMap<_, _> = UNLISTED.iter().map(|name| (*name, 0)).collect();
    for (intent, names) in LISTED {
        for name in *names {
            *events.entry(*name).or_default() |= intent.bits();
        }
    }
    events
}

/// Returns the intents any one of which admits an event, or 0 if it needs none.
fn needed(name: &str, guild: Option<u64>) -> u64 {
    let header = Header::of(name, "{}", Target::All, guild);
    let admits = |intents: Intents| {
        let filter = Filter {
            intents,
            shard: Shard::WHOLE,
            user: 1,
            withholds_content: true,
        };
        filter.admits_any(&header).is_some()
    };
    if admits(Intents::NONE) {
        return 0;
    }
    let bits = single_intents().filter(|intent| admits(*intent));
    bits.fold(0, |all, intent| all | intent.bits())
}

/// Returns the union of the intents needed in a guild and outside of one.
fn needed_anywhere(name: &str) -> u64 {
    needed(name, Some(GUILD)) | needed(name, None)
}

#[test]
fn the_intents_match_discords_list_except_for_the_named_differences() {
    assert_eq!(
        LISTED.iter().map(|(intent, _)| *intent).collect::<Vec<_>>(),
        single_intents().collect::<Vec<_>>()
    );
    let differences: BTreeMap<_, _> = listed()
        .into_iter()
        .filter(|(name, intents)| needed_anywhere(name) != *intents)
        .collect();
    let named: BTreeMap<_, _> = FROM_LIST
        .iter()
        .map(|(name, intents, _)| (*name, intents.bits()))
        .collect();
    assert_eq!(differences, named, "named: {FROM_LIST:?}");
}

#[test]
fn an_event_with_guild_and_direct_intents_needs_the_one_for_its_place() {
    for (name, intents) in listed() {
        if intents & DIRECT != 0 {
            assert_eq!(needed(name, Some(GUILD)), intents & !DIRECT, "{name}");
            assert_eq!(needed(name, None), intents & DIRECT, "{name}");
        } else if FROM_LIST.iter().all(|(other, ..)| *other != name) {
            assert_eq!(needed(name, None), intents, "{name}");
        }
    }
}

#[test]
fn the_intents_match_twilight_except_for_the_named_differences() {
    let ours = listed();
    let differences: BTreeMap<_, _> = ours
        .keys()
        .map(|name| (*name, twilight(name)))
        .filter(|(name, theirs)| *theirs != Some(needed_anywhere(name)))
        .collect();
    let named: BTreeMap<_, _> = FROM_TWILIGHT.iter().map(|(name, theirs, _)| (*name, *theirs)).collect();
    assert_eq!(differences, named, "named: {FROM_TWILIGHT:?}");

    let only_theirs: BTreeSet<_> = twilight_names()
        .iter()
        .filter(|name| !ours.contains_key(**name))
        .copied()
        .collect();
    let named: BTreeSet<_> = ONLY_TWILIGHT.iter().map(|(name, _)| *name).collect();
    assert_eq!(only_theirs, named, "named: {ONLY_TWILIGHT:?}");
}

/// Returns the intents under which twilight-gateway lists the event, or `None` if it does not know the event.
fn twilight(name: &str) -> Option<u64> {
    let flag = EventTypeFlags::from(serde_json::from_value::<EventType>(json!(name)).ok()?);
    let groups = [
        (EventTypeFlags::GUILDS, Intents::GUILDS.bits()),
        (EventTypeFlags::GUILD_MEMBERS, Intents::GUILD_MEMBERS.bits()),
        (EventTypeFlags::GUILD_MODERATION, Intents::GUILD_MODERATION.bits()),
        (
            EventTypeFlags::GUILD_EMOJIS_AND_STICKERS,
            Intents::GUILD_EXPRESSIONS.bits(),
        ),
        (EventTypeFlags::GUILD_INTEGRATIONS, Intents::GUILD_INTEGRATIONS.bits()),
        (EventTypeFlags::GUILD_WEBHOOKS, Intents::GUILD_WEBHOOKS.bits()),
        (EventTypeFlags::GUILD_INVITES, Intents::GUILD_INVITES.bits()),
        (EventTypeFlags::GUILD_VOICE_STATES, Intents::GUILD_VOICE_STATES.bits()),
        (EventTypeFlags::GUILD_PRESENCES, Intents::GUILD_PRESENCES.bits()),
        (EventTypeFlags::GUILD_MESSAGES, Intents::GUILD_MESSAGES.bits()),
        (
            EventTypeFlags::GUILD_MESSAGE_REACTIONS,
            Intents::GUILD_MESSAGE_REACTIONS.bits(),
        ),
        (
            EventTypeFlags::GUILD_MESSAGE_TYPING,
            Intents::GUILD_MESSAGE_TYPING.bits(),
        ),
        (EventTypeFlags::DIRECT_MESSAGES, Intents::DIRECT_MESSAGES.bits()),
        (
            EventTypeFlags::DIRECT_MESSAGE_REACTIONS,
            Intents::DIRECT_MESSAGE_REACTIONS.bits(),
        ),
        (
            EventTypeFlags::DIRECT_MESSAGE_TYPING,
            Intents::DIRECT_MESSAGE_TYPING.bits(),
        ),
        (
            EventTypeFlags::GUILD_SCHEDULED_EVENTS,
            Intents::GUILD_SCHEDULED_EVENTS.bits(),
        ),
        (
            EventTypeFlags::AUTO_MODERATION_CONFIGURATION,
            Intents::AUTO_MODERATION_CONFIGURATION.bits(),
        ),
        (
            EventTypeFlags::AUTO_MODERATION_EXECUTION,
            Intents::AUTO_MODERATION_EXECUTION.bits(),
        ),
        (EventTypeFlags::MESSAGE_POLLS, POLLS),
    ];
    let groups = groups.into_iter().filter(|(group, _)| group.contains(flag));
    Some(groups.fold(0, |all, (_, intents)| all | intents))
}

/// Returns the names of all events that twilight-gateway knows: those that its event type can be deserialized from.
fn twilight_names() -> &'static [&'static str] {
    EventType::deserialize(Variants).expect_err("no event").0
}

/// A deserializer that returns, as its error, the names of the variants of the type.
struct Variants;

#[derive(Debug, thiserror::Error)]
#[error("{0:?}")]
struct Names(&'static [&'static str]);

impl serde::de::Error for Names {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(&[])
    }
}

impl<'de> Deserializer<'de> for Variants {
    type Error = Names;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Names> {
        Err(Names(&[]))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Names> {
        Err(Names(variants))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map struct identifier ignored_any
    }
}

#[tokio::test]
async fn a_session_gets_the_events_of_its_intent_and_unlisted_events() {
    let file = format!("[[applications]]\nid = \"utilbot\"\nmax_concurrency = 100\n{KEYS}");
    let node = Setup::new().file(&file).start().await;
    ready(&node).await;
    let mut clients = Vec::new();
    for intents in single_intents().chain([Intents::NONE]) {
        let (client, _) = DiscordClient::session(&node, V10, &key("bot"), intents.bits()).await;
        clients.push((client, intents.bits()));
    }
    let mut events = listed();
    events.insert("SOMETHING_NEW", 0);
    let in_guild = |name: &&str| {
        let d = json!({"id": GUILD.to_string(), "guild_id": GUILD.to_string(), "place": "guild"});
        json!({"t": name, "to": "all", "d": d})
    };
    let direct = |name: &&str| json!({"t": name, "to": "all", "d": {"channel_id": "1", "place": "direct"}});
    let is_also_direct = |intents: &u64| *intents == 0 || intents & DIRECT != 0;
    let directs = events.iter().filter(|(_, intents)| is_also_direct(intents));
    let mut published: Vec<_> = events
        .keys()
        .map(in_guild)
        .chain(directs.map(|(name, _)| direct(name)))
        .collect();
    published.push(json!({"t": "LAST", "to": "all", "d": {}}));
    publish(&node, &key("root"), &json!(published)).await;
    for (mut client, intents) in clients {
        let mut got = BTreeSet::new();
        loop {
            let payload = client.next().await;
            let name = payload.t.unwrap();
            if name == "LAST" {
                break;
            }
            got.insert((payload.d["place"].as_str().unwrap().to_owned(), name));
        }
        let mut expected = BTreeSet::new();
        for (name, needed) in &events {
            for (place, needed_here) in [("guild", needed & !DIRECT), ("direct", needed & DIRECT)] {
                let is_published = place == "guild" || is_also_direct(needed);
                if is_published && (*needed == 0 || needed_here & intents != 0) {
                    expected.insert((place.to_owned(), (*name).to_owned()));
                }
            }
        }
        assert_eq!(got, expected, "{intents:#b}");
    }
}
