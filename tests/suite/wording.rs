//! The texts of the repository: wording that the house style refuses, scripts, and the tests that documents name.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::root;

/// Returns the files below the root that are part of the repository and end in one of `extensions`.
fn files(extensions: &[&str]) -> Vec<PathBuf> {
    fn collect(folder: &Path, extensions: &[&str], found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let is_ours = name == ".ci" || !name.starts_with('.');
            if path.is_dir() && is_ours && !["target", "node_modules", "corpus"].contains(&name) {
                collect(&path, extensions, found);
            } else if path.is_file() && extensions.iter().any(|extension| name.ends_with(extension)) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    collect(root(), extensions, &mut found);
    found
}

/// Returns each line of `text` with a phrase that the house style refuses.
fn refused(text: &str) -> Vec<&str> {
    // Spelled in halves, so that this file contains none of them.
    let phrases = [
        ("fn wh", "at_"),
        ("fn wh", "o_"),
        ("fn no", "body_"),
        ("none ", "where"),
        ("seen ", "no more"),
    ]
    .map(|(start, end)| format!("{start}{end}"));
    let has_phrase = |line: &&str| phrases.iter().any(|phrase| line.to_ascii_lowercase().contains(phrase));
    text.lines().filter(has_phrase).collect()
}

#[test]
fn texts_avoid_refused_wording() {
    let files = files(&[
        ".rs", ".md", ".lua", ".sh", ".py", ".mjs", ".js", ".toml", ".yml", ".yaml",
    ]);
    assert!(files.len() > 400, "{} files", files.len());
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        found.extend(
            refused(&text)
                .into_iter()
                .map(|line| format!("{}: {line}", file.display())),
        );
    }
    assert_eq!(found, [""; 0]);
}

#[test]
fn refused_wording_is_reported() {
    let planted = format!(
        "// None {} it is one of them.\nfn {}_leaves_is_gone() {{}}\n",
        "where", "who"
    );
    assert_eq!(refused(&planted).len(), 2);
    assert_eq!(refused("// Returns `None` if there is no such session."), [""; 0]);
}

#[test]
fn the_tests_that_documents_name_exist() {
    let mut functions = BTreeSet::new();
    for file in files(&[".rs"]) {
        let text = fs::read_to_string(file).unwrap();
        let names = text.split("fn ").skip(1);
        functions.extend(names.map(|name| {
            let end = name.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
            name[..end.unwrap_or(name.len())].to_owned()
        }));
    }
    let page = fs::read_to_string(root().join("docs/discord.md")).unwrap();
    let is_test_name = |name: &&str| {
        let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '…';
        name.chars().all(is_word) && (name.ends_with('…') || name.matches('_').count() >= 4)
    };
    let named: BTreeSet<_> = page.split('`').skip(1).step_by(2).filter(is_test_name).collect();
    assert!(named.len() > 15, "{} tests named", named.len());
    let exists = |name: &&&str| match name.strip_suffix('…') {
        Some(start) => functions.iter().any(|function| function.starts_with(start)),
        None => functions.contains(**name),
    };
    let missing: Vec<_> = named.iter().filter(|name| !exists(name)).collect();
    assert!(missing.is_empty(), "no such test: {missing:?}");
}

#[test]
fn scripts_pass_shellcheck() {
    let scripts = files(&[".sh"]);
    assert!(scripts.len() > 5, "{scripts:?}");
    let output = Command::new("shellcheck")
        .arg("--external-sources")
        .args(scripts)
        .arg(root().join(".ci/run"))
        .current_dir(root())
        .output()
        .expect("shellcheck starts; tests/run.sh installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
