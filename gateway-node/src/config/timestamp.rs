//! Points in time in the configuration.

use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::setting::setting;

/// A point in time, written in RFC 3339, such as `2027-01-31T12:00:00Z` or `2027-01-31T14:00:00+02:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(SystemTime);

impl Timestamp {
    /// Returns the point in time on the system clock.
    pub const fn system_time(self) -> SystemTime {
        self.0
    }
}

/// The text is not a point in time in RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a time in RFC 3339")]
pub struct NotATimestamp;

impl FromStr for Timestamp {
    type Err = NotATimestamp;

    fn from_str(text: &str) -> Result<Self, NotATimestamp> {
        let parse = |text: &str| humantime::parse_rfc3339(text).map_err(|_| NotATimestamp);
        // humantime parses only UTC, so the offset after the seconds is split off and applied here.
        let Some((local, sign, offset)) = split_offset(text) else {
            return parse(text).map(Self);
        };
        let local = parse(&format!("{local}Z"))?;
        let shifted = if sign == '+' {
            local.checked_sub(offset)
        } else {
            local.checked_add(offset)
        };
        shifted.map(Self).ok_or(NotATimestamp)
    }
}

/// Splits `…+hh:mm` into the local time, the sign and the offset.
fn split_offset(text: &str) -> Option<(&str, char, Duration)> {
    let (local, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
    let sign = offset.chars().next().filter(|sign| matches!(sign, '+' | '-'))?;
    let (hours, minutes) = offset[1..].split_once(':')?;
    let number = |digits: &str, below: u64| -> Option<u64> {
        let plain = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|number| plain && *number < below)
    };
    let (hours, minutes) = (number(hours, 24)?, number(minutes, 60)?);
    Some((local, sign, Duration::from_secs(hours * 3600 + minutes * 60)))
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_seconds(self.0).fmt(f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

setting! { Timestamp: Text, "a time such as \"2027-01-31T12:00:00Z\""; }

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

    use super::*;

    #[test]
    fn offsets_are_converted_to_utc() {
        let utc: Timestamp = "2027-01-31T12:00:00Z".parse().unwrap();
        assert_eq!("2027-01-31T14:30:00+02:30".parse(), Ok(utc));
        assert_eq!("2027-01-31T11:00:00-01:00".parse(), Ok(utc));
        assert_eq!(utc.to_string(), "2027-01-31T12:00:00Z");
    }

    #[test]
    fn invalid_times_are_refused() {
        for text in [
            "",
            "soon",
            "2027-01-31",
            "2027-13-01T00:00:00Z",
            "2027-01-31T12:00:00+25:00",
            "2027-01-31T12:00:00é+1:00",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(NotATimestamp), "{text}");
        }
    }
}
