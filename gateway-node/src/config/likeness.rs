//! Suggestions for mistyped words.

/// Returns the candidate most similar to `word`, if one is similar enough: at most a third of its letters are missing,
/// superfluous, different or swapped, or it is the only candidate that starts with `word`.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let candidates: Vec<_> = candidates.into_iter().collect();
    let most = (word.chars().count() / 3).max(1);
    let distances = candidates
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), *candidate));
    let near = distances.filter(|(distance, _)| *distance <= most).min();
    near.map(|(_, candidate)| candidate).or_else(|| {
        let mut longer = candidates.iter().filter(|candidate| candidate.starts_with(word));
        match (longer.next(), longer.next()) {
            (Some(only), None) if word.len() > 2 => Some(*only),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typos_get_a_suggestion_and_unrelated_words_do_not() {
        let words = ["message_bytes", "outbox_bytes", "certificate", "url", "ca"];
        for (word, expected) in [
            ("mesage_bytes", Some("message_bytes")),
            ("messageBytes", Some("message_bytes")),
            ("uri", Some("url")),
            ("ulr", Some("url")),
            ("cert", Some("certificate")),
            ("password", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(nearest(word, words), expected, "{word}");
        }
        assert_eq!(
            nearest("heartbeat", ["heartbeat_interval_ms", "heartbeat_tolerance_ms"]),
            None
        );
    }
}
