//! Lists of tables as text: what `UTILBOT__KEYS` and the like contain.

use ::config::{Value, ValueKind};

use super::toml_text::{from_toml, syntax_errors};

/// Parses the entries of `list`: a JSON array of objects, or TOML that consists of `[[list]]` tables. No entries if the
/// text is blank.
///
/// # Errors
/// What was expected instead. The error quotes no part of the text, which may contain secrets.
pub(super) fn parse(list: &str, text: &str, origin: &String) -> Result<Value, String> {
    let begin = text.trim_start();
    let is_json = begin.starts_with('[') && !begin[1..].starts_with('[');
    if is_json {
        let entries = serde_json::from_str::<Vec<serde_json::Value>>(text)
            .map_err(|error| format!("a JSON array or tables [[{list}]] in TOML, but found an error: {error}"))?;
        let values = entries.into_iter().map(|entry| from_json(entry, origin)).collect();
        return Ok(Value::new(Some(origin), ValueKind::Array(values)));
    }
    let table = text.parse::<toml::Table>().map_err(|error| {
        let (line, column, message) = syntax_errors(text, &error).swap_remove(0);
        format!(
            "tables [[{list}]] in TOML or a JSON array, but found an error at line {line}, column {column}: {message}"
        )
    })?;
    let mut entries = toml::Value::Array(Vec::new());
    for (name, value) in table {
        if name != list {
            return Err(format!("nothing but tables [[{list}]]"));
        }
        entries = value;
    }
    Ok(from_toml(entries, origin))
}

fn from_json(value: serde_json::Value, origin: &String) -> Value {
    let kind = match value {
        serde_json::Value::Null => ValueKind::Nil,
        serde_json::Value::Bool(switch) => ValueKind::Boolean(switch),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => ValueKind::I64(number),
            (None, Some(number)) => ValueKind::U64(number),
            (None, None) => ValueKind::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => ValueKind::String(text),
        serde_json::Value::Array(values) => {
            ValueKind::Array(values.into_iter().map(|value| from_json(value, origin)).collect())
        }
        serde_json::Value::Object(fields) => ValueKind::Table(
            fields
                .into_iter()
                .map(|(name, value)| (name, from_json(value, origin)))
                .collect(),
        ),
    };
    Value::new(Some(origin), kind)
}
