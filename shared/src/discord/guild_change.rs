//! Events that change the state of a guild.

/// How an event changes the state of a guild.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuildChange {
    /// The guild becomes available, with the state in the event.
    Create,
    /// Some fields of the guild change.
    Update,
    /// The guild is deleted or becomes unavailable.
    Delete,
    /// Members are added to the state of the guild. Operators publish this to complete the state; sessions do not
    /// receive it.
    MembersPut,
    /// A member joins.
    MemberAdd,
    /// Some fields of a member change.
    MemberUpdate,
    /// A member leaves.
    MemberRemove,
    /// A channel is created or replaced by the one in the event.
    ChannelPut,
    /// A channel is deleted.
    ChannelDelete,
    /// Some fields of a channel change.
    ChannelUpdate,
    /// A thread is created or replaced by the one in the event.
    ThreadPut,
    /// A thread is deleted.
    ThreadDelete,
    /// A role is created or replaced by the one in the event.
    RolePut,
    /// A role is deleted.
    RoleDelete,
    /// The guild's emojis, stickers or soundboard sounds are replaced. Contains the name of the field.
    Replace(&'static str),
    /// The presence of a member changes.
    Presence,
    /// A member joins, changes or leaves a voice channel.
    VoiceState,
}

impl GuildChange {
    /// The name of the event for [`MembersPut`](Self::MembersPut).
    pub const MEMBERS_PUT: &str = "GUILD_MEMBERS_PUT";

    /// Returns the change that an event of this name makes, if it makes one.
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "GUILD_CREATE" => Self::Create,
            "GUILD_UPDATE" => Self::Update,
            "GUILD_DELETE" => Self::Delete,
            Self::MEMBERS_PUT => Self::MembersPut,
            "GUILD_MEMBER_ADD" => Self::MemberAdd,
            "GUILD_MEMBER_UPDATE" => Self::MemberUpdate,
            "GUILD_MEMBER_REMOVE" => Self::MemberRemove,
            "CHANNEL_CREATE" | "CHANNEL_UPDATE" => Self::ChannelPut,
            "CHANNEL_DELETE" => Self::ChannelDelete,
            "VOICE_CHANNEL_STATUS_UPDATE" | "VOICE_CHANNEL_START_TIME_UPDATE" => Self::ChannelUpdate,
            "THREAD_CREATE" | "THREAD_UPDATE" => Self::ThreadPut,
            "THREAD_DELETE" => Self::ThreadDelete,
            "GUILD_ROLE_CREATE" | "GUILD_ROLE_UPDATE" => Self::RolePut,
            "GUILD_ROLE_DELETE" => Self::RoleDelete,
            "GUILD_EMOJIS_UPDATE" => Self::Replace("emojis"),
            "GUILD_STICKERS_UPDATE" => Self::Replace("stickers"),
            "GUILD_SOUNDBOARD_SOUNDS_UPDATE" => Self::Replace("soundboard_sounds"),
            "PRESENCE_UPDATE" => Self::Presence,
            "VOICE_STATE_UPDATE" => Self::VoiceState,
            _ => return None,
        })
    }
}
