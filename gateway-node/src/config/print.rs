//! The settings as a commented TOML file.

use serde_json::Value;

use super::{Settings, setting::SettingDoc, settings::reference};

/// Maximum width of a comment line, in columns.
const WIDTH: usize = 100;

impl Settings {
    /// Formats the effective settings as TOML, each with its meaning, secrets redacted. Apart from the secrets, loading
    /// the output yields the same settings.
    pub fn to_toml(&self) -> String {
        let root = serde_json::to_value(self).unwrap_or_default();
        let mut out = String::new();
        let docs = reference();
        // The reference lists the settings of a section consecutively.
        for section in docs.chunk_by(|left, right| parent(&left.key) == parent(&right.key)) {
            let name = section.first().map_or("", |doc| parent(&doc.key));
            match name.strip_suffix("[]") {
                None => {
                    let values = name.split('.').try_fold(&root, |value, part| value.get(part));
                    block(&mut out, &format!("[{name}]"), section, values, true);
                }
                Some(list) => entries(&mut out, list, section, root.get(list)),
            }
        }
        out
    }
}

/// Writes the entries of a list, comments only at the first. An empty list is written as comments alone.
fn entries(out: &mut String, list: &str, section: &[SettingDoc], values: Option<&Value>) {
    let values = values.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let header = format!("[[{list}]]");
    if values.is_empty() {
        block(out, &format!("# {header}"), section, None, true);
    }
    for (index, value) in values.iter().enumerate() {
        block(out, &header, section, Some(value), index == 0);
    }
}

fn block(out: &mut String, header: &str, section: &[SettingDoc], values: Option<&Value>, commented: bool) {
    if !out.is_empty() {
        out.push('\n');
    }
    out.push_str(header);
    out.push('\n');
    for doc in section {
        let name = doc.key.rsplit('.').next().unwrap_or_default();
        if commented {
            comment(
                out,
                &format!("{} Default: {}.", doc.meaning, doc.default).replace("Default: required.", "Required."),
            );
        }
        match values.and_then(|values| values.get(name)).and_then(to_toml) {
            Some(value) => out.extend([name, " = ", &value, "\n"]),
            None if commented => out.extend(["# ", name, " =\n"]),
            None => {}
        }
    }
}

/// Formats a value as TOML for the right-hand side of an equals sign. Returns `None` for `null`, which TOML lacks.
fn to_toml(value: &Value) -> Option<String> {
    toml::Value::try_from(value).ok().map(|value| value.to_string())
}

/// Writes `text` as comment lines of at most [`WIDTH`] columns.
fn comment(out: &mut String, text: &str) {
    out.push('#');
    let mut column = 1;
    for word in text.split_whitespace() {
        let width = 1 + word.chars().count();
        if column > 1 && column + width > WIDTH {
            out.push_str("\n#");
            column = 1;
        }
        out.extend([" ", word]);
        column += width;
    }
    out.push('\n');
}

fn parent(key: &str) -> &str {
    key.rsplit_once('.').map_or("", |(parent, _)| parent)
}
