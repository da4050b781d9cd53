//! Runs the files of `docs/examples` as they are, against a real node: each bot prints what `publish.sh` publishes, and is
//! back after the gateway has asked it to reconnect.

use std::{fs, os::unix::fs::symlink, path::PathBuf, process::Stdio, time::Duration};

use gateway_harness::{KEYS, NodeProcess, Ran, Setup, WAIT, eventually, gateway, key, request, run, tool, within_time};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, Command},
    sync::watch,
    time::timeout,
};

use crate::root;

/// How long a process that has closed standard output may take to close standard error.
const EXIT_DEADLINE: Duration = Duration::from_secs(5);

/// What the bots on version 1 print when they have identified.
const V1_READY: &str = "bot_connect_success ";

fn folder() -> PathBuf {
    root().join("docs/examples")
}

fn example(name: &str) -> PathBuf {
    folder().join(name)
}

/// Points an example at the node, with the key of development mode.
fn point_at<'a>(node: &NodeProcess, command: &'a mut Command) -> &'a mut Command {
    command
        .env("UTILBOT_URL", format!("http://{}", node.address()))
        .env("UTILBOT_KEY", node.development_key())
}

/// A running example. It is killed when this is dropped.
struct Bot {
    _child: Child,
    stdout: watch::Receiver<String>,
    stderr: watch::Receiver<String>,
    /// How many bytes of standard output have been searched with success.
    seen: usize,
    /// The folder of a script that runs beside its packages.
    _folder: Option<TempDir>,
}

impl Bot {
    fn start(node: &NodeProcess, command: Command, folder: Option<TempDir>) -> Self {
        Self::start_as(node, command, folder, None)
    }

    /// Starts an example with this key, or with that of development mode.
    fn start_as(node: &NodeProcess, mut command: Command, folder: Option<TempDir>, key: Option<&str>) -> Self {
        command.env("UTILBOT_KEY", key.map_or_else(|| node.development_key(), str::to_owned));
        command
            .env("UTILBOT_URL", format!("http://{}", node.address()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().expect("the example starts");
        Self {
            stdout: follow(child.stdout.take().expect("stdout is a pipe")),
            stderr: follow(child.stderr.take().expect("stderr is a pipe")),
            seen: 0,
            _child: child,
            _folder: folder,
        }
    }

    fn python(node: &NodeProcess, script: &str) -> Self {
        let mut command = Command::new(tool(
            "UTILBOT_TEST_PYTHON",
            "python with the packages of tests/requirements.txt",
        ));
        command.arg(example(script));
        Self::start(node, command, None)
    }

    /// Node.js looks for packages beside the script, so this runs a copy of it beside those that the variable names.
    fn node_js(node: &NodeProcess, script: &str, modules: &str) -> Self {
        Self::node_js_as(node, script, modules, None)
    }

    fn node_js_as(node: &NodeProcess, script: &str, modules: &str, key: Option<&str>) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the script");
        let copy = folder.path().join(script);
        fs::copy(example(script), &copy).expect("the example can be copied");
        let modules = tool(modules, "the node_modules folder with the packages of the example");
        symlink(modules, folder.path().join("node_modules")).expect("the packages can be linked");
        let mut command = Command::new(tool("UTILBOT_TEST_NODE", "Node.js, 20 or later"));
        command.arg(copy);
        Self::start_as(node, command, Some(folder), key)
    }

    /// Like [`node_js`](Self::node_js), with a key of the configuration.
    fn node_js_with_key(node: &NodeProcess, script: &str, key: &str) -> Self {
        Self::node_js_as(node, script, "UTILBOT_TEST_NODE_MODULES", Some(key))
    }

    /// Waits until the bot prints `text`, behind everything that earlier calls have found.
    async fn prints(&mut self, text: &str) {
        let seen = self.seen;
        let mut end = None;
        let is_printed = |printed: &String| {
            end = printed[seen..].find(text).map(|start| seen + start + text.len());
            end.is_some()
        };
        let outcome = timeout(WAIT, self.stdout.wait_for(is_printed)).await;
        let has_ended = matches!(outcome, Ok(Err(_)));
        drop(outcome);
        let Some(end) = end else {
            if has_ended {
                // What it printed last on standard error may still be on its way.
                let closed = self.stderr.wait_for(|_| false);
                within_time("the end of standard error", EXIT_DEADLINE, closed)
                    .await
                    .ok();
            }
            panic!(
                "`{text}` is not printed, {}\nstdout: {}\nstderr: {}",
                if has_ended {
                    "and the example has ended"
                } else {
                    "in time"
                },
                *self.stdout.borrow(),
                *self.stderr.borrow()
            );
        };
        self.seen = end;
    }
}

/// Collects everything that is printed, for as long as the process lives, so that the pipe never fills.
fn follow(mut pipe: impl AsyncRead + Send + Unpin + 'static) -> watch::Receiver<String> {
    let (text, follower) = watch::channel(String::new());
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
            text.send_modify(|text| text.push_str(&String::from_utf8_lossy(&buffer[..count])));
        }
    });
    follower
}

