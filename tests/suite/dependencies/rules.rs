//! The rules of `deny.toml`, and what breaks them.

use serde::Deserialize;
use spdx::{Expression, Licensee, ParseMode};

use super::package::Package;

/// All that `deny.toml` may say. A key or a value that is not listed here fails, so that no rule is passed over.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rules {
    pub(super) graph: Graph,
    #[expect(dead_code, reason = "read so that an unknown key fails")]
    advisories: Advisories,
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Graph {
    /// The platforms whose dependencies count.
    pub(super) targets: Vec<String>,
}

/// Left to `cargo deny check`: the list of advisories, and which versions were yanked, come from the network.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read so that an unknown key fails")]
struct Advisories {
    version: Version,
    yanked: Level,
    unmaintained: Scope,
    ignore: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(dead_code, reason = "read so that an unknown key fails")]
struct Licenses {
    version: Version,
    /// For guessing a license from its text: a package that names none fails here.
    confidence_threshold: f64,
    allow: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Bans {
    multiple_versions: Level,
    wildcards: Level,
    allow_wildcard_paths: bool,
    deny: Vec<Ban>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a reason is for people")]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Sources {
    unknown_registry: Level,
    unknown_git: Level,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Allow,
    Deny,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Scope {
    Workspace,
}

/// The version of a section's keys.
#[derive(Debug, Deserialize)]
#[serde(try_from = "u8")]
struct Version;

impl TryFrom<u8> for Version {
    type Error = &'static str;

    fn try_from(version: u8) -> Result<Self, Self::Error> {
        if version == 2 {
            Ok(Self)
        } else {
            Err("only version 2 of the keys is understood")
        }
    }
}

/// What breaks a rule: the name of the package, and what is wrong with it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Violation {
    License { package: String, license: String },
    Banned { package: String },
    Twice { package: String },
    Wildcard { package: String, dependency: String },
    Registry { package: String, source: String },
    Git { package: String, source: String },
}

impl Rules {
    /// Reads `deny.toml`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let rules: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        if let Some(wrong) = rules
            .licenses
            .allow
            .iter()
            .find(|license| Licensee::parse(license).is_err())
        {
            return Err(format!("no SPDX license: {wrong}"));
        }
        if let Some(ban) = rules.bans.deny.iter().find(|ban| ban.name.contains(['@', ':', ' '])) {
            return Err(format!("a ban of some versions is not understood: {}", ban.name));
        }
        Ok(rules)
    }

    /// The names of the packages that may not be there.
    pub(super) fn banned(&self) -> impl Iterator<Item = &str> {
        self.bans.deny.iter().map(|ban| ban.name.as_str())
    }

    /// What breaks the rules of licenses, bans and sources.
    pub(super) fn violations(&self, packages: &[Package]) -> Vec<Violation> {
        let mut violations = self.lock_violations(packages);
        for package in packages {
            let license = package.license.as_deref().unwrap_or_default();
            if !self.allows_license(license) {
                violations.push(Violation::License {
                    package: package.name.clone(),
                    license: license.to_owned(),
                });
            }
            if self.bans.wildcards == Level::Deny {
                let is_wildcard = |dependency: &&super::package::Dependency| {
                    dependency.req == "*" && !(self.bans.allow_wildcard_paths && package.may_have_path(dependency))
                };
                violations.extend(package.dependencies.iter().filter(is_wildcard).map(|dependency| {
                    Violation::Wildcard {
                        package: package.name.clone(),
                        dependency: dependency.name.clone(),
                    }
                }));
            }
        }
        violations
    }

    /// Those of them that a lock file alone shows: bans and sources.
    pub(super) fn lock_violations(&self, packages: &[Package]) -> Vec<Violation> {
        let mut violations = Vec::new();
        let mut names = std::collections::BTreeSet::new();
        for package in packages {
            let name = || package.name.clone();
            if self.banned().any(|banned| banned == package.name) {
                violations.push(Violation::Banned { package: name() });
            }
            if self.bans.multiple_versions == Level::Deny && !names.insert(&package.name) {
                violations.push(Violation::Twice { package: name() });
            }
            let Some(source) = &package.source else { continue };
            let is_git = source.starts_with("git+");
            let level = if is_git {
                self.sources.unknown_git
            } else {
                self.sources.unknown_registry
            };
            if level == Level::Allow || (!is_git && is_crates_io(source)) {
                continue;
            }
            let (package, source) = (name(), source.clone());
            violations.push(if is_git {
                Violation::Git { package, source }
            } else {
                Violation::Registry { package, source }
            });
        }
        violations
    }

    /// Whether everything that the SPDX expression demands is allowed. Old manifests write `/` for `OR`.
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

/// The registry that is known when none is named.
fn is_crates_io(source: &str) -> bool {
    matches!(
        source,
        "registry+https://github.com/rust-lang/crates.io-index" | "sparse+https://index.crates.io/"
    )
}
