//! Runs the client against a scripted gateway. Every test has a deadline.

use std::{future::Future, io::Write as _};

use flate2::{Compression as Level, write::ZlibEncoder};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, accept_async,
    tungstenite::{
        Message,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use super::{client::ClientInput, *};

const DEADLINE: Duration = Duration::from_secs(20);
const KEY: &str = "id.verysecretverysecret";

/// The gateway's side of one connection.
struct FakeGateway(WebSocketStream<TcpStream>);

impl FakeGateway {
    async fn send(&mut self, packet: Value) {
        self.0.send(Message::text(packet.to_string())).await.unwrap();
    }

    async fn hello(&mut self, interval: u64) {
        self.send(json!({"op": 5, "d": {"hearbeat": interval}})).await;
    }

    /// Returns the next packet that is not a heartbeat. Acknowledges heartbeats.
    async fn packet(&mut self) -> Option<Value> {
        loop {
            match self.0.next().await?.ok()? {
                Message::Text(text) => {
                    let packet: Value = serde_json::from_str(&text).unwrap();
                    if packet["op"] != 10 {
                        return Some(packet);
                    }
                    self.send(json!({"op": 11})).await;
                }
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }

    /// Sends Hello, receives the identify and starts a session.
    async fn session(&mut self) -> Value {
        self.hello(60_000).await;
        let identify = self.packet().await.unwrap();
        self.send(json!({"op": 0, "t": "bot_connect_success", "d": {"id": "1"}}))
            .await;
        identify
    }

    async fn close(&mut self, code: u16) {
        let frame = CloseFrame {
            code: CloseCode::from(code),
            reason: "bye".into(),
        };
        self.0.close(Some(frame)).await.unwrap();
        while let Some(Ok(_)) = self.0.next().await {}
    }
}

/// Runs `script` for the first connection. Returns the URL and the script's task.
async fn gateway<F, R>(script: F) -> (String, JoinHandle<R::Output>)
where
    F: FnOnce(TcpListener, FakeGateway) -> R + Send + 'static,
    R: Future<Output: Send + 'static> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/?v=1", listener.local_addr().unwrap());
    let played = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let peer = FakeGateway(accept_async(socket).await.unwrap());
        timeout(DEADLINE, script(listener, peer))
            .await
            .expect("the script timed out")
    });
    (url, played)
}

fn options(url: String) -> ClientOptions {
    ClientOptions {
        unix: None,
        url,
        tls: None,
        key: KEY.into(),
        client_type: shared::client_type::ClientType::Bot,
        scope: IdentifyScope::default(),
        servers: None,
        reconnect: false,
        count: None,
        on_eof: OnEof::Stay,
    }
}

struct RunOutcome {
    code: u8,
    lines: Vec<Value>,
}

impl RunOutcome {
    fn event(&self, name: &str) -> Option<&Value> {
        self.lines.iter().find(|line| line["event"] == name)
    }

    fn packets(&self, direction: &str, op: i64) -> Vec<&Value> {
        self.lines
            .iter()
            .filter(|line| line["direction"] == direction && line["op"] == op)
            .collect()
    }
}

async fn run_for(options: ClientOptions, lines: &[&str], limit: Option<Duration>) -> RunOutcome {
    let (input, received) = mpsc::channel(64);
    for line in lines {
        input.try_send(ClientInput::Line((*line).to_owned())).unwrap();
    }
    if options.on_eof != OnEof::Stay {
        input.try_send(ClientInput::End).unwrap();
    }
    let (stop, stopped) = watch::channel(None);
    let mut shown = Vec::new();
    let renderer = Renderer::new(&mut shown, OutputStyle::Json, options.key.clone());
    let client = ConnectClient::new(options, renderer, received, stopped);
    let code = timeout(DEADLINE, supervise(client, &stop, limit))
        .await
        .expect("the client timed out");
    drop(input);
    let shown = String::from_utf8(shown).unwrap();
    assert!(!shown.contains("verysecret"), "the key is shown: {shown}");
    RunOutcome {
        code,
        lines: shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
    }
}

async fn run_client(options: ClientOptions, lines: &[&str]) -> RunOutcome {
    run_for(options, lines, None).await
}

