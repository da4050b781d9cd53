//! The arrows between the node's folders are those that `docs/architecture.md` allows, and none of them leads back.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::root;

/// For each folder or file directly below `src`, those that it uses.
type Arrows = BTreeMap<String, BTreeSet<String>>;

/// Reads the table: the names in its first column may use those in its third.
fn allowed() -> Arrows {
    let page = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let rows = page
        .lines()
        .skip_while(|line| !line.contains("| may use |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let names = |cell: &str| -> Vec<String> {
        let quoted = cell.split('`').skip(1).step_by(2);
        quoted
            .map(|name| name.trim_end_matches('/').trim_end_matches(".rs").to_owned())
            .collect()
    };
    let mut allowed = Arrows::new();
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split('|').collect();
        assert_eq!(cells.len(), 3, "{row}");
        for folder in names(cells[0]) {
            let others = names(cells[2]).into_iter().filter(|other| *other != folder).collect();
            assert!(allowed.insert(folder, others).is_none(), "twice: {row}");
        }
    }
    allowed
}

/// Whether a file holds nothing but tests.
fn is_of_tests(path: &Path) -> bool {
    path.iter().any(|part| {
        let part = part.to_str().unwrap();
        part.ends_with("tests.rs") || part.ends_with("tests") || ["conformance", "test_server.rs"].contains(&part)
    })
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The first segments behind each `crate::` of a text, braces unfolded.
fn used(text: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for (place, _) in text.match_indices("crate::") {
        let before = text[..place].chars().next_back();
        if before.is_some_and(|before| before == '$' || before == ':' || before.is_alphanumeric() || before == '_') {
            continue;
        }
        let rest = &text[place + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            used.insert(first_name(rest));
            continue;
        };
        let (mut depth, mut is_first) = (0, true);
        for (at, character) in group.char_indices() {
            match character {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => is_first = true,
                character if depth == 0 && is_first && !character.is_whitespace() => {
                    used.insert(first_name(&group[at..]));
                    is_first = false;
                }
                _ => {}
            }
        }
    }
    used
}

fn first_name(path: &str) -> String {
    path.chars()
        .take_while(|character| character.is_alphanumeric() || *character == '_')
        .collect()
}

/// A source without comments, and without what is compiled for tests alone.
fn code_of(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let mut code = String::new();
    let mut is_for_tests = false;
    for line in text.lines() {
        if line.trim_start().starts_with("//") {
            continue;
        }
        if line.trim() == "#[cfg(test)]" {
            is_for_tests = true;
            continue;
        }
        if !std::mem::take(&mut is_for_tests) {
            code.push_str(line);
            code.push('\n');
        }
    }
    code
}

fn found() -> Arrows {
    let src = root().join("gateway-node/src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let name_of = |path: &Path| first_name(path.strip_prefix(&src).unwrap().to_str().unwrap());
    let folders: BTreeSet<String> = files.iter().map(|path| name_of(path)).collect();
    let mut arrows = Arrows::new();
    for path in &files {
        let below = path.strip_prefix(&src).unwrap();
        if is_of_tests(below) || ["lib.rs", "main.rs"].iter().any(|root| below == Path::new(root)) {
            continue;
        }
        let code = code_of(&fs::read_to_string(path).unwrap());
        // A path that climbs out of its folder would be an arrow that nobody sees.
        let most = below.components().count() + 1;
        assert!(
            !code.contains(&"super::".repeat(most)),
            "{} climbs too far",
            below.display()
        );
        let own = name_of(path);
        let others = used(&code)
            .into_iter()
            .filter(|other| folders.contains(other) && *other != own);
        arrows.entry(own.clone()).or_default().extend(others);
    }
    arrows
}

/// The arrows that the table does not have, and the folders that can be reached from themselves.
fn faults(arrows: &Arrows, allowed: &Arrows) -> Vec<String> {
    let mut faults = Vec::new();
    for (folder, others) in arrows {
        match allowed.get(folder) {
            None => faults.push(format!("the table has no `{folder}`")),
            Some(allowed) => faults.extend(others.difference(allowed).map(|other| format!("{folder} -> {other}"))),
        }
    }
    for folder in arrows.keys() {
        let (mut reached, mut left) = (BTreeSet::new(), vec![folder]);
        while let Some(others) = left.pop().and_then(|next| arrows.get(next)) {
            left.extend(others.iter().filter(|other| reached.insert(*other)));
        }
        if reached.contains(folder) {
            faults.push(format!("{folder} is used by what it uses"));
        }
    }
    faults
}

#[test]
fn folders_use_only_what_the_architecture_allows() {
    let (arrows, allowed) = (found(), allowed());
    assert!(arrows.len() > 15 && allowed.len() > 15, "{arrows:?} {allowed:?}");
    for (folder, others) in &arrows {
        println!("{folder} -> {}", others.iter().cloned().collect::<Vec<_>>().join(", "));
    }
    assert_eq!(faults(&arrows, &allowed), [""; 0]);
    let unused = allowed.iter().flat_map(|(folder, others)| {
        let used = arrows.get(folder);
        let is_unused = move |other: &&String| !used.is_some_and(|used| used.contains(*other));
        others
            .iter()
            .filter(is_unused)
            .map(move |other| format!("{folder} -> {other}"))
    });
    assert_eq!(unused.collect::<Vec<_>>(), [""; 0], "in the table, and not in the code");
}

#[test]
fn a_forbidden_dependency_is_reported() {
    let allowed = allowed();
    let with = |text: &str, folder: &str| {
        let mut arrows = found();
        arrows
            .entry(folder.to_owned())
            .or_default()
            .extend(used(&code_of(text)));
        faults(&arrows, &allowed)
    };
    for text in [
        "use crate::session::Session;\n",
        "use crate::{\n    backplane::{Entry, Owner},\n    session::Session,\n};\n",
        "fn f() -> crate::session::Session {}\n",
    ] {
        let faults = with(text, "encode");
        assert!(faults.contains(&"encode -> session".to_owned()), "{text}{faults:?}");
        assert!(
            faults.contains(&"encode is used by what it uses".to_owned()),
            "{text}{faults:?}"
        );
    }
    assert_eq!(
        with(
            "// crate::session\n#[cfg(test)]\nuse crate::session::Session;\n",
            "encode"
        ),
        [""; 0]
    );
}
