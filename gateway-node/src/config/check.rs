//! Checks every value of the merged layers against the reference: unknown keys, missing keys and invalid values.

use std::{collections::BTreeMap, path::Path};

use ::config::{Value, ValueKind};
use serde_json::{Map, json};

use super::{
    error::{ConfigError, shown},
    findings::Findings,
    likeness::nearest,
    setting::SettingDoc,
    variable::{ENVIRONMENT, FROM_FILE},
};

/// The origin of a value that no source set.
const DEFAULTS: &str = "the defaults";

/// The origin of every value that a source set, by its full key.
#[derive(Debug, Clone, Default)]
pub(super) struct Origins(BTreeMap<String, String>);

impl Origins {
    /// Returns the origin of `key`.
    pub(super) fn of(&self, key: &str) -> &str {
        self.0.get(key).map_or(DEFAULTS, String::as_str)
    }

    /// Returns the folder that a relative path in `key` is relative to. `folder` is that of the configuration file.
    pub(super) fn folder<'a>(&self, key: &str, folder: &'a Path) -> &'a Path {
        // Paths from the environment are relative to the node's working directory.
        if self.of(key).starts_with(ENVIRONMENT) {
            Path::new("")
        } else {
            folder
        }
    }

    /// Returns the settings and lists that were read from files which environment variables name, with their origins.
    pub(super) fn read_from_files(&self) -> Vec<(&str, &str)> {
        let is_from_file = |origin: &str| origin.starts_with(ENVIRONMENT) && origin.contains(FROM_FILE);
        let mut found: Vec<_> = self
            .0
            .iter()
            .filter(|(_, origin)| is_from_file(origin))
            .map(|(key, origin)| (key.split('[').next().unwrap_or_default(), origin.as_str()))
            .collect();
        found.dedup();
        found
    }

    /// Returns whether a source set `key`.
    pub(super) fn is_set(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }
}

/// Checks the merged values. Returns them as plain data, and the origin of each. Problems are recorded in `findings`,
/// and the values they concern are left out.
pub(super) fn check(root: &Value, docs: &[SettingDoc], findings: &mut Findings) -> (serde_json::Value, Origins) {
    let mut origins = Origins::default();
    let mut walk = Walk {
        docs,
        origins: &mut origins,
        findings,
    };
    let values = walk.table("", "", root).unwrap_or_default();
    (serde_json::Value::Object(values), origins)
}

/// Records a key that is not in the reference. The error does not show its value, which may be a secret under a
/// mistyped name.
pub(super) fn refuse_unknown(key: &str, origin: &str, docs: &[SettingDoc], findings: &mut Findings) {
    let meant = meant(key, docs);
    let asked = meant
        .as_ref()
        .map_or(String::new(), |meant| format!("; did you mean {meant}?"));
    let expected = format!("{}{asked}", known(key, docs));
    findings.push(ConfigError::new(key, None, origin, expected));
    // The key that was meant must not be reported as missing too.
    if let Some(meant) = meant {
        findings.distrust(meant);
    }
}

/// Describes the keys that would have been valid instead of `key`.
fn known(key: &str, docs: &[SettingDoc]) -> String {
    let below = children(&normal(key), docs);
    if !below.is_empty() {
        return format!("a section with the keys {}", below.join(", "));
    }
    let mut parent = key;
    while let Some((above, _)) = parent.rsplit_once('.') {
        let known = children(&normal(above), docs);
        if !known.is_empty() {
            return format!("one of the keys {}", known.join(", "));
        }
        parent = above;
    }
    format!("one of the sections {}", children("", docs).join(", "))
}

/// Guesses which key `key` was meant to be: a similar one of the same section, or the only one of another section with
/// the same name.
fn meant(key: &str, docs: &[SettingDoc]) -> Option<String> {
    if !children(&normal(key), docs).is_empty() {
        return None;
    }
    let (above, name) = key.rsplit_once('.').unwrap_or(("", key));
    let siblings = children(&normal(above), docs);
    if let Some(sibling) = nearest(name, siblings.iter().map(String::as_str)) {
        return Some(join(above, sibling));
    }
    // A field of a list entry is never meant for another section.
    if key.contains('[') {
        return None;
    }
    let mut elsewhere = docs
        .iter()
        .map(|doc| doc.key.as_str())
        .filter(|known| !known.contains('[') && known.rsplit('.').next() == Some(name));
    match (elsewhere.next(), elsewhere.next()) {
        (Some(only), None) => Some(only.to_owned()),
        _ => None,
    }
}

/// Guesses which of a setting's few possible words `value` was meant to be.
fn meant_value(value: &serde_json::Value, doc: &SettingDoc) -> Option<String> {
    let accepts = |word: &str| (doc.accepts)(&json!(word)) || (doc.accepts)(&json!([word]));
    // A setting that accepts any word has no list of words to choose from.
    if doc.secret || accepts("any_word") {
        return None;
    }
    let words = doc
        .expected
        .split(|char: char| !char.is_ascii_lowercase() && char != '_');
    let words: Vec<_> = words.filter(|word| !word.is_empty() && accepts(word)).collect();
    let texts = match value {
        serde_json::Value::Array(values) => values.iter().collect(),
        value => vec![value],
    };
    let wrong = texts.into_iter().filter_map(serde_json::Value::as_str);
    let mut meant = wrong
        .filter(|text| !accepts(text))
        .map(|text| nearest(&text.to_lowercase(), words.iter().copied()));
    meant.next().flatten().map(str::to_owned)
}