#[tokio::test]
async fn a_session_identifies_reports_sends_and_counts() {
    let (url, played) = gateway(|_, mut peer| async move {
        let identify = peer.session().await;
        let report = peer.packet().await;
        let event = peer.packet().await;
        peer.send(json!({"op": 0, "t": "GLOBAL_GUILD_COUNT", "d": {"guilds": 5}}))
            .await;
        for n in 0..2 {
            peer.send(json!({"op": 0, "t": "announce", "d": {"n": n}})).await;
        }
        (identify, report, event, peer.packet().await)
    })
    .await;
    let outcome = run_client(
        ClientOptions {
            servers: Some("5,100".parse().unwrap()),
            count: Some(2),
            ..options(url)
        },
        &["nonsense", "announce {\"a\": 1}"],
    )
    .await;
    let (identify, report, event, rest) = played.await.unwrap();
    assert_eq!(
        identify,
        json!({"op": 1, "t": "identify", "d": {"type": "bot", "key": KEY}})
    );
    assert_eq!(
        report.unwrap(),
        json!({"op": 1, "t": "send_servers", "d": {"guilds": 5, "guildMembers": 100}})
    );
    assert_eq!(event.unwrap(), json!({"op": 1, "t": "announce", "d": {"a": 1}}));
    assert_eq!(rest, None);
    assert_eq!(outcome.code, 0);
    assert!(outcome.event("connected").is_some());
    assert!(outcome.event("bad_line").is_some());
    let ack = outcome.packets("in", 11)[0];
    assert!(ack["round_trip_ms"].as_f64().unwrap() >= 0.0);
    assert_eq!(outcome.packets("out", 1)[0]["d"]["key"], "<redacted>");
}

#[tokio::test]
async fn heartbeats_keep_to_the_interval() {
    let (url, played) = gateway(|_, mut peer| async move {
        peer.hello(50).await;
        let _identify = peer.packet().await;
        peer.send(json!({"op": 0, "t": "bot_connect_success"})).await;
        let _until_closed = timeout(Duration::from_millis(500), peer.packet()).await;
        peer.close(1000).await;
    })
    .await;
    let outcome = run_client(options(url), &[]).await;
    played.await.unwrap();
    assert_eq!(outcome.code, 0);
    let sent = outcome.packets("out", 10).len();
    assert!((3..=12).contains(&sent), "{sent} heartbeats in 500 ms");
    assert_eq!(outcome.event("closed").unwrap()["code"], 1000);
}

#[tokio::test]
async fn a_refused_key_is_reported_and_not_retried() {
    let (url, played) = gateway(|_, mut peer| async move {
        peer.hello(60_000).await;
        let _identify = peer.packet().await;
        peer.send(json!({"op": -1, "e": 4001, "m": format!("{KEY} is wrong.")}))
            .await;
        peer.close(4001).await;
    })
    .await;
    let outcome = run_client(
        ClientOptions {
            reconnect: true,
            ..options(url)
        },
        &[],
    )
    .await;
    played.await.unwrap();
    assert_eq!(outcome.code, 2);
    assert_eq!(outcome.packets("in", -1)[0]["m"], "<redacted> is wrong.");
    let closed = outcome.event("closed").unwrap();
    assert_eq!((&closed["code"], &closed["reason"]), (&json!(4001), &json!("bye")));
    assert!(outcome.event("key_refused").is_some());
    assert!(outcome.event("retrying").is_none());
}

#[tokio::test]
async fn failed_connects_and_http_refusals_exit_with_1() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    drop(listener);
    let outcome = run_client(options(url), &[]).await;
    assert_eq!(outcome.code, 1);
    assert!(outcome.event("refused").is_some());

    let (url, served) =
        super::super::http_client::tests::serve("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nfull");
    let outcome = run_client(options(url.replace("http", "ws")), &[]).await;
    assert_eq!(outcome.code, 1);
    let refused = outcome.event("refused").unwrap()["message"].as_str();
    assert!(refused.unwrap().contains("HTTP 503"), "{refused:?}");
    served.join().unwrap();
}

#[tokio::test]
async fn a_lost_connection_is_made_again() {
    let (url, played) = gateway(|listener, mut peer| async move {
        peer.session().await;
        drop(peer);
        let (socket, _) = listener.accept().await.unwrap();
        let mut peer = FakeGateway(accept_async(socket).await.unwrap());
        peer.session().await;
        peer.close(1000).await;
    })
    .await;
    let outcome = run_client(
        ClientOptions {
            reconnect: true,
            ..options(url)
        },
        &[],
    )
    .await;
    played.await.unwrap();
    assert_eq!(outcome.code, 0);
    assert!(outcome.event("lost").is_some() && outcome.event("retrying").is_some());
}

