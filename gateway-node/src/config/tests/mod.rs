//! The configuration as an operator uses it: files, variables and flags in, settings or error lines out.

#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

mod contradictions;
mod from_files;
mod load;
mod page;
mod print;
mod wrong;

use super::{Settings, Sources};

/// What an operator passes to a node. The file is given as text; errors call it `u.toml`.
#[derive(Debug, Clone, Copy, Default)]
struct Given<'a> {
    file: &'a str,
    environment: &'a [(&'a str, &'a str)],
    bind: Option<&'a str>,
    log_format: Option<&'a str>,
}

impl Given<'_> {
    fn load(self) -> Result<Settings, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("u.toml");
        std::fs::write(&path, self.file).unwrap();
        let variables = self
            .environment
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        Sources::new()
            .file(Some(path.clone()))
            .environment(variables)
            .bind(self.bind.map(str::to_owned))
            .log_format(self.log_format.map(str::to_owned))
            .load()
            .map_err(|error| error.to_string().replace(path.to_str().unwrap(), "u.toml"))
    }
}

/// Checks that a file is refused with exactly these lines, given without the prefix `configuration: `.
#[track_caller]
fn refuses(text: &str, lines: &[&str]) {
    let told = file(text).map(|_| ()).unwrap_err();
    let told: Vec<_> = told
        .lines()
        .map(|line| line.strip_prefix("configuration: ").unwrap())
        .collect();
    assert_eq!(told, lines, "for {text}");
}

/// Loads a file alone.
fn file(text: &str) -> Result<Settings, String> {
    Given {
        file: text,
        ..Given::default()
    }
    .load()
}

/// Loads one environment variable alone.
fn variable(name: &str, text: &str) -> Result<Settings, String> {
    Given {
        environment: &[(name, text)],
        ..Given::default()
    }
    .load()
}