/// Runs `publish.sh` to its end.
async fn publish_sh(node: &NodeProcess, event: &str) -> Ran {
    let mut command = Command::new(example("publish.sh"));
    command.arg(event).current_dir(folder());
    run(point_at(node, &mut command), WAIT).await
}

async fn publish(node: &NodeProcess, event: &str) {
    let ran = publish_sh(node, event).await;
    assert!(ran.status.success() && ran.stdout.contains("offset"), "{ran:?}");
}

async fn announce(node: &NodeProcess, text: &str) {
    let event = json!({ "t": "announce", "d": { "text": text } });
    publish(node, &event.to_string()).await;
}

/// Asks every client to reconnect: by op 7 on Discord's protocol, by error 1000 and close code 1012 on version 1.
async fn reconnect_all(node: &NodeProcess) {
    let bearer = format!("Bearer {}", node.development_key());
    let headers = [("authorization", bearer.as_str())];
    let target = "/api/v1/sessions/reconnect?spread_ms=0";
    let answer = request(node.address(), "POST", target, &headers, "").await;
    assert_eq!(answer.json(), json!({ "sessions": 1 }), "{answer:?}");
}

async fn v1_bot_prints_an_event(node: &NodeProcess, mut bot: Bot) {
    bot.prints(V1_READY).await;
    announce(node, "hello").await;
    bot.prints("announce ").await;
    bot.prints("hello").await;
}

async fn v1_bot_reconnects(node: &NodeProcess, mut bot: Bot) {
    bot.prints(V1_READY).await;
    reconnect_all(node).await;
    bot.prints("error 1000").await;
    bot.prints(V1_READY).await;
    announce(node, "hello again").await;
    bot.prints("hello again").await;
}

async fn discord_bot_prints_a_message(node: &NodeProcess, mut bot: Bot) {
    bot.prints("ready as utilbot").await;
    publish(node, "@message.json").await;
    bot.prints("ada: hello").await;
}

async fn discord_bot_resumes(node: &NodeProcess, mut bot: Bot) {
    bot.prints("ready as utilbot").await;
    reconnect_all(node).await;
    bot.prints("resumed").await;
    publish(node, "@message.json").await;
    bot.prints("ada: hello").await;
}

fn v1_py(node: &NodeProcess) -> Bot {
    Bot::python(node, "v1_bot.py")
}

fn v1_js(node: &NodeProcess) -> Bot {
    Bot::node_js(node, "v1_bot.mjs", "UTILBOT_TEST_NODE_MODULES")
}

fn discord_py(node: &NodeProcess) -> Bot {
    Bot::python(node, "discord_py_bot.py")
}

fn discord_js(node: &NodeProcess) -> Bot {
    Bot::node_js(node, "discord_js_bot.mjs", "UTILBOT_TEST_DISCORDJS_MODULES")
}

#[tokio::test]
async fn the_python_bot_prints_an_event() {
    let node = Setup::new().start().await;
    v1_bot_prints_an_event(&node, v1_py(&node)).await;
}

#[tokio::test]
async fn the_node_js_bot_prints_an_event() {
    let node = Setup::new().start().await;
    v1_bot_prints_an_event(&node, v1_js(&node)).await;
}

#[tokio::test]
async fn the_discord_py_bot_prints_a_message() {
    let node = Setup::new().start().await;
    discord_bot_prints_a_message(&node, discord_py(&node)).await;
}

#[tokio::test]
async fn the_discord_js_bot_prints_a_message() {
    let node = Setup::new().start().await;
    discord_bot_prints_a_message(&node, discord_js(&node)).await;
}

/// What `answer_bot.mjs` needs: an event that is a request. Without it, the key of development mode would do.
const REQUEST: &str = r#"
[[keys]]
id = "bot"
type = "bot"
secret = "correct-horse-battery-staple-0123456789"

[[keys]]
id = "service"
type = "service"
permissions = ["publish"]
secret = "correct-horse-battery-staple-0123456789"

[[events]]
name = "get_guild_settings"
from = ["website", "service"]
to = ["bot"]
deliver = { guild = "/guildId" }
reply = true
"#;

#[tokio::test]
async fn the_answering_bot_replies_to_requests() {
    let node = Setup::new().file(REQUEST).start().await;
    let mut bot = Bot::node_js_with_key(&node, "answer_bot.mjs", &key("bot"));
    bot.prints(V1_READY).await;
    let bearer = format!("Bearer {}", key("service"));
    let ask = async |guild: &str| {
        let body = json!({ "t": "get_guild_settings", "d": { "guildId": guild } }).to_string();
        let headers = [("authorization", bearer.as_str())];
        request(node.address(), "POST", "/api/v1/requests", &headers, &body).await
    };
    let settings = ask("42").await;
    assert_eq!(
        (settings.status, settings.json()),
        (200, json!({ "d": { "prefix": "!" } }))
    );
    let unknown = ask("44").await;
    assert_eq!(
        (unknown.status, &unknown.json()["error"]["code"]),
        (502, &json!("unknown_guild"))
    );
    assert_eq!(ask("45").await.status, 409);
}

