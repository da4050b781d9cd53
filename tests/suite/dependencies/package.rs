//! Packages and their dependencies, from `cargo metadata` or a lock file.

use std::{fs, path::Path, process::Command};

use serde::Deserialize;

/// A package as `cargo metadata` describes it. From a lock file, only name and source are set.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Package {
    pub(super) name: String,
    /// The registry or repository that it comes from. `None` for a path.
    pub(super) source: Option<String>,
    pub(super) license: Option<String>,
    /// The oldest Rust that it builds with, if it says so.
    pub(super) rust_version: Option<String>,
    pub(super) dependencies: Vec<Dependency>,
    /// The registries that it may be published to. `None` allows any.
    pub(super) publish: Option<Vec<String>>,
}

/// An entry in the dependencies of a package.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Dependency {
    pub(super) name: String,
    /// The version requirement.
    pub(super) req: String,
    /// `dev` or `build`; `None` for a normal dependency.
    pub(super) kind: Option<String>,
    pub(super) path: Option<String>,
}

impl Package {
    /// Returns whether `dependency` may be a path without a version: it is a path, and is never published, because the
    /// package is private or the dependency is for development only.
    pub(super) fn may_have_path(&self, dependency: &Dependency) -> bool {
        let is_private = self.publish.as_ref().is_some_and(Vec::is_empty);
        dependency.path.is_some() && (is_private || dependency.kind.as_deref() == Some("dev"))
    }

    /// Returns all packages of the workspace at `root` for a platform, with all features.
    pub(super) fn of_workspace(root: &Path, target: &str) -> Vec<Self> {
        #[derive(Deserialize)]
        struct Metadata {
            packages: Vec<Package>,
        }
        let output = Command::new(env!("CARGO"))
            .args([
                "metadata",
                "--locked",
                "--offline",
                "--all-features",
                "--format-version",
                "1",
            ])
            .args(["--filter-platform", target, "--manifest-path"])
            .arg(root.join("Cargo.toml"))
            .output()
            .expect("cargo starts");
        assert!(
            output.status.success(),
            "if a package is missing, run `cargo fetch --locked --target {target}`: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let metadata: Metadata = serde_json::from_slice(&output.stdout).expect("metadata");
        metadata.packages
    }

    /// Returns all packages that a lock file lists.
    pub(super) fn of_lock_file(path: &Path) -> Vec<Self> {
        #[derive(Deserialize)]
        struct Lock {
            package: Vec<Locked>,
        }
        #[derive(Deserialize)]
        struct Locked {
            name: String,
            source: Option<String>,
        }
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let lock: Lock = toml::from_str(&text).expect("a lock file");
        let package = |Locked { name, source }| Self {
            name,
            source,
            ..Self::default()
        };
        lock.package.into_iter().map(package).collect()
    }
}
