//! Connections over `wss://`, and renewed certificates.

use std::{fs, path::Path, sync::Arc};

use gateway_harness::{NodeProcess, PacketEncoding, Raw, Setup, V1Client, WAIT, eventually, full_setup, key, within};
use nix::sys::signal::Signal;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
};

/// Writes a new certificate for `localhost`. Returns a root store that trusts it.
pub(crate) fn renew(folder: &Path) -> RootCertStore {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(folder.join("chain.pem"), cert.pem()).unwrap();
    fs::write(folder.join("key.pem"), signing_key.serialize_pem()).unwrap();
    let mut trusted = RootCertStore::empty();
    trusted.add(cert.der().clone()).unwrap();
    trusted
}

fn secured(folder: &Path) -> Setup {
    full_setup()
        .set("server.tls.certificate", folder.join("chain.pem").display())
        .set("server.tls.key", folder.join("key.pem").display())
}

pub(crate) async fn secured_node() -> (NodeProcess, TempDir, RootCertStore) {
    secured_node_with(|setup| setup).await
}

/// Starts a node with TLS and the settings that `change` adds. Returns it with the folder of its certificate and a root
/// store that trusts it.
pub(crate) async fn secured_node_with(change: impl FnOnce(Setup) -> Setup) -> (NodeProcess, TempDir, RootCertStore) {
    let folder = tempfile::tempdir().unwrap();
    let trusted = renew(folder.path());
    (change(secured(folder.path())).start().await, folder, trusted)
}

/// Opens a TLS connection to the node with these trusted roots.
pub(crate) async fn stream(node: &NodeProcess, trusted: RootCertStore) -> TlsStream<TcpStream> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(trusted)
        .with_no_client_auth();
    let socket = within("connecting", TcpStream::connect(node.address())).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let secured = TlsConnector::from(Arc::new(config)).connect(name, socket);
    within("the TLS handshake", secured).await.unwrap()
}

async fn session(node: &NodeProcess, trusted: &RootCertStore, kind: &str, encoding: PacketEncoding) -> V1Client {
    let mut client = V1Client::open_tls(node.address(), trusted.clone(), encoding)
        .await
        .unwrap();
    assert_eq!(client.next().await["op"], 5);
    client.identify(kind, &key(kind)).await;
    client
}

#[tokio::test]
async fn sessions_over_tls_speak_the_same_protocol() {
    let (mut node, _folder, trusted) = secured_node().await;
    let url = node.banner()["url"].as_str().unwrap().to_owned();
    assert!(url.starts_with("wss://"), "{url}");
    let mut bot = session(&node, &trusted, "bot", PacketEncoding::Zlib).await;
    bot.event("GLOBAL_GUILD_COUNT").await;
    let mut website = session(&node, &trusted, "website", PacketEncoding::Plain).await;
    // Larger than one TLS record.
    let large = json!({ "padding": "x".repeat(60_000) });
    for _ in 0..20 {
        website.send_event("announce", &large).await;
    }
    for _ in 0..20 {
        assert_eq!(bot.event("announce").await, large);
    }
    website.heartbeat().await;
    website.send(&json!({})).await;
    website.error(4003, 4003).await;
    node.signal(Signal::SIGTERM);
    bot.error(1000, 1012).await;
    drop((bot, website));
    assert!(node.ended(WAIT).await.success());
}

#[tokio::test]
async fn a_client_without_tls_does_not_affect_others() {
    let (mut node, _folder, trusted) = secured_node().await;
    let mut bot = session(&node, &trusted, "bot", PacketEncoding::Plain).await;
    bot.event("GLOBAL_GUILD_COUNT").await;
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        &[0x16, 3, 1, 0xff, 0xff, 0, 0],
        &[0; 1000],
    ] {
        let mut raw = Raw::connect(node.address()).await;
        raw.send(bytes).await;
    }
    bot.heartbeat().await;
    assert!(node.lives());
}

#[tokio::test]
async fn sighup_reloads_a_renewed_certificate_and_keeps_live_sessions() {
    let (node, folder, old) = secured_node().await;
    let mut lives = session(&node, &old, "website", PacketEncoding::Plain).await;
    let new = renew(folder.path());
    node.signal(Signal::SIGHUP);
    let mut renewed = eventually("the new certificate", async || {
        V1Client::open_tls(node.address(), new.clone(), PacketEncoding::Plain)
            .await
            .ok()
    })
    .await;
    assert_eq!(renewed.next().await["op"], 5);
    lives.heartbeat().await;
    assert!(
        V1Client::open_tls(node.address(), old, PacketEncoding::Plain)
            .await
            .is_err()
    );
    // An invalid certificate is not loaded.
    fs::write(folder.path().join("chain.pem"), "broken").unwrap();
    node.signal(Signal::SIGHUP);
    node.logged("was not applied").await;
    V1Client::open_tls(node.address(), new, PacketEncoding::Plain)
        .await
        .unwrap();
    lives.heartbeat().await;
}
