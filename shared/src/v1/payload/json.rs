//! The parts of JSON that several payloads have.

use crate::problem::Problem;

/// Writes the members `errors` and `data` of an object.
pub(super) fn push_problems(json: &mut String, problems: &[Problem]) {
    json.push_str(r#""errors":["#);
    join(json, problems, |problem, json| {
        json.push_str(&quoted(&problem.error));
    });
    json.push_str(r#"],"data":["#);
    join(json, problems, |problem, json| {
        json.push_str(problem.data.as_ref().map_or("null", |data| data.get()));
    });
    json.push(']');
}

/// Returns `text` as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    // The fast path: most texts are names of nodes and events, which need no escapes.
    let is_plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    if text.bytes().all(is_plain) {
        return ["\"", text, "\""].concat();
    }
    serde_json::Value::from(text).to_string()
}

/// Writes all items, separated by commas.
fn join<T>(json: &mut String, items: &[T], mut write: impl FnMut(&T, &mut String)) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        write(item, json);
    }
}
