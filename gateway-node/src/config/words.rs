//! What texts in the configuration must look like.

/// Whether `text` is 1 to 64 of `A-Z a-z 0-9 . _ -`; none given is fine too.
pub(super) fn is_name<T: MaybeText + ?Sized>(text: &T) -> bool {
    text.all(|text| {
        (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    })
}

/// Whether `text` is 1 to 64 of `a-z 0-9 _ -`, as an application's id.
pub(crate) fn is_application_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

/// Whether `text` can be the name of a user: 1 to 64 characters that show; none given is fine too.
pub(super) fn is_username<T: MaybeText + ?Sized>(text: &T) -> bool {
    text.all(|text| (1..=64).contains(&text.chars().count()) && !text.contains(char::is_control))
}

/// Whether `text` is four digits, or the `0` of a user that needs none.
pub(super) fn is_discriminator(text: &str) -> bool {
    text == "0" || text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether `text` is the hash of an image; none given is fine too.
///
/// Libraries keep one as 16 bytes, so that any other text would break them.
pub(super) fn is_image_hash<T: MaybeText + ?Sized>(text: &T) -> bool {
    text.all(|text| {
        let digits = text.strip_prefix("a_").unwrap_or(text);
        digits.len() == 32 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// Whether `text` is a WebSocket URL with a host; none given is fine too.
pub(super) fn is_websocket_url<T: MaybeText + ?Sized>(text: &T) -> bool {
    text.all(|text| {
        let rest = text.strip_prefix("ws://").or_else(|| text.strip_prefix("wss://"));
        rest.is_some_and(|rest| {
            !rest.starts_with('/') && !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic())
        })
    })
}

/// Whether `filter` is a filter of `env_logger` that says what it logs: each part is a level or `module=level`.
///
/// `env_logger` reads a lone word that is no level as a module, so a mistyped level would silence everything else.
pub(super) fn is_log_filter(filter: &str) -> bool {
    let is_level = |level: &str| level.trim().parse::<log::LevelFilter>().is_ok();
    let (directives, _) = filter.split_once('/').unwrap_or((filter, ""));
    directives.split(',').all(|part| match part.split_once('=') {
        Some((module, level)) => !module.trim().is_empty() && is_level(level),
        None => is_level(part),
    })
}

/// A text, or one that may be missing.
pub(super) trait MaybeText {
    /// Whether `test` holds for the text, if there is one.
    fn all(&self, test: impl FnOnce(&str) -> bool) -> bool;
}

impl MaybeText for str {
    fn all(&self, test: impl FnOnce(&str) -> bool) -> bool {
        test(self)
    }
}

impl MaybeText for String {
    fn all(&self, test: impl FnOnce(&str) -> bool) -> bool {
        test(self)
    }
}

impl MaybeText for Option<String> {
    fn all(&self, test: impl FnOnce(&str) -> bool) -> bool {
        self.as_deref().is_none_or(test)
    }
}
