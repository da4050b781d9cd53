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
pub(super) fn is_application_id<T: MaybeText + ?Sized>(text: &T) -> bool {
    text.all(|text| {
        (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-'))
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

/// Whether `env_logger` understands `filter`.
pub(super) fn is_log_filter<T: MaybeText + ?Sized>(filter: &T) -> bool {
    filter.all(|filter| env_filter::Builder::new().try_parse(filter).is_ok())
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