/// The job for the bot in `job_worker.mjs`.
const JOB: &str = r#"
[[events]]
name = "render"
from = ["service"]
to = ["bot"]
deliver = "any"
ack_timeout_ms = 30000
"#;

#[tokio::test]
async fn the_job_worker_acknowledges_jobs_and_gives_back_those_that_fail() {
    let node = Setup::new().file(&format!("{JOB}{KEYS}")).start().await;
    let mut bot = Bot::node_js_with_key(&node, "job_worker.mjs", &key("bot"));
    bot.prints(V1_READY).await;
    let bearer = format!("Bearer {}", key("root"));
    let headers = [("authorization", bearer.as_str())];
    for d in [json!({ "page": 1 }), json!({ "page": 2, "fail": true })] {
        let body = json!({ "t": "render", "d": d }).to_string();
        let answer = request(node.address(), "POST", "/api/v1/events", &headers, &body).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        bot.prints(&format!("render {d}")).await;
    }
    eventually("the first job is done, and the second one waits", async || {
        let answer = request(node.address(), "GET", "/api/v1/jobs", &headers, "")
            .await
            .json();
        let jobs = answer["jobs"].as_array()?;
        let [job] = &jobs[..] else { return None };
        (job["d"]["page"] == 2 && job["state"] == "waiting" && job["attempts"] == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn connect_takes_a_job_and_acknowledges_it() {
    let node = Setup::new().file(&format!("{JOB}{KEYS}")).start().await;
    let mut client = Command::new(gateway())
        .args(["connect", "--url", &format!("ws://{}/", node.address()), "--jobs", "1"])
        .env("UTILBOT_KEY", key("bot"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the node's binary starts");
    let bearer = format!("Bearer {}", key("root"));
    let headers = [("authorization", bearer.as_str())];
    let body = r#"{"t":"render","d":{"page":1}}"#;
    let answer = request(node.address(), "POST", "/api/v1/events", &headers, body).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let mut lines = BufReader::new(client.stdout.take().expect("a pipe")).lines();
    let receipt = within_time("a job", WAIT, async {
        while let Some(line) = lines.next_line().await.expect("text") {
            let line: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            if let Some(receipt) = line["other"]["r"].as_str() {
                return receipt.to_owned();
            }
        }
        panic!("the client has ended");
    })
    .await;
    let mut input = client.stdin.take().expect("a pipe");
    input
        .write_all(format!("ack {receipt}\n").as_bytes())
        .await
        .expect("the client reads");
    eventually("the job is done", async || {
        let jobs = request(node.address(), "GET", "/api/v1/jobs", &headers, "")
            .await
            .json();
        (jobs["jobs"] == json!([])).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_python_bot_reconnects() {
    let node = Setup::new().start().await;
    v1_bot_reconnects(&node, v1_py(&node)).await;
}

#[tokio::test]
async fn the_node_js_bot_reconnects() {
    let node = Setup::new().start().await;
    v1_bot_reconnects(&node, v1_js(&node)).await;
}

#[tokio::test]
async fn the_discord_py_bot_resumes() {
    let node = Setup::new().start().await;
    discord_bot_resumes(&node, discord_py(&node)).await;
}

#[tokio::test]
async fn the_discord_js_bot_resumes() {
    let node = Setup::new().start().await;
    discord_bot_resumes(&node, discord_js(&node)).await;
}

#[tokio::test]
async fn the_publisher_fails_and_prints_why_when_an_event_is_refused() {
    let node = Setup::new().start().await;
    let ran = publish_sh(&node, r#"{"t":"unheard_of","d":{}}"#).await;
    assert!(!ran.status.success(), "{ran:?}");
    assert!(ran.stdout.contains("Unknown event."), "{ran:?}");
}

#[test]
fn the_readme_contains_the_discord_js_example() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md can be read");
    let (_, rest) = readme.split_once("```js\n").expect("README.md shows a bot");
    let (shown, _) = rest.split_once("```").expect("the bot in README.md ends");
    let bot = fs::read_to_string(example("discord_js_bot.mjs")).expect("the example can be read");
    let (_, code) = bot.split_once("\n\n").expect("the example begins with a comment");
    let lines = |text: &str| -> Vec<String> {
        let written = text.lines().filter(|line| !line.is_empty());
        written.map(str::to_owned).collect()
    };
    assert_eq!(lines(shown), lines(code));
}
