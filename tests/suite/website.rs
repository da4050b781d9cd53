//! The example of a website, as it is: a page in a browser that connects through a balancer with tickets.

use std::{net::SocketAddr, path::PathBuf, process::Stdio};

use gateway_harness::{
    Balancer, Nginx, NodeProcess, RedisProcess, Setup, V1Client, WAIT, full_setup, key, publish, ready, tool,
    within_time,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use crate::root;

const SITE: &str = r#"
[[keys]]
id = "site"
type = "service"
permissions = ["tickets", "publish"]
secret = "correct-horse-battery-staple-0123456789"

[[events]]
name = "guild_note"
from = ["website", "service"]
to = ["bot", "website"]
deliver = { guild = "/guildId" }
"#;

async fn start(server: &RedisProcess, warning_ms: u64) -> NodeProcess {
    let setup: Setup = full_setup().more(SITE).redis(&server.url());
    let setup = setup
        .set("cluster.lease_ms", 1000)
        .set("v1.session_expiring_ms", warning_ms);
    let node = setup.start().await;
    ready(&node).await;
    node
}

/// The backend of the website. It is killed on drop.
struct Backend {
    _child: Child,
    url: String,
}

impl Backend {
    /// Starts a backend whose pages reach the gateway at `gateway`, with sessions of this length.
    async fn start(gateway: SocketAddr, session_ms: u64) -> Self {
        let mut child = Command::new(tool("UTILBOT_TEST_NODE", "Node.js, 20 or later"))
            .arg(root().join("docs/examples/website/backend.mjs"))
            .env("UTILBOT_URL", format!("http://{gateway}"))
            .env("UTILBOT_KEY", key("site"))
            .env("SESSION_MS", session_ms.to_string())
            .env("PORT", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the backend starts");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is a pipe")).lines();
        let line = within_time("the backend's address", WAIT, lines.next_line()).await;
        let line = line.expect("stdout can be read").expect("the backend runs");
        let url = line.rsplit(' ').next().expect("an address").to_owned();
        Self { _child: child, url }
    }
}

