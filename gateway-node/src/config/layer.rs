//! One layer of the configuration (the file, the environment or the flags), each value with its origin.

use std::{collections::BTreeMap, path::Path};

use ::config::{Map, Source, Value, ValueKind};

use super::{
    check::refuse_unknown,
    error::{ConfigError, boundary, shown},
    findings::Findings,
    setting::{SettingDoc, SettingKind},
};

/// The prefix of environment variables that set something.
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
    /// Reads a TOML file. If that fails, records the problem and returns an empty layer.
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

    /// Reads the variables in `environment` that start with `UTILBOT__`. Each must name a setting in `docs`.
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

    /// Adds the value of a flag.
    pub(super) fn flag(&mut self, key: &str, flag: &str, text: &str) {
        self.set(key, Value::new(Some(&format!("flag {flag}")), text));
    }

    /// Sets a setting that is a list from the values of a flag.
    pub(super) fn flags(&mut self, key: &str, flag: &str, texts: &[String]) {
        let origin = format!("flag {flag}");
        let values = texts.iter().map(|text| Value::new(Some(&origin), text.as_str()));
        self.set(key, Value::new(Some(&origin), ValueKind::Array(values.collect())));
    }

    /// Inserts a value at a dotted path.
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
            // No key of the reference is also a section, so this is always a table.
            let ValueKind::Table(inner) = &mut table.kind else {
                return;
            };
            tables = inner;
        }
    }
}

/// Parses an environment variable into a value. Text that does not parse as the setting's kind stays a string; the
/// check of all values then reports what was expected.
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

/// Turns comma-separated ids into the list of tables that a file would contain.
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

/// Returns the line, the column and the message of each syntax error in `text`. Returns only the first error of each
/// line, since the others mostly follow from it. `first` is the error at which the strict parser stopped, used if the
/// recovering parser finds none.
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

/// Returns the line and the column of a byte of `text`, both counted from 1, columns in characters.
pub(super) fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = &text[..boundary(text, byte)];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}
