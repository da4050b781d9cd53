//! Predicates for strings in the configuration.

/// Returns whether `text` is 1 to 64 of `A-Z a-z 0-9 . _ -`, or absent.
pub(super) fn is_name<T: MaybeText + ?Sized>(text: &T) -> bool {
    text.all(|text| {
        (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    })
}

/// Returns whether `text` is a valid application id: 1 to 64 of `a-z 0-9 _ -`.
pub(crate) fn is_application_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

/// Returns whether `text` is a valid username, 1 to 64 characters without control characters, or absent.
pub(super) fn is_username<T: MaybeText + ?Sized>(text: &T) -> bool {
    text.all(|text| (1..=64).contains(&text.chars().count()) && !text.contains(char::is_control))
}

/// Returns whether `text` is four digits, or the `0` of a user without a discriminator.
pub(super) fn is_discriminator(text: &str) -> bool {
    text == "0" || text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns whether `text` is the hash of an image, or absent.
///
/// Libraries parse an image hash into 16 bytes, so any other text would break them.
pub(super) fn is_image_hash<T: MaybeText + ?Sized>(text: &T) -> bool {
    text.all(|text| {
        let digits = text.strip_prefix("a_").unwrap_or(text);
        digits.len() == 32 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// Returns whether `text` is a WebSocket URL with a host, or absent.
pub(super) fn is_websocket_url<T: MaybeText + ?Sized>(text: &T) -> bool {
    text.all(|text| {
        let rest = text.strip_prefix("ws://").or_else(|| text.strip_prefix("wss://"));
        rest.is_some_and(|rest| {
            !rest.starts_with('/') && !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic())
        })
    })
}

/// Returns whether `filter` is an `env_logger` filter in which every part is a level or `module=level`.
///
/// `env_logger` takes a lone word that is not a level for a module, so a mistyped level would silence everything else.
pub(super) fn is_log_filter(filter: &str) -> bool {
    let is_level = |level: &str| level.trim().parse::<log::LevelFilter>().is_ok();
    let (directives, _) = filter.split_once('/').unwrap_or((filter, ""));
    directives.split(',').all(|part| match part.split_once('=') {
        Some((module, level)) => !module.trim().is_empty() && is_level(level),
        None => is_level(part),
    })
}

/// A string, or an optional one.
pub(super) trait MaybeText {
    /// Returns whether `test` holds for the string, or `true` if there is none.
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