/// A page in a browser. The browser ends when this is dropped.
struct BrowserPage {
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl BrowserPage {
    async fn open(url: &str) -> Self {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../clients/browser/page.py");
        let mut child = Command::new(tool(
            "UTILBOT_TEST_PYTHON",
            "python with the packages of tests/requirements.txt",
        ))
        .arg(script)
        .args(["--url", url])
        .arg("--browser")
        .arg(tool("UTILBOT_TEST_BROWSER", "a Chromium that runs headless"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the browser's driver starts");
        let mut page = Self {
            input: child.stdin.take().expect("stdin is a pipe"),
            output: BufReader::new(child.stdout.take().expect("stdout is a pipe")).lines(),
            _child: child,
        };
        assert_eq!(page.line().await, "opened");
        page
    }

    async fn line(&mut self) -> Value {
        let line = within_time("the page", 3 * WAIT, self.output.next_line()).await;
        let line = line.expect("stdout can be read").expect("the driver runs");
        serde_json::from_str(&line).expect("JSON")
    }

    /// Evaluates a JavaScript expression in the page.
    async fn evaluate(&mut self, expression: &str) -> Value {
        let line = format!("{expression}\n");
        self.input.write_all(line.as_bytes()).await.expect("the driver reads");
        self.line().await
    }

    /// Waits until an expression is true. The page is asked once for each change of its content.
    async fn until(&mut self, expression: &str) {
        let waiting = format!(
            "new Promise((resolve) => {{ const look = () => {{ if ({expression}) {{ observer.disconnect(); \
             resolve(true); }} }}; const observer = new MutationObserver(look); observer.observe(document, \
             {{ subtree: true, childList: true, characterData: true }}); look(); }})"
        );
        assert_eq!(self.evaluate(&waiting).await, true, "{expression}");
    }

    async fn shows(&mut self, state: &str) {
        self.until(&format!("document.querySelector('#state').textContent === '{state}'"))
            .await;
    }

    async fn notes(&mut self) -> Value {
        self.evaluate("[...document.querySelectorAll('#notes li')].map((note) => note.textContent)")
            .await
    }
}

/// Starts two nodes with a Redis. A session is announced to end 30 s before it does.
async fn two_nodes(server: &RedisProcess) -> ([NodeProcess; 2], [SocketAddr; 3]) {
    let nodes = [start(server, 30_000).await, start(server, 30_000).await];
    let [first, second] = [&nodes[0], &nodes[1]].map(NodeProcess::address);
    (nodes, [first, second, second])
}

#[tokio::test]
async fn a_page_with_nothing_but_tickets_receives_sends_and_renews_through_the_balancer() {
    let server = RedisProcess::start().await;
    let (nodes, addresses) = two_nodes(&server).await;
    let balancer = Balancer::start(addresses).await;
    a_page_receives_sends_and_renews(&nodes, balancer.address()).await;
}

#[tokio::test]
async fn a_page_with_nothing_but_tickets_receives_sends_and_renews_through_nginx() {
    let server = RedisProcess::start().await;
    let (nodes, addresses) = two_nodes(&server).await;
    let nginx = Nginx::start(addresses).await;
    a_page_receives_sends_and_renews(&nodes, nginx.address()).await;
}

async fn a_page_receives_sends_and_renews(nodes: &[NodeProcess; 2], gateway: SocketAddr) {
    // A session is announced to end after a second.
    let backend = Backend::start(gateway, 31_000).await;
    let mut bot = V1Client::session(&nodes[0], "bot", &key("bot")).await;
    bot.send(&json!({ "op": 1, "t": "send_servers", "n": 0, "d": { "guilds": ["42", "43"] } }))
        .await;
    while bot.next().await["n"] != 0 {}

    let mut page = BrowserPage::open(&backend.url).await;
    // It was connected before its session was announced to end and was renewed.
    page.shows("renewed").await;
    for (guild, text) in [("43", "of another guild"), ("42", "of its guild")] {
        publish(
            &nodes[1],
            &key("site"),
            &json!({ "t": "guild_note", "d": { "guildId": guild, "text": text } }),
        )
        .await;
    }
    page.until("document.querySelectorAll('#notes li').length > 0").await;
    assert_eq!(page.notes().await, json!(["the gateway: of its guild"]));

    let accepted = page
        .evaluate("gateway.send('guild_note', { guildId: '42', text: 'hello', user: 'admin' })")
        .await;
    assert!(accepted["position"].is_string(), "{accepted}");
    let received = loop {
        let text = bot.next_text().await.unwrap();
        if text.contains("hello") {
            break text;
        }
    };
    let expected = r#"{"op":0,"t":"guild_note","u":"ada","d":{"guildId":"42","text":"hello","user":"admin"}}"#;
    assert_eq!(received, expected);
    for expression in [
        "gateway.send('guild_note', { guildId: '43', text: 'x' })",
        "gateway.send('announce', {})",
    ] {
        let refused = page
            .evaluate(&format!("{expression}.catch((refusal) => refusal.code)"))
            .await;
        assert_eq!(refused, "not_allowed");
    }
    // A log-out ends the session, and the page comes back with a new ticket.
    let logged_out = page
        .evaluate("fetch('/log-out?user=ada', { method: 'POST' }).then((it) => it.status)")
        .await;
    assert_eq!(logged_out, 204);
    page.until("['lost', 'connected'].includes(document.querySelector('#state').textContent)")
        .await;
    page.until("['connected', 'renewed'].includes(document.querySelector('#state').textContent)")
        .await;
    publish(
        &nodes[0],
        &key("site"),
        &json!({ "t": "guild_note", "d": { "guildId": "42", "text": "back" } }),
    )
    .await;
    page.until("document.querySelector('#notes').textContent.includes('back')")
        .await;
}
