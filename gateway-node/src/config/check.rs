//! Every value of the merged layers against the reference: unknown keys, missing ones, and wrong values.

use std::collections::BTreeMap;

use ::config::{Value, ValueKind};
use serde_json::json;

use super::{
    error::{ConfigError, shown},
    setting::SettingDoc,
};

/// What the origin of a value is called that nobody set.
const DEFAULTS: &str = "the defaults";

/// Where every value that somebody set comes from, by its full key.
#[derive(Debug, Clone, Default)]
pub(super) struct Origins(BTreeMap<String, String>);

impl Origins {
    /// The origin of `key`.
    pub(super) fn of(&self, key: &str) -> &str {
        self.0.get(key).map_or(DEFAULTS, String::as_str)
    }

    /// Whether somebody set `key`.
    pub(super) fn is_set(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }
}

/// Checks the merged values, and returns them as plain data, with the origin of each.
pub(super) fn check(root: &Value, docs: &[SettingDoc]) -> Result<(serde_json::Value, Origins), ConfigError> {
    let mut origins = Origins::default();
    Walk {
        docs,
        origins: &mut origins,
    }
    .table("", "", root)?;
    Ok((to_json(root), origins))
}

/// The error for a key that is not in the reference. Its value is left out: it may be a secret under a wrong name.
pub(super) fn unknown(key: &str, origin: &str, docs: &[SettingDoc]) -> ConfigError {
    let below = children(&normal(key), docs);
    if !below.is_empty() {
        let expected = format!("a section with the keys {}", below.join(", "));
        return ConfigError::new(key, None, origin, expected);
    }
    let mut parent = key;
    while let Some((above, _)) = parent.rsplit_once('.') {
        let known = children(&normal(above), docs);
        if !known.is_empty() {
            let expected = format!("one of the keys {}", known.join(", "));
            return ConfigError::new(key, None, origin, expected);
        }
        parent = above;
    }
    let expected = format!("one of the sections {}", children("", docs).join(", "));
    ConfigError::new(key, None, origin, expected)
}

struct Walk<'a> {
    docs: &'a [SettingDoc],
    origins: &'a mut Origins,
}

impl Walk<'_> {
    /// Looks at the value of `key`; `pattern` is the key as the reference writes it.
    fn value(&mut self, key: &str, pattern: &str, value: &Value) -> Result<(), ConfigError> {
        if let Some(doc) = self.docs.iter().find(|doc| doc.key == pattern) {
            let plain = to_json(value);
            if !(doc.accepts)(&plain) {
                return Err(self.wrong(key, pattern, value, &doc.expected));
            }
            if let Some(origin) = value.origin() {
                self.origins.0.insert(key.to_owned(), origin.to_owned());
            }
            return Ok(());
        }
        let entries = format!("{pattern}[]");
        if children(&entries, self.docs).is_empty() {
            return self.table(key, pattern, value);
        }
        let ValueKind::Array(values) = &value.kind else {
            return Err(self.wrong(key, pattern, value, &format!("a list of tables [[{key}]]")));
        };
        for (index, value) in values.iter().enumerate() {
            self.table(&format!("{key}[{index}]"), &entries, value)?;
        }
        Ok(())
    }

    /// Looks at a section or at an entry of a list.
    fn table(&mut self, key: &str, pattern: &str, value: &Value) -> Result<(), ConfigError> {
        let ValueKind::Table(table) = &value.kind else {
            return Err(self.wrong(key, pattern, value, &format!("a section [{key}]")));
        };
        let known = children(pattern, self.docs);
        if let Some(stranger) = table.keys().filter(|name| !known.contains(name)).min() {
            let stranger_key = join(key, stranger);
            return Err(unknown(&stranger_key, origin(&table[stranger]), self.docs));
        }
        for name in known {
            let (key, pattern) = (join(key, &name), join(pattern, &name));
            if let Some(value) = table.get(&name) {
                self.value(&key, &pattern, value)?;
            } else if let Some(doc) = self.docs.iter().find(|doc| doc.required && doc.key == pattern) {
                return Err(ConfigError::new(
                    &key,
                    None,
                    origin(value),
                    format!("{}, but it is missing", doc.expected),
                ));
            }
        }
        Ok(())
    }

    fn wrong(&self, key: &str, pattern: &str, value: &Value, expected: &str) -> ConfigError {
        ConfigError::new(
            key,
            Some(shown(pattern, &to_json(value), self.docs)),
            origin(value),
            expected,
        )
    }
}

/// The names right below `pattern`, in the order of the reference.
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

/// `key` as the reference writes it: without the numbers of entries.
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

/// The origin of a value; that of a table merged from several is the one of any value in it.
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
        // JSON has neither infinity nor NaN, and no setting takes a table with this key.
        ValueKind::Float(number) if !number.is_finite() => json!({ "float": number.to_string() }),
        ValueKind::Float(number) => json!(number),
        ValueKind::String(text) => json!(text),
        ValueKind::Table(table) => table.iter().map(|(key, value)| (key.clone(), to_json(value))).collect(),
        ValueKind::Array(values) => values.iter().map(to_json).collect(),
    }
}
