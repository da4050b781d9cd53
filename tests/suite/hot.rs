//! The functions whose instructions `tests/bench/callgrind` counts: each one works, and the baseline lists all of them.

use std::collections::BTreeSet;

use gateway_bench::hot::STEPS;
use serde_json::{Map, Value};

#[test]
fn the_instruction_baseline_names_exactly_the_counted_functions() {
    let baseline: Value = serde_json::from_str(include_str!("../bench/callgrind/baseline.json")).unwrap();
    let instructions: &Map<String, Value> = baseline["instructions"].as_object().unwrap();
    assert_eq!(
        instructions.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        STEPS.iter().map(|step| step.name).collect(),
        "run tests/bench/callgrind/run.sh --update"
    );
}

#[test]
fn every_counted_function_does_its_work() {
    for step in &STEPS {
        assert!(step.run() > 0, "{}", step.name);
    }
}
