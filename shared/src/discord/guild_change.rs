//! Events that change what a guild looks like.

/// How an event changes a guild.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuildChange {
    /// It is there from now on, and is what the event says.
    Create,
    /// Some of its fields are others.
    Update,
    /// It is not there any more, or not now.
    Delete,
    /// There are these members besides: what an operator tells of a guild without telling its sessions.
    MembersPut,
    /// One member more.
    MemberAdd,
    /// Some fields of a member are others.
    MemberUpdate,
    /// One member less.
    MemberRemove,
    /// A channel is there, and is what the event says.
    ChannelPut,
    /// A channel less.
    ChannelDelete,
    /// Some fields of a channel are others.
    ChannelUpdate,
    /// A thread is there, and is what the event says.
    ThreadPut,
    /// A thread less.
    ThreadDelete,
    /// A role is there, and is what the event says.
    RolePut,
    /// A role less.
    RoleDelete,
    /// It has these emojis, stickers or soundboard sounds: the name of the field.
    Replace(&'static str),
    /// A member is online, or is not.
    Presence,
    /// A member speaks in a channel, or leaves it.
    VoiceState,
}

impl GuildChange {
    /// The name of the event for [`MembersPut`](Self::MembersPut).
    pub const MEMBERS_PUT: &str = "GUILD_MEMBERS_PUT";

    /// What an event of this name changes.
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
