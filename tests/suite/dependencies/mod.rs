//! Checks the packages that cargo resolves against the rules for licenses, bans and sources in `deny.toml`.
//!
//! `cargo deny check` reads the same file. Only it checks advisories, because their list comes from the network.

mod package;
mod rules;

use std::{fs, sync::LazyLock};

use self::{
    package::{Dependency, Package},
    rules::{DenyRules, RuleViolation},
};
use crate::root;

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

fn text() -> String {
    fs::read_to_string(root().join("deny.toml")).unwrap()
}

fn rules() -> DenyRules {
    DenyRules::parse(&text()).unwrap()
}

/// Returns a package that breaks no rule.
fn package(name: &str) -> Package {
    Package {
        name: name.to_owned(),
        source: Some(CRATES_IO.to_owned()),
        license: Some("MIT".to_owned()),
        ..Package::default()
    }
}

/// Returns the violations found when `package` is added to the packages of the workspace.
fn violations_with(package: Package) -> Vec<RuleViolation> {
    static PACKAGES: LazyLock<Vec<Package>> =
        LazyLock::new(|| Package::of_workspace(root(), &rules().graph.targets[0]));
    let mut packages = PACKAGES.clone();
    packages.push(package);
    rules().violations(&packages)
}

#[test]
fn the_dependencies_obey_deny_toml() {
    let rules = rules();
    assert!(!rules.graph.targets.is_empty());
    for target in &rules.graph.targets {
        let packages = Package::of_workspace(root(), target);
        assert!(packages.len() > 100, "{} packages for {target}", packages.len());
        assert_eq!(rules.violations(&packages), [], "for {target}");
    }
}

#[test]
fn the_fuzz_targets_use_no_banned_packages_and_only_crates_io() {
    let packages = Package::of_lock_file(&root().join("tests/fuzz/Cargo.lock"));
    assert!(packages.iter().any(|package| package.name == "libfuzzer-sys"));
    assert_eq!(rules().lock_violations(&packages), []);
}

#[test]
fn a_package_without_an_allowed_license_is_reported() {
    assert_eq!(violations_with(package("planted")), []);
    for (license, is_allowed) in [
        ("MIT", true),
        ("MIT OR GPL-3.0-only", true),
        ("MIT/GPL-3.0", true),
        ("(MIT OR GPL-2.0) AND (ISC OR MPL-2.0)", true),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("GPL-3.0-only", false),
        ("GPL-3.0+", false),
        ("MIT AND GPL-3.0-only", false),
        ("(MIT OR ISC) AND MPL-2.0", false),
        ("MIT WITH LLVM-exception", false),
        ("GPL-2.0 WITH Classpath-exception-2.0", false),
        ("LicenseRef-own", false),
        ("MIT OR", false),
        ("nonsense", false),
        ("", false),
    ] {
        let violations = violations_with(Package {
            license: Some(license.to_owned()),
            ..package("planted")
        });
        let expected = RuleViolation::License {
            package: "planted".to_owned(),
            license: license.to_owned(),
        };
        let expected = if is_allowed { vec![] } else { vec![expected] };
        assert_eq!(violations, expected, "{license}");
    }
    let violations = violations_with(Package {
        license: None,
        ..package("planted")
    });
    assert!(matches!(&violations[..], [RuleViolation::License { license, .. }] if license.is_empty()));
}

#[test]
fn every_banned_package_is_reported() {
    let rules = rules();
    let banned: Vec<_> = rules.banned().map(str::to_owned).collect();
    assert!(banned.iter().any(|name| name == "openssl-sys"));
    for name in banned {
        let expected = [RuleViolation::Banned { package: name.clone() }];
        assert_eq!(violations_with(package(&name)), expected);
        assert_eq!(rules.lock_violations(&[package(&name)]), expected);
    }
}

