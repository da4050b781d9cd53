//! Dependencies between the node's folders: only those that `docs/architecture.md` allows, and no cycles.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::root;

/// Maps each folder or file directly below `src` to those that it uses.
type FolderGraph = BTreeMap<String, BTreeSet<String>>;

/// Reads the table of `docs/architecture.md`: names in its first column may use those in its third.
fn allowed() -> FolderGraph {
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
    let mut allowed = FolderGraph::new();
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

/// Returns whether a file contains only test code.
fn is_test_code(path: &Path) -> bool {
    path.iter().any(|part| {
        let part = part.to_str().unwrap();
        part.starts_with("test_") || part.ends_with("tests.rs") || part.ends_with("tests") || part == "conformance"
    })
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Returns the first path segment after each `crate::` in `text`, with brace groups expanded.
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

/// Returns a source text without comments and without code that is compiled only for tests.
pub(crate) fn code_of(text: &str) -> String {
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

fn source_graph() -> FolderGraph {
    let src = root().join("gateway-node/src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let name_of = |path: &Path| first_name(path.strip_prefix(&src).unwrap().to_str().unwrap());
    let folders: BTreeSet<String> = files.iter().map(|path| name_of(path)).collect();
    let mut graph = FolderGraph::new();
    for path in &files {
        let below = path.strip_prefix(&src).unwrap();
        if is_test_code(below) || ["lib.rs", "main.rs"].iter().any(|root| below == Path::new(root)) {
            continue;
        }
        let code = code_of(&fs::read_to_string(path).unwrap());
        // `super::` up to the crate root would be a dependency that `used` does not find.
        let most = below.components().count() + 1;
        assert!(
            !code.contains(&"super::".repeat(most)),
            "{} reaches the crate root with `super::`",
            below.display()
        );
        let own = name_of(path);
        let others = used(&code)
            .into_iter()
            .filter(|other| folders.contains(other) && *other != own);
        graph.entry(own.clone()).or_default().extend(others);
    }
    graph
}

/// Returns the dependencies that the table does not list, and the folders that depend on themselves.
fn violations(graph: &FolderGraph, allowed: &FolderGraph) -> Vec<String> {
    let mut violations = Vec::new();
    for (folder, others) in graph {
        match allowed.get(folder) {
            None => violations.push(format!("the table does not list `{folder}`")),
            Some(allowed) => violations.extend(others.difference(allowed).map(|other| format!("{folder} -> {other}"))),
        }
    }
    for folder in graph.keys() {
        let (mut reached, mut left) = (BTreeSet::new(), vec![folder]);
        while let Some(others) = left.pop().and_then(|next| graph.get(next)) {
            left.extend(others.iter().filter(|other| reached.insert(*other)));
        }
        if reached.contains(folder) {
            violations.push(format!("{folder} is part of a dependency cycle"));
        }
    }
    violations
}

#[test]
fn folders_use_only_what_the_architecture_allows() {
    let (graph, allowed) = (source_graph(), allowed());
    assert!(graph.len() > 15 && allowed.len() > 15, "{graph:?} {allowed:?}");
    for (folder, others) in &graph {
        println!("{folder} -> {}", others.iter().cloned().collect::<Vec<_>>().join(", "));
    }
    assert_eq!(violations(&graph, &allowed), [""; 0]);
    let unused = allowed.iter().flat_map(|(folder, others)| {
        let used = graph.get(folder);
        let is_unused = move |other: &&String| !used.is_some_and(|used| used.contains(*other));
        others
            .iter()
            .filter(is_unused)
            .map(move |other| format!("{folder} -> {other}"))
    });
    assert_eq!(
        unused.collect::<Vec<_>>(),
        [""; 0],
        "listed in the table but unused in the code"
    );
}

#[test]
fn a_forbidden_dependency_is_reported() {
    let allowed = allowed();
    let with = |text: &str, folder: &str| {
        let mut graph = source_graph();
        graph.entry(folder.to_owned()).or_default().extend(used(&code_of(text)));
        violations(&graph, &allowed)
    };
    for text in [
        "use crate::session::Session;\n",
        "use crate::{\n    backplane::{Entry, Owner},\n    session::Session,\n};\n",
        "fn f() -> crate::session::Session {}\n",
    ] {
        let violations = with(text, "encode");
        assert!(
            violations.contains(&"encode -> session".to_owned()),
            "{text}{violations:?}"
        );
        assert!(
            violations.contains(&"encode is part of a dependency cycle".to_owned()),
            "{text}{violations:?}"
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
