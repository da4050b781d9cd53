//! The trace that a publication belongs to.

use std::{fmt, str::FromStr};

/// A span of a distributed trace, as in the `traceparent` header of the
/// [Trace Context recommendation](https://www.w3.org/TR/trace-context/#traceparent-header).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace; never 0.
    trace: u128,
    /// The span that published the event; never 0.
    parent: u64,
    flags: u8,
}

/// The error for a text that is not a valid `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid traceparent")]
pub struct InvalidTraceParent;

/// The length of a `traceparent` of version 00, in bytes.
const LENGTH: usize = 55;

impl FromStr for TraceParent {
    type Err = InvalidTraceParent;

    /// Parses a header of version 00, or the part of a later version that has the same meaning.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (known, rest) = text.split_at_checked(LENGTH).ok_or(InvalidTraceParent)?;
        let mut fields = known.split('-');
        let mut field = |digits: usize| {
            let field = fields.next().filter(|field| field.len() == digits)?;
            let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            field
                .bytes()
                .all(is_hex)
                .then(|| u128::from_str_radix(field, 16).ok())?
        };
        let (Some(version), Some(trace), Some(parent), Some(flags)) = (field(2), field(32), field(16), field(2)) else {
            return Err(InvalidTraceParent);
        };
        // Only a later version may have more, after a hyphen.
        let is_rest_valid = rest.is_empty() || (version != 0 && rest.starts_with('-'));
        if !is_rest_valid || version == 0xff {
            return Err(InvalidTraceParent);
        }
        let parent = u64::try_from(parent).map_err(|_| InvalidTraceParent)?;
        let flags = u8::try_from(flags).map_err(|_| InvalidTraceParent)?;
        if trace == 0 || parent == 0 {
            return Err(InvalidTraceParent);
        }
        Ok(Self { trace, parent, flags })
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.parent, self.flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_header_is_written_as_it_was_read() {
        let parsed: TraceParent = HEADER.parse().unwrap();
        assert_eq!(parsed.to_string(), HEADER);
    }

    #[test]
    fn later_versions_are_read_as_far_as_they_are_known() {
        let later = format!("cc{}-what-comes-later", &HEADER[2..]);
        assert_eq!(later.parse::<TraceParent>().unwrap().to_string(), HEADER);
    }

    #[test]
    fn invalid_headers_are_refused() {
        let zero_trace = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        let zero_parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01";
        let wrong = [
            "",
            "00-1-2-01",
            zero_trace,
            zero_parent,
            &HEADER[..54],
            &format!("{HEADER}-more"),
            &format!("cc{}more", &HEADER[2..]),
            &format!("ff{}", &HEADER[2..]),
            &HEADER.to_uppercase(),
            &HEADER.replace("00-4", "00-+"),
            &HEADER.replace('-', "_"),
            &format!("{}é", &HEADER[..54]),
        ];
        for text in wrong {
            assert_eq!(text.parse::<TraceParent>(), Err(InvalidTraceParent), "{text}");
        }
    }
}
