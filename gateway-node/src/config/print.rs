//! The settings as a commented TOML file.

use serde_json::Value;

use super::{Settings, error::printable, setting::SettingDoc, settings::reference};

/// Maximum width of a comment line, in columns.
const WIDTH: usize = 100;

impl Settings {
    /// Formats the effective settings as TOML, each with its meaning and its origin, secrets redacted. Apart from the secrets, loading
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
                    let origin = |key: &str| self.origin(key);
                    block(&mut out, &format!("[{name}]"), section, values, Some(&origin));
                }
                Some(list) => self.entries(&mut out, list, section, root.get(list)),
            }
        }
        out
    }

    /// Writes the entries of a list, comments only at the first. An empty list is written as comments alone.
    fn entries(&self, out: &mut String, list: &str, section: &[SettingDoc], values: Option<&Value>) {
        let values = values.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let header = format!("[[{list}]]");
        let none = |_: &str| None;
        if values.is_empty() {
            block(out, &format!("# {header}"), section, None, Some(&none));
        }
        for (index, value) in values.iter().enumerate() {
            let required = section.first().map_or("", |doc| name(&doc.key));
            let header = match self.origin(&format!("{list}[{index}].{required}")) {
                Some(origin) => format!("{}{header}", set_in(origin)),
                None => header.clone(),
            };
            let origin: Option<&Origin<'_>> = if index == 0 { Some(&none) } else { None };
            block(out, &header, section, Some(value), origin);
        }
    }
}

/// Returns the origin of the value of a key, if a source set it.
type Origin<'a> = dyn Fn(&str) -> Option<&'a str> + 'a;

/// Writes a section or an entry of a list. With `origins`, each setting has its meaning in front.
fn block(out: &mut String, header: &str, section: &[SettingDoc], values: Option<&Value>, origins: Option<&Origin<'_>>) {
    if !out.is_empty() {
        out.push('\n');
    }
    out.push_str(header);
    out.push('\n');
    for doc in section {
        let name = name(&doc.key);
        if let Some(origins) = origins {
            comment(
                out,
                &format!("{} Default: {}.", doc.meaning, doc.default).replace("Default: required.", "Required."),
            );
            if let Some(origin) = origins(&doc.key) {
                out.push_str(&set_in(origin));
            }
        }
        match values.and_then(|values| values.get(name)).and_then(to_toml) {
            Some(value) => out.extend([name, " = ", &value, "\n"]),
            None if origins.is_some() => out.extend(["# ", name, " =\n"]),
            None => {}
        }
    }
}

/// Returns a comment that says where a value comes from.
fn set_in(origin: &str) -> String {
    let mut out = String::new();
    comment(&mut out, &format!("Set in {}.", printable(origin)));
    out
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

fn name(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or_default()
}

fn parent(key: &str) -> &str {
    key.rsplit_once('.').map_or("", |(parent, _)| parent)
}
