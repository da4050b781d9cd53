//! Validates `d` of events for Discord sessions.

use serde_json::value::RawValue;

use crate::fields::check_readable;

/// Why a value cannot be `d` of an event.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// It is a string, a number or a boolean, which `d` of a Discord event never is.
    #[error("`d` must be an object, an array or null")]
    Shape,
    /// Some clients could not parse it: it has an unpaired surrogate, a number out of range, or more than 127 levels of
    /// nesting.
    #[error("`d` cannot be read by every client: {0}")]
    Unreadable(#[from] serde_json::Error),
}

/// Checks that a value can be `d` of an event, in every encoding.
///
/// # Errors
/// If `d` is neither an object nor an array nor `null`, or if some clients could not parse it.
pub fn check_data(d: &RawValue) -> Result<(), DataError> {
    if !d.get().starts_with(['{', '[', 'n']) {
        return Err(DataError::Shape);
    }
    Ok(check_readable(d)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<(), String> {
        let d: &RawValue = serde_json::from_str(text).unwrap();
        check_data(d).map_err(|error| error.to_string())
    }

    #[test]
    fn objects_arrays_and_null_are_valid_data() {
        for text in [
            "{}",
            "[]",
            "null",
            " [ {\"a\": 1e300} ] ",
            "{\"a\":123456789012345678901234567890}",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn scalars_and_unreadable_values_are_refused() {
        for text in ["1", "\"a\"", "true", "false"] {
            assert_eq!(
                check(text),
                Err("`d` must be an object, an array or null".to_owned()),
                "{text}"
            );
        }
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        for text in ["[\"\\ud800\"]", "[1e400]", &deep] {
            let error = check(text).unwrap_err();
            assert!(error.starts_with("`d` cannot be read by every client: "), "{error}");
        }
    }
}
