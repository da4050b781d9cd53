//! One layer of the configuration (the file, the environment or the flags), each value with its origin.

use std::{collections::BTreeMap, path::Path};

use ::config::{Map, Source, Value, ValueKind};

use super::{
    check::refuse_unknown,
    error::{ConfigError, shown},
    findings::Findings,
    list_text,
    setting::{SettingDoc, SettingKind},
    toml_text::{from_toml, syntax_errors},
    variable::Variable,
};

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

    /// Reads the variables in `environment` that start with `UTILBOT__`, and the files that some of them name. Each must
    /// name a setting in `docs` or a list of tables, and no two the same one.
    pub(super) fn environment(
        environment: &BTreeMap<String, String>,
        docs: &[SettingDoc],
        findings: &mut Findings,
    ) -> Self {
        let mut layer = Self::default();
        let mut names: BTreeMap<String, &str> = BTreeMap::new();
        for variable in environment
            .iter()
            .filter_map(|(name, text)| Variable::of(name, text, docs))
        {
            if let Some(other) = names.insert(variable.key.clone(), variable.name) {
                let expected = format!("either {other} or {}, but not both", variable.name);
                findings.push(ConfigError::new(&variable.key, None, "the environment", expected));
            } else if let Some(value) = read(&variable, docs, findings) {
                layer.set(&variable.key, value);
            }
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

/// Reads the value of a variable. Records a problem and returns `None` if there is none.
fn read(variable: &Variable<'_>, docs: &[SettingDoc], findings: &mut Findings) -> Option<Value> {
    let Variable { key, origin, .. } = variable;
    let doc = docs.iter().find(|doc| doc.key == *key);
    let list = docs.iter().find_map(|doc| {
        doc.key
            .split_once("[].")
            .map(|(list, _)| list)
            .filter(|list| list == key)
    });
    if doc.is_none() && list.is_none() {
        match key.split('.').next() {
            Some(list @ ("keys" | "events")) => {
                let expected = format!(
                    "{list} to be listed in the configuration file, in UTILBOT__{name}, or in the file that \
                     UTILBOT__{name}__FILE names",
                    name = list.to_uppercase()
                );
                findings.push(ConfigError::new(key, None, origin, expected));
            }
            _ => refuse_unknown(key, origin, docs, findings),
        }
        return None;
    }
    let text = match variable.text() {
        Ok(text) => text,
        Err(error) => {
            findings.push(ConfigError::new(key, None, origin, error.to_string()));
            return None;
        }
    };
    match (doc, list) {
        (Some(doc), _) => Some(from_text(&text, doc, origin)),
        (None, Some("applications")) if !text.contains('[') => Some(applications(&text, origin)),
        (None, list) => match list_text::parse(list.unwrap_or_default(), &text, origin) {
            Ok(value) => Some(value),
            Err(expected) => {
                findings.push(ConfigError::new(key, None, origin, expected));
                None
            }
        },
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