#[test]
fn a_wildcard_dependency_is_reported() {
    let depends = |req: &str| Dependency {
        name: "serde".to_owned(),
        req: req.to_owned(),
        ..Dependency::default()
    };
    let with = |req| Package {
        dependencies: vec![depends("1"), depends(req)],
        ..package("planted")
    };
    assert_eq!(violations_with(with("^1.0")), []);
    let expected = RuleViolation::Wildcard {
        package: "planted".to_owned(),
        dependency: "serde".to_owned(),
    };
    assert_eq!(violations_with(with("*")), [expected]);
    // A path dependency needs no version unless the package is published.
    for (publish, kind, is_allowed) in [
        (Some(vec![]), None, true),
        (None, None, false),
        (Some(vec!["a".to_owned()]), None, false),
        (None, Some("dev".to_owned()), true),
    ] {
        let dependency = Dependency {
            path: Some("/folder".to_owned()),
            kind,
            ..depends("*")
        };
        let violations = violations_with(Package {
            publish,
            dependencies: vec![dependency],
            ..package("planted")
        });
        assert_eq!(violations.is_empty(), is_allowed, "{violations:?}");
    }
}

#[test]
fn a_package_from_another_source_is_reported() {
    for source in [
        "git+https://git.example/planted?rev=1#1",
        "registry+https://index.example/",
        "sparse+https://index.example/",
        "something+new://example",
    ] {
        let (name, source) = ("planted".to_owned(), source.to_owned());
        let violations = violations_with(Package {
            source: Some(source.clone()),
            ..package(&name)
        });
        let package = name;
        let expected = if source.starts_with("git+") {
            RuleViolation::Git { package, source }
        } else {
            RuleViolation::Registry { package, source }
        };
        assert_eq!(violations, [expected]);
    }
}

#[test]
fn a_duplicate_package_is_reported_if_the_rules_deny_it() {
    let twice = [package("planted"), package("other"), package("planted")];
    assert_eq!(rules().violations(&twice), []);
    let text = text().replace(r#"multiple-versions = "allow""#, r#"multiple-versions = "deny""#);
    let rules = DenyRules::parse(&text).unwrap();
    let package = "planted".to_owned();
    assert_eq!(rules.violations(&twice), [RuleViolation::Twice { package }]);
}

#[test]
fn an_unknown_rule_is_an_error() {
    let text = text();
    for section in ["graph", "advisories", "licenses", "bans", "sources"] {
        let head = format!("[{section}]\n");
        assert!(text.contains(&head), "{section}");
        let more = text.replace(&head, &format!("{head}new-rule = 1\n"));
        assert!(
            DenyRules::parse(&more).is_err_and(|error| error.contains("new-rule")),
            "{section}"
        );
    }
    assert!(DenyRules::parse(&format!("{text}\n[output]\nfeature-depth = 1\n")).is_err());
    for (from, to) in [
        ("wildcards = \"deny\"", "wildcards = \"warn\""),
        ("unknown-git = \"deny\"", "unknown-git = \"warn\""),
        ("\"BSL-1.0\"", "\"BSL-9.0\""),
        ("crate = \"rsa\"", "crate = \"rsa@0.9\""),
        ("crate = \"rsa\",", "crate = \"rsa\", wrappers = [\"a\"],"),
        ("[licenses]\nversion = 2", "[licenses]\nversion = 3"),
    ] {
        let other = text.replace(from, to);
        assert_ne!(other, text, "{from}");
        assert!(DenyRules::parse(&other).is_err(), "{to}");
    }
}

/// Returns the packages that need a newer Rust than the workspace promises.
fn newer_than_ours(packages: &[Package]) -> Vec<String> {
    let parse = |version: &str| {
        let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap());
        (numbers.next().unwrap(), numbers.next().unwrap_or(0))
    };
    let ours = packages.iter().filter(|package| package.source.is_none());
    let ours = ours
        .filter_map(|package| package.rust_version.as_deref())
        .map(parse)
        .min();
    let ours = ours.expect("a rust-version in the workspace");
    let needs = |package: &&Package| {
        package
            .rust_version
            .as_deref()
            .is_some_and(|version| parse(version) > ours)
    };
    packages
        .iter()
        .filter(needs)
        .map(|package| package.name.clone())
        .collect()
}

#[test]
fn no_dependency_needs_a_newer_rust() {
    let mut packages = Package::of_workspace(root(), &rules().graph.targets[0]);
    assert_eq!(newer_than_ours(&packages), [""; 0]);
    packages.push(Package {
        rust_version: Some("1.999.0".to_owned()),
        ..package("future")
    });
    assert_eq!(newer_than_ours(&packages), ["future"]);
}
