//! The rules of `deny.toml`, and the violations of them.

use serde::Deserialize;
use spdx::{Expression, Licensee, ParseMode};

use super::package::Package;

/// The contents of `deny.toml`. A key or value that is not listed here is an error, so that no rule is ignored.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DenyRules {
    pub(super) graph: Graph,
    #[expect(dead_code, reason = "read so that an unknown key fails")]
    advisories: Advisories,
    licenses: Licenses,
    bans: Bans,
    sources: SourceRules,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Graph {
    /// The platforms whose dependencies are checked.
    pub(super) targets: Vec<String>,
}

/// Checked only by `cargo deny check`: the lists of advisories and of yanked versions come from the network.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read so that an unknown key fails")]
struct Advisories {
    version: SchemaVersion,
    yanked: LintLevel,
    unmaintained: UnmaintainedScope,
    ignore: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(dead_code, reason = "read so that an unknown key fails")]
struct Licenses {
    version: SchemaVersion,
    /// Used by `cargo deny` to identify a license from its text. Here, a package without a `license` field fails.
    confidence_threshold: f64,
    allow: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Bans {
    multiple_versions: LintLevel,
    wildcards: LintLevel,
    allow_wildcard_paths: bool,
    deny: Vec<Ban>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the reason is for readers")]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SourceRules {
    unknown_registry: LintLevel,
    unknown_git: LintLevel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum LintLevel {
    Allow,
    Deny,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum UnmaintainedScope {
    Workspace,
}

/// The version of a section's keys, which must be 2.
#[derive(Debug, Deserialize)]
#[serde(try_from = "u8")]
struct SchemaVersion;

impl TryFrom<u8> for SchemaVersion {
    type Error = &'static str;

    fn try_from(version: u8) -> Result<Self, Self::Error> {
        if version == 2 {
            Ok(Self)
        } else {
            Err("only version 2 of the keys is supported")
        }
    }
}

/// A violation of a rule: the name of the package, and what is wrong with it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RuleViolation {
    License { package: String, license: String },
    Banned { package: String },
    Twice { package: String },
    Wildcard { package: String, dependency: String },
    Registry { package: String, source: String },
    Git { package: String, source: String },
}

impl DenyRules {
    /// Reads `deny.toml`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let rules: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        if let Some(wrong) = rules
            .licenses
            .allow
            .iter()
            .find(|license| Licensee::parse(license).is_err())
        {
            return Err(format!("not an SPDX license: {wrong}"));
        }
        if let Some(ban) = rules.bans.deny.iter().find(|ban| ban.name.contains(['@', ':', ' '])) {
            return Err(format!("banning single versions is not supported: {}", ban.name));
        }
        Ok(rules)
    }

    /// Returns the names of the banned packages.
    pub(super) fn banned(&self) -> impl Iterator<Item = &str> {
        self.bans.deny.iter().map(|ban| ban.name.as_str())
    }

    /// Returns all violations of the rules for licenses, bans and sources.
    pub(super) fn violations(&self, packages: &[Package]) -> Vec<RuleViolation> {
        let mut violations = self.lock_violations(packages);
        for package in packages {
            let license = package.license.as_deref().unwrap_or_default();
            if !self.allows_license(license) {
                violations.push(RuleViolation::License {
                    package: package.name.clone(),
                    license: license.to_owned(),
                });
            }
            if self.bans.wildcards == LintLevel::Deny {
                let is_wildcard = |dependency: &&super::package::Dependency| {
                    dependency.req == "*" && !(self.bans.allow_wildcard_paths && package.may_have_path(dependency))
                };
                violations.extend(package.dependencies.iter().filter(is_wildcard).map(|dependency| {
                    RuleViolation::Wildcard {
                        package: package.name.clone(),
                        dependency: dependency.name.clone(),
                    }
                }));
            }
        }
        violations
    }

    /// Returns the violations that a lock file is enough to find: those of bans and sources.
    pub(super) fn lock_violations(&self, packages: &[Package]) -> Vec<RuleViolation> {
        let mut violations = Vec::new();
        let mut names = std::collections::BTreeSet::new();
        for package in packages {
            let name = || package.name.clone();
            if self.banned().any(|banned| banned == package.name) {
                violations.push(RuleViolation::Banned { package: name() });
            }
            if self.bans.multiple_versions == LintLevel::Deny && !names.insert(&package.name) {
                violations.push(RuleViolation::Twice { package: name() });
            }
            let Some(source) = &package.source else { continue };
            let is_git = source.starts_with("git+");
            let level = if is_git {
                self.sources.unknown_git
            } else {
                self.sources.unknown_registry
            };
            if level == LintLevel::Allow || (!is_git && is_crates_io(source)) {
                continue;
            }
            let (package, source) = (name(), source.clone());
            violations.push(if is_git {
                RuleViolation::Git { package, source }
            } else {
                RuleViolation::Registry { package, source }
            });
        }
        violations
    }

    /// Returns whether the allowed licenses satisfy an SPDX expression. Old manifests write `/` for `OR`.
    fn allows_license(&self, expression: &str) -> bool {
        let allowed: Vec<_> = self
            .licenses
            .allow
            .iter()
            .filter_map(|license| Licensee::parse(license).ok())
            .collect();
        Expression::parse_mode(expression, ParseMode::LAX).is_ok_and(|expression| {
            expression.evaluate(|demand| allowed.iter().any(|allowed| allowed.satisfies(demand)))
        })
    }
}

/// Returns whether `source` is crates.io, which is always allowed.
fn is_crates_io(source: &str) -> bool {
    matches!(
        source,
        "registry+https://github.com/rust-lang/crates.io-index" | "sparse+https://index.crates.io/"
    )
}
