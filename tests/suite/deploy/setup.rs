//! `deploy/setup.sh`: writes a configuration with a usable key.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use gateway_harness::{Ran, gateway, run};
use tempfile::TempDir;
use tokio::process::Command;

use super::root;

/// A folder with the files that `deploy/setup.sh` reads and writes, as in the service `setup`.
struct SetupScript {
    folder: TempDir,
}

impl SetupScript {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        fs::copy(root().join("deploy/gateway.toml"), folder.path().join("source.toml")).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    async fn run(&self) -> Ran {
        let programs = format!("{}:/usr/bin:/bin", gateway().parent().map(Path::display).unwrap());
        let mut command = Command::new("sh");
        command
            .env_clear()
            .env("PATH", programs)
            .arg(root().join("deploy/setup.sh"))
            .args([self.path("source.toml"), self.path("gateway.toml")])
            .arg(self.folder.path());
        run(&mut command, Duration::from_secs(20)).await
    }

    async fn keys(&self) -> Vec<String> {
        let mut command = Command::new(gateway());
        command
            .env_clear()
            .args(["keys", "list", "--config"])
            .arg(self.path("gateway.toml"));
        let ran = run(&mut command, Duration::from_secs(10)).await;
        let lines = ran.stdout.lines().skip(1);
        lines.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn setup_makes_a_key_once_and_keeps_it() {
    let setup = SetupScript::new();
    let ran = setup.run().await;
    assert!(ran.status.success(), "{ran:?}");
    assert_eq!(setup.keys().await, ["example", "first"]);

    let key = setup.text("key");
    let (id, secret) = key.trim().split_once('.').unwrap();
    assert_eq!(id, "first");
    for text in [
        &ran.stdout,
        &ran.stderr,
        &setup.text("gateway.toml"),
        &setup.text("key.toml"),
    ] {
        assert!(!text.contains(secret), "the secret is shown");
    }
    let mode = fs::metadata(setup.path("key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");

    assert!(setup.run().await.status.success());
    assert_eq!(setup.text("key"), key);
    assert_eq!(setup.keys().await, ["example", "first"]);
}

#[tokio::test]
async fn setup_removes_its_key_when_there_is_another() {
    let setup = SetupScript::new();
    assert!(setup.run().await.status.success());
    let mine = "\n[[keys]]\nid = 'mine'\ntype = 'bot'\nsecret = 'correct-horse-battery-staple-0123456789'\n";
    fs::write(setup.path("source.toml"), setup.text("source.toml") + mine).unwrap();
    assert!(setup.run().await.status.success());
    assert_eq!(setup.keys().await, ["example", "mine"]);
    assert!(!setup.path("key").exists() && !setup.path("key.toml").exists());
}

#[tokio::test]
async fn an_invalid_configuration_replaces_nothing() {
    let setup = SetupScript::new();
    assert!(setup.run().await.status.success());
    let before = setup.text("gateway.toml");
    fs::write(setup.path("source.toml"), "[server]\nbimd = ''\n").unwrap();
    let ran = setup.run().await;
    assert_eq!(ran.status.code(), Some(64), "{ran:?}");
    assert!(ran.stderr.contains("bimd"), "{ran:?}");
    assert_eq!(setup.text("gateway.toml"), before);
}
