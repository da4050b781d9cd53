//! Runs the committed corpus through the fuzz targets, the code that the fuzzer runs.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use gateway_fuzz_targets::TARGETS;

/// The maximum size of all inputs together, in bytes.
const CORPUS_BYTES: u64 = 1 << 20;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn names(paths: &[PathBuf]) -> BTreeSet<String> {
    let name = |path: &PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    paths.iter().map(name).collect()
}

#[test]
fn every_corpus_input_passes_its_fuzz_target() {
    for target in &TARGETS {
        let inputs = files(&fuzz().join("corpus").join(target.name));
        assert!(!inputs.is_empty(), "{} has no inputs", target.name);
        for input in inputs {
            let data = fs::read(&input).unwrap();
            let result = std::panic::catch_unwind(|| (target.run)(&data));
            assert!(result.is_ok(), "{} fails {}", input.display(), target.name);
        }
    }
}

#[test]
fn every_fuzz_target_has_a_program_and_a_corpus() {
    let targets: BTreeSet<_> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(names(&files(&fuzz().join("targets"))), targets);
    assert_eq!(names(&files(&fuzz().join("corpus"))), targets);
    assert_eq!(names(&files(&fuzz().join("dictionaries"))), targets);
    let manifest: toml::Table = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap().parse().unwrap();
    let programs = manifest["bin"].as_array().unwrap();
    let programs = programs
        .iter()
        .map(|program| program["name"].as_str().unwrap().to_owned());
    assert_eq!(programs.collect::<BTreeSet<_>>(), targets);
}

#[test]
fn the_corpus_stays_small() {
    let corpora = files(&fuzz().join("corpus"));
    let inputs = corpora.iter().flat_map(|corpus| files(corpus));
    let bytes: u64 = inputs.map(|input| fs::metadata(input).unwrap().len()).sum();
    assert!(bytes <= CORPUS_BYTES, "{bytes} bytes; run tests/fuzz/run.sh --minimise");
}