struct Walk<'a> {
    docs: &'a [SettingDoc],
    origins: &'a mut Origins,
    findings: &'a mut Findings,
}

impl Walk<'_> {
    /// Checks the value of `key` and returns it if it is valid. `pattern` is the key as the reference writes it.
    fn value(&mut self, key: &str, pattern: &str, value: &Value) -> Option<serde_json::Value> {
        if let Some(doc) = self.docs.iter().find(|doc| doc.key == pattern) {
            let plain = to_json(value);
            if !(doc.accepts)(&plain) {
                let asked = meant_value(&plain, doc).map_or(String::new(), |meant| format!("; did you mean {meant}?"));
                self.wrong(key, pattern, value, format!("{}{asked}", doc.expected));
                return None;
            }
            if let Some(origin) = value.origin() {
                self.origins.0.insert(key.to_owned(), origin.to_owned());
            }
            return Some(plain);
        }
        let entries = format!("{pattern}[]");
        if children(&entries, self.docs).is_empty() {
            return self.table(key, pattern, value).map(serde_json::Value::Object);
        }
        let ValueKind::Array(values) = &value.kind else {
            self.wrong(key, pattern, value, format!("a list of tables [[{key}]]"));
            return None;
        };
        // An invalid entry keeps its index, so that errors about the others use the operator's numbering.
        let entry = |(index, value)| {
            self.table(&format!("{key}[{index}]"), &entries, value)
                .unwrap_or_default()
        };
        Some(
            values
                .iter()
                .enumerate()
                .map(entry)
                .map(serde_json::Value::Object)
                .collect(),
        )
    }

    /// Checks a section or a list entry and returns the valid part of it.
    fn table(&mut self, key: &str, pattern: &str, value: &Value) -> Option<Map<String, serde_json::Value>> {
        let ValueKind::Table(table) = &value.kind else {
            self.wrong(key, pattern, value, format!("a section [{key}]"));
            return None;
        };
        let known = children(pattern, self.docs);
        let mut strangers: Vec<_> = table.keys().filter(|name| !known.contains(name)).collect();
        strangers.sort();
        for stranger in strangers {
            let origin = origin(&table[stranger]);
            refuse_unknown(&join(key, stranger), origin, self.docs, self.findings);
        }
        let mut right = Map::new();
        for name in known {
            let (key, pattern) = (join(key, &name), join(pattern, &name));
            if let Some(value) = table.get(&name) {
                right.extend(self.value(&key, &pattern, value).map(|value| (name, value)));
            } else if let Some(doc) = self.docs.iter().find(|doc| doc.required && doc.key == pattern)
                && self.findings.trusts(&key)
            {
                let expected = format!("{}, but it is missing", doc.expected);
                self.findings
                    .push(ConfigError::new(&key, None, origin(value), expected));
            }
        }
        Some(right)
    }

    fn wrong(&mut self, key: &str, pattern: &str, value: &Value, expected: String) {
        let shown = shown(pattern, &to_json(value), self.docs);
        self.findings
            .push(ConfigError::new(key, Some(shown), origin(value), expected));
    }
}

/// Returns the names directly below `pattern`, in the order of the reference.
fn children(pattern: &str, docs: &[SettingDoc]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for doc in docs {
        let below = if pattern.is_empty() {
            Some(doc.key.as_str())
        } else {
            doc.key.strip_prefix(pattern).and_then(|rest| rest.strip_prefix('.'))
        };
        let name = below.and_then(|below| below.split(['.', '[']).next());
        if let Some(name) = name.filter(|name| !names.iter().any(|known| known == name)) {
            names.push(name.to_owned());
        }
    }
    names
}

/// Returns `key` as the reference writes it: without the indexes of list entries.
pub(super) fn normal(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    let mut inside = false;
    for char in key.chars() {
        inside = match char {
            '[' => true,
            ']' => false,
            _ => inside,
        };
        if !inside || char == '[' {
            out.push(char);
        }
    }
    out
}

fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() {
        name.to_owned()
    } else {
        format!("{parent}.{name}")
    }
}

/// Returns the origin of a value. A table merged from several sources has the origin of its first value by name.
fn origin(value: &Value) -> &str {
    value.origin().unwrap_or_else(|| match &value.kind {
        ValueKind::Table(table) => table
            .iter()
            .min_by_key(|(name, _)| *name)
            .map_or(DEFAULTS, |(_, value)| origin(value)),
        _ => DEFAULTS,
    })
}

fn to_json(value: &Value) -> serde_json::Value {
    match &value.kind {
        ValueKind::Nil => json!(null),
        ValueKind::Boolean(switch) => json!(switch),
        ValueKind::I64(number) => json!(number),
        ValueKind::I128(number) => json!(number.to_string()),
        ValueKind::U64(number) => json!(number),
        ValueKind::U128(number) => json!(number.to_string()),
        // JSON has neither infinity nor NaN. No setting accepts a table with this key, so the value is refused.
        ValueKind::Float(number) if !number.is_finite() => json!({ "float": number.to_string() }),
        ValueKind::Float(number) => json!(number),
        ValueKind::String(text) => json!(text),
        ValueKind::Table(table) => table.iter().map(|(key, value)| (key.clone(), to_json(value))).collect(),
        ValueKind::Array(values) => values.iter().map(to_json).collect(),
    }
}