#[tokio::test]
async fn compressed_messages_are_inflated_and_others_shown_as_they_are() {
    let (url, played) = gateway(|_, mut peer| async move {
        let mut encoder = ZlibEncoder::new(Vec::new(), Level::fast());
        encoder.write_all(br#"{"op":5,"d":{"heartbeat":60000}}"#).unwrap();
        let stream = encoder.finish().unwrap();
        peer.0.send(Message::binary(stream)).await.unwrap();
        let _identify = peer.packet().await;
        peer.0.send(Message::binary(vec![1, 2, 3])).await.unwrap();
        peer.0.send(Message::text("[1]")).await.unwrap();
        peer.close(1012).await;
    })
    .await;
    let outcome = run_client(options(url), &[]).await;
    played.await.unwrap();
    assert_eq!(outcome.code, 2);
    assert_eq!(outcome.packets("in", 5).len(), 1);
    assert!(outcome.lines.iter().any(|line| line["binary_bytes"] == 3));
    assert!(outcome.lines.iter().any(|line| line["text"] == "[1]"));
}

#[tokio::test]
async fn all_input_is_sent_before_its_end_closes_the_connection() {
    let (url, played) = gateway(|_, mut peer| async move {
        peer.session().await;
        let mut events = Vec::new();
        while let Some(event) = peer.packet().await {
            events.push(event["t"].clone());
        }
        events
    })
    .await;
    let outcome = run_client(
        ClientOptions {
            on_eof: OnEof::CloseWhenSent,
            ..options(url)
        },
        &["one {}", "", "two {}", "three {}"],
    )
    .await;
    assert_eq!(outcome.code, 0);
    assert_eq!(played.await.unwrap(), ["one", "two", "three"]);
}

#[tokio::test]
async fn a_script_ends_when_its_requests_have_an_outcome() {
    let (url, played) = gateway(|_, mut peer| async move {
        peer.session().await;
        let requests = [peer.packet().await.unwrap(), peer.packet().await.unwrap()];
        let nonces = requests.map(|request| request["n"].clone());
        peer.send(json!({ "op": 0, "t": "reply_failed", "n": nonces[1], "d": { "code": "gone" } }))
            .await;
        peer.send(json!({ "op": 0, "t": "reply", "n": nonces[0], "d": { "a": 1 } }))
            .await;
        // Nothing but the closing handshake comes after that.
        assert_eq!(peer.packet().await, None);
        nonces
    })
    .await;
    let scripted = ClientOptions {
        on_eof: OnEof::CloseWhenSent,
        ..options(url)
    };
    let outcome = run_client(scripted, &["request ask {}", "request ask {}"]).await;
    assert_eq!(outcome.code, 0);
    assert_eq!(played.await.unwrap(), ["request-1", "request-2"]);
    assert_eq!(outcome.packets("in", 0).len(), 3);
}

#[tokio::test]
async fn an_error_for_the_last_packet_still_sets_the_exit_code() {
    let (url, played) = gateway(|_, mut peer| async move {
        peer.session().await;
        let _event = peer.packet().await;
        peer.send(json!({"op": -1, "e": 4005, "m": "Unknown event."})).await;
        peer.close(4005).await;
    })
    .await;
    let outcome = run_client(options(url), &["one {}", "/quit"]).await;
    played.await.unwrap();
    assert_eq!(outcome.code, 2);
}

#[tokio::test]
async fn a_timeout_has_its_own_exit_code() {
    let (url, played) = gateway(|_, mut peer| async move {
        peer.session().await;
        peer.packet().await
    })
    .await;
    let limit = Some(Duration::from_millis(300));
    let outcome = run_for(options(url), &[], limit).await;
    assert_eq!(played.await.unwrap(), None);
    assert_eq!(outcome.code, 3);
    assert!(outcome.event("timeout").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_gateway_without_hello_is_abandoned() {
    let (url, played) = gateway(|_, mut peer| async move {
        // Longer than the client waits, shorter than the test.
        let _ = timeout(Duration::from_secs(15), peer.packet()).await;
    })
    .await;
    let outcome = run_client(options(url), &[]).await;
    played.await.unwrap();
    assert_eq!(outcome.code, 1);
    let lost = outcome.event("lost").unwrap()["message"].as_str();
    assert!(lost.unwrap().contains("no hello"), "{lost:?}");
}
