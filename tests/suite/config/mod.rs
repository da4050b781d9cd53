//! The configuration as operators see it: one line for each problem, and an exit code.

mod checks;
mod commands;
mod keys;
mod problems;
mod values;

use std::{fs, path::Path, time::Duration};

use gateway_harness::{Ran, SECRET, gateway, run};
use rcgen::{CertificateParams, KeyPair};
use tokio::process::Command;

const DEADLINE: Duration = Duration::from_secs(10);

async fn node(arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
    let mut command = Command::new(gateway());
    command.env_clear().args(arguments).envs(environment.iter().copied());
    run(&mut command, DEADLINE).await
}

/// Asserts this exit code, one line on stderr that contains `parts`, and nothing on stdout. Returns the line.
fn assert_refused<'a>(ran: &'a Ran, code: i32, parts: &[&str]) -> &'a str {
    assert_eq!(ran.status.code(), Some(code), "{ran:?}");
    assert_eq!(ran.stdout, "");
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    for part in parts {
        assert!(ran.stderr.contains(part), "{part:?} is not in {:?}", ran.stderr);
    }
    &ran.stderr
}

fn config_file(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.toml");
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

/// Asserts that `serve` and `check-config` reject a file with the same lines. Returns these lines.
async fn both_refuse(path: &str) -> Vec<String> {
    let mut outputs = Vec::new();
    for command in ["serve", "check-config"] {
        let ran = node(&[command, "--config", path], &[]).await;
        assert_eq!((ran.status.code(), &*ran.stdout), (Some(64), ""), "{command}: {ran:?}");
        outputs.push(ran.stderr.lines().map(str::to_owned).collect::<Vec<_>>());
    }
    assert_eq!(outputs[0], outputs[1]);
    assert!(
        outputs[0].iter().all(|line| line.starts_with("configuration: ")),
        "{outputs:?}"
    );
    outputs.remove(0)
}

/// Writes a certificate for `localhost`, valid until January 1 of `year`, and its key.
fn certify(folder: &Path, name: &str, year: i32) {
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
    fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

/// Returns a `[server]` section whose `tls` has these files.
fn tls(certificate: &str, key: &str) -> String {
    format!("[server]\nbind = \"127.0.0.1:0\"\ntls = {{ certificate = \"{certificate}\", key = \"{key}\" }}\n")
}

/// Returns a `[[keys]]` block whose key has expired.
fn expired_key() -> String {
    format!("[[keys]]\nid = \"old\"\ntype = \"bot\"\nsecret = \"{SECRET}\"\nexpires_at = \"2020-01-01T00:00:00Z\"\n")
}
