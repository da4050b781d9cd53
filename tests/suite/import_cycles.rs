//! Import cycles between the files of the node. `architecture.rs` checks the folders.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use crate::{architecture::code_of, root};

/// A path of modules below the crate root, or of an item in them.
type ModulePath = Vec<String>;

/// The files of the node that a registry handle, its shards, and their actor share: a session that ends removes itself
/// from its shard, and a shard reaches the others through the registry.
const EXCEPTED: &[&str] = &[
    "registry/actor",
    "registry/session_handle",
    "registry/shard",
    "registry",
];

/// The source files of the node, by module path, without code that is compiled only for tests.
struct Sources(BTreeMap<ModulePath, String>);

impl Sources {
    fn read() -> Self {
        let src = root().join("gateway-node/src");
        let mut sources = BTreeMap::new();
        Self::collect(&src, &src, &mut sources);
        Self(sources)
    }

    fn collect(src: &Path, folder: &Path, sources: &mut BTreeMap<ModulePath, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let below = path.strip_prefix(src).unwrap().with_extension("");
            let mut module: ModulePath = below.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
            let is_for_tests =
                |part: &String| part.starts_with("test_") || part.ends_with("tests") || part == "conformance";
            if module.iter().any(is_for_tests) {
                continue;
            }
            if path.is_dir() {
                Self::collect(src, &path, sources);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                if module
                    .last()
                    .is_some_and(|name| ["mod", "lib", "main"].contains(&name.as_str()))
                {
                    module.pop();
                }
                sources.insert(module, code_of(&fs::read_to_string(&path).unwrap()));
            }
        }
    }

    /// Returns the file that holds the module or item at `path`, following re-exports.
    fn file_of(&self, path: &[String], exports: &BTreeMap<ModulePath, ModulePath>, depth: usize) -> Option<ModulePath> {
        let exported = exports
            .get(path)
            .filter(|target| depth < 8 && target.as_slice() != path);
        if let Some(target) = exported {
            return self.file_of(target, exports, depth + 1);
        }
        let length = (1..=path.len())
            .rev()
            .find(|length| self.0.contains_key(&path[..*length]))?;
        let shorter = path.get(..length + 1).filter(|shorter| shorter.len() < path.len());
        match shorter {
            Some(shorter) if exports.contains_key(shorter) => self.file_of(shorter, exports, depth + 1),
            _ => Some(path[..length].to_vec()),
        }
    }

    /// Returns for each file the files that it imports from. Re-exports of a folder's `mod.rs` are no imports.
    fn graph(&self) -> BTreeMap<ModulePath, BTreeSet<ModulePath>> {
        let mut exports = BTreeMap::new();
        let mut imports = Vec::new();
        for (module, code) in &self.0 {
            for (is_public, tree) in uses(code) {
                for path in expand(&tree) {
                    let Some(target) = resolve(&path, module) else { continue };
                    if is_public {
                        let name = path.last().unwrap().rsplit('@').next().unwrap().to_owned();
                        exports.insert(module.iter().cloned().chain([name]).collect(), target);
                    } else {
                        imports.push((module, target));
                    }
                }
            }
        }
        let mut graph: BTreeMap<ModulePath, BTreeSet<ModulePath>> = BTreeMap::new();
        for (module, target) in imports {
            if let Some(file) = self.file_of(&target, &exports, 0).filter(|file| file != module) {
                graph.entry(module.clone()).or_default().insert(file);
            }
        }
        graph
    }
}

/// Returns the tree of each `use`, with `@` for ` as `, and whether it is a re-export.
fn uses(code: &str) -> Vec<(bool, String)> {
    let mut uses = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find("use ") {
        let before = rest[..at].rsplit('\n').next().unwrap().trim();
        let tree = &rest[at + "use ".len()..];
        let end = tree.find(';').unwrap_or(tree.len());
        if before.is_empty() || before.starts_with("pub") {
            let tree = tree[..end].replace(" as ", "@");
            uses.push((before.starts_with("pub"), tree.split_whitespace().collect()));
        }
        rest = &tree[end..];
    }
    uses
}

/// Returns the paths of a `use` tree without white space.
fn expand(tree: &str) -> Vec<ModulePath> {
    let Some((prefix, group)) = tree.split_once('{') else {
        return vec![tree.split("::").map(str::to_owned).collect()];
    };
    let group = group.strip_suffix('}').unwrap_or(group);
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&group[start..]);
    let parts = parts.into_iter().filter(|part| !part.is_empty());
    parts.flat_map(|part| expand(&format!("{prefix}{part}"))).collect()
}

/// Returns the absolute path of a `use` in `module`, or `None` if it is of another crate.
fn resolve(path: &[String], module: &[String]) -> Option<ModulePath> {
    let mut target = match path.first()?.as_str() {
        "crate" => Vec::new(),
        "self" | "super" => module.to_vec(),
        _ => return None,
    };
    for part in path {
        match part.as_str() {
            "crate" | "self" | "*" => {}
            "super" => drop(target.pop()),
            part => target.push(part.split('@').next().unwrap().to_owned()),
        }
    }
    Some(target)
}

/// Returns the files from which imports lead back to themselves.
fn cyclic(graph: &BTreeMap<ModulePath, BTreeSet<ModulePath>>) -> BTreeSet<String> {
    let is_cyclic = |start: &&ModulePath| {
        let (mut reached, mut left) = (BTreeSet::new(), vec![*start]);
        while let Some(next) = left.pop() {
            let others = graph.get(next).into_iter().flatten();
            left.extend(others.filter(|other| reached.insert(*other)));
        }
        reached.contains(*start)
    };
    graph.keys().filter(is_cyclic).map(|module| module.join("/")).collect()
}

#[test]
fn files_import_each_other_one_way() {
    let graph = Sources::read().graph();
    let edges: usize = graph.values().map(BTreeSet::len).sum();
    assert!(
        graph.len() > 150 && edges > 600,
        "{} files, {edges} imports",
        graph.len()
    );
    let excepted: BTreeSet<_> = EXCEPTED.iter().map(|file| (*file).to_owned()).collect();
    let found: Vec<_> = cyclic(&graph).difference(&excepted).cloned().collect();
    assert_eq!(found, [""; 0]);
}

#[test]
fn an_import_cycle_between_files_is_found() {
    let mut sources = Sources::read();
    let planted = "use crate::transport::Outbox;\nuse super::inbox::Inbox;\n";
    let code = sources
        .0
        .get_mut(&vec!["transport".to_owned(), "inbox".to_owned()])
        .unwrap();
    code.push_str("use super::outbox::Outbox;\n");
    let code = sources
        .0
        .get_mut(&vec!["transport".to_owned(), "outbox".to_owned()])
        .unwrap();
    code.push_str(planted);
    let found = cyclic(&sources.graph());
    assert!(
        found.contains("transport/inbox") && found.contains("transport/outbox"),
        "{found:?}"
    );
}
