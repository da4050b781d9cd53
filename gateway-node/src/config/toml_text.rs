//! TOML as values with their origins, and its syntax errors.

use ::config::{Value, ValueKind};

use super::error::boundary;

/// Converts a TOML value, with this origin for it and every value in it.
pub(super) fn from_toml(value: toml::Value, origin: &String) -> Value {
    let kind = match value {
        toml::Value::String(text) => ValueKind::String(text),
        toml::Value::Integer(number) => ValueKind::I64(number),
        toml::Value::Float(number) => ValueKind::Float(number),
        toml::Value::Boolean(switch) => ValueKind::Boolean(switch),
        toml::Value::Datetime(time) => ValueKind::String(time.to_string()),
        toml::Value::Array(values) => {
            ValueKind::Array(values.into_iter().map(|value| from_toml(value, origin)).collect())
        }
        toml::Value::Table(table) => ValueKind::Table(
            table
                .into_iter()
                .map(|(key, value)| (key, from_toml(value, origin)))
                .collect(),
        ),
    };
    Value::new(Some(origin), kind)
}

/// Returns the line, the column and the message of each syntax error in `text`. Returns only the first error of each
/// line, since the others mostly follow from it. `first` is the error at which the strict parser stopped, used if the
/// recovering parser finds none.
pub(super) fn syntax_errors(text: &str, first: &toml::de::Error) -> Vec<(usize, usize, String)> {
    let (_, all) = toml::de::DeTable::parse_recoverable(text);
    let place = |error: &toml::de::Error| {
        let (line, column) = position(text, error.span().map_or(0, |span| span.start));
        (line, column, error.message().to_owned())
    };
    let mut places: Vec<_> = all.iter().map(place).collect();
    places.sort_by_key(|(line, ..)| *line);
    places.dedup_by_key(|(line, ..)| *line);
    if places.is_empty() { vec![place(first)] } else { places }
}

/// Returns the line and the column of a byte of `text`, both counted from 1, columns in characters.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = &text[..boundary(text, byte)];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}
