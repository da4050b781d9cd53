//! One layer of the configuration, each value with its origin: the file, the environment or the flags.

use std::{collections::BTreeMap, path::Path};

use ::config::{Map, Source, Value, ValueKind};

use super::{
    check::refuse_unknown,
    draft::Findings,
    error::{ConfigError, boundary, shown},
    setting::{SettingDoc, SettingKind},
};

/// What every environment variable that sets something starts with.
const PREFIX: &str = "UTILBOT__";

/// The values of one source.
#[derive(Debug, Clone, Default)]
pub(super) struct Layer(Map<String, Value>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ::config::ConfigError> {
        Ok(self.0.clone())
    }
}

impl Layer {
    /// Reads a TOML file. One that cannot be read is recorded, and gives nothing.
    pub(super) fn file(path: &Path, findings: &mut Findings) -> Self {
        let origin = path.display().to_string();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                let value = shown("", &origin.as_str().into(), &[]);
                let expected = format!("a readable TOML file ({error})");
                findings.push_blind(ConfigError::new("file", Some(value), "flag --config", expected));
                return Self::default();
            }
        };
        match text.parse::<toml::Table>() {
            Ok(table) => Self(
                table
                    .into_iter()
                    .map(|(key, value)| (key, from_toml(value, &origin)))
                    .collect(),
            ),
            Err(error) => {
                for (line, column, message) in syntax_errors(&text, &error) {
                    let key = format!("line {line}, column {column}");
                    let expected = format!("TOML, but found an error: {message}");
                    findings.push_blind(ConfigError::new(&key, None, &origin, expected));
                }
                Self::default()
            }
        }
    }

    /// Takes what starts with `UTILBOT__` from `environment`; each variable names a setting of `docs`.
    pub(super) fn environment(
        environment: &BTreeMap<String, String>,
        docs: &[SettingDoc],
        findings: &mut Findings,
    ) -> Self {
        let mut layer = Self::default();
        for (name, text) in environment {
            let Some(path) = name.strip_prefix(PREFIX) else {
                continue;
            };
            let key = path.to_lowercase().replace("__", ".");
            let origin = format!("environment {name}");
            let value = if key == "applications" {
                applications(text, &origin)
            } else if let Some(doc) = docs.iter().find(|doc| doc.key == key) {
                from_text(text, doc, &origin)
            } else if ["keys", "events"].contains(&key.split('.').next().unwrap_or_default()) {
                let expected = "keys and events to be listed in the configuration file";
                findings.push(ConfigError::new(&key, None, &origin, expected));
                continue;
            } else {
                refuse_unknown(&key, &origin, docs, findings);
                continue;
            };
            layer.set(&key, value);
        }
        layer
    }

    /// Adds a text that a flag gave.
    pub(super) fn flag(&mut self, key: &str, flag: &str, text: &str) {
        self.set(key, Value::new(Some(&format!("flag {flag}")), text));
    }

    /// Puts a value at a dotted path.
    fn set(&mut self, key: &str, value: Value) {
        let mut tables = &mut self.0;
        let mut parts = key.split('.').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                tables.insert(part.to_owned(), value);
                return;
            }
            let table = tables
                .entry(part.to_owned())
                .or_insert_with(|| Value::new(None, Map::<String, Value>::new()));
            // A key of the reference is never a section too, so what is here is a table.
            let ValueKind::Table(inner) = &mut table.kind else {
                return;
            };
            tables = inner;
        }
    }
}

/// The text of an environment variable as a value. What cannot be read as the setting's kind stays a text, and the
/// check of all values then says what was expected.
fn from_text(text: &str, doc: &SettingDoc, origin: &String) -> Value {
    let value: ValueKind = match doc.kind {
        _ if doc.optional && text.is_empty() => ValueKind::Nil,
        SettingKind::Number => text.parse::<i64>().map_or_else(|_| text.into(), ValueKind::I64),
        SettingKind::Switch => text.parse::<bool>().map_or_else(|_| text.into(), ValueKind::Boolean),
        SettingKind::Text => text.into(),
        SettingKind::List => ValueKind::Array(parts(text).map(|part| Value::new(Some(origin), part)).collect()),
    };
    Value::new(Some(origin), value)
}

/// Ids between commas as the list of tables that the file would have.
fn applications(text: &str, origin: &String) -> Value {
    let entry = |id: &str| {
        let table = Map::from_iter([("id".to_owned(), Value::new(Some(origin), id))]);
        Value::new(Some(origin), table)
    };
    Value::new(Some(origin), ValueKind::Array(parts(text).map(entry).collect()))
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

fn from_toml(value: toml::Value, origin: &String) -> Value {
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

/// Returns the line, the column and the message of each syntax error in a TOML text; `first` is the one that its parser
/// stopped at. Of several on one line it returns the first, since the others mostly follow from it.
fn syntax_errors(text: &str, first: &toml::de::Error) -> Vec<(usize, usize, String)> {
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

/// The line and the column, both from 1 and in characters, of a byte of `text`.
pub(super) fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = &text[..boundary(text, byte)];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}
