//! Compressed streams, assembled from shared segments or with a history per session, decoded by decoders that share no
//! code with the gateway.

use std::{ffi::OsString, fs, iter, path::Path, time::Duration};

use gateway_harness::{Ran, run, tool};
use serde_json::Value;
use shared::compression::{History, Level, Method, Stream};
use tokio::process::Command;

const DEADLINE: Duration = Duration::from_secs(100);
const SESSIONS: u32 = 5;
/// Three in four events go to all sessions, the others to one.
const EVENTS: u32 = 6000;

/// Name, method, and whether each session has a compressor of its own.
const METHODS: [(&str, Method, bool); 4] = [
    ("zlib-packet", Method::ZlibPacket, false),
    ("zlib-stream", Method::ZlibStream, false),
    ("zlib-stream", Method::ZlibStream, true),
    ("zstd-stream", Method::ZstdStream, false),
];

/// Returns the part of an event after its `s`: mostly JSON of 100 bytes to some KiB, sometimes much more, sometimes
/// binary data.
fn rest(event: u32, random: &mut fastrand::Rng) -> Vec<u8> {
    let id = random.u64(1 << 59..1 << 60);
    let word = |random: &mut fastrand::Rng| -> String {
        let len = random.usize(2..9);
        iter::repeat_with(|| random.lowercase()).take(len).collect()
    };
    let content: String = match random.u8(0..20) {
        0..=9 => (0..random.usize(0..40)).map(|_| word(random) + " ").collect(),
        10..=13 => "-".repeat(random.usize(0..300)),
        14 => word(random).repeat(random.usize(1..400)),
        15 => format!("<@{id}> <@{}> ", id + random.u64(1..9999)).repeat(random.usize(0..9)),
        16 if event.is_multiple_of(50) => word(random).repeat(40_000) + &"\\u0000".repeat(20_000),
        17 => {
            let len = random.usize(0..3000);
            return iter::repeat_with(|| random.u8(..)).take(len).collect();
        }
        18 => return [&[131, 116, 0, 0, 0, 1, 109, 0, 0, 0, 1, b'd', 98, 0, 0, 0, 0, 0, 0, 0, 0][..]; 9].concat(),
        _ => String::new(),
    };
    format!(
        r#","op":0,"d":{{"id":"{id}","channel_id":"{}","content":"{content}","nonce":null}}}}"#,
        id + 7
    )
    .into_bytes()
}

fn append(session: u32, sent: &[u8], plaintext: &[u8], file: &mut Vec<u8>) {
    file.extend_from_slice(&session.to_le_bytes());
    for bytes in [sent, plaintext] {
        file.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_le_bytes());
        file.extend_from_slice(bytes);
    }
}

/// Writes the file that the scripts read. Returns the number of messages in it.
fn write(method: Method, keeps_history: bool, path: &Path) -> u64 {
    let mut random = fastrand::Rng::with_seed(8878);
    let history = |session| keeps_history.then(|| History::new(Level::new(2 * session + 1)));
    let mut streams: Vec<_> = (0..SESSIONS)
        .map(|session| (session, Stream::new(method), history(session), 0_u32))
        .collect();
    let (mut file, mut sent, mut messages) = (Vec::new(), Vec::new(), 0);
    for (session, stream, _, _) in &mut streams {
        let hello = br#"{"t":null,"s":null,"op":10,"d":{"heartbeat_interval":41250}}"#;
        sent.clear();
        let mut message = stream.message(&mut sent);
        message.own(hello);
        message.end();
        append(*session, &sent, hello, &mut file);
        messages += 1;
    }
    for event in 0..EVENTS {
        let rest = rest(event, &mut random);
        let segment = method.format().segment(&rest, Level::default());
        // A gateway does not send a segment twice in a message, but a stream has to support it.
        let times = if event.is_multiple_of(100) { 2 } else { 1 };
        let only = (event % 4 == 3).then(|| random.u32(0..SESSIONS));
        for (session, stream, history, sequence) in &mut streams {
            if only.is_some_and(|only| only != *session) {
                continue;
            }
            *sequence += 1;
            let own = format!(r#"{{"t":"EVENT_{}","s":{sequence}"#, event % 9);
            sent.clear();
            if let Some(history) = history {
                history.message([own.as_bytes(), &rest].repeat(times), &mut sent);
            } else {
                let mut message = stream.message(&mut sent);
                for _ in 0..times {
                    message.own(own.as_bytes());
                    message.shared(&segment);
                }
                message.end();
            }
            let plaintext = [own.as_bytes(), &rest].concat().repeat(times);
            append(*session, &sent, &plaintext, &mut file);
            messages += 1;
        }
    }
    fs::write(path, file).unwrap();
    messages
}

/// Returns the names of a script's decoders, each of which must have read all `messages`.
fn decoders(ran: &Ran, messages: u64) -> Vec<String> {
    assert!(ran.status.success(), "{ran:?}");
    let mut lines = ran.stdout.lines().rev();
    assert_eq!(lines.next(), Some("ok"), "{ran:?}");
    let name = |line| {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["messages"], messages, "{line}");
        assert_eq!(line["sessions"], SESSIONS, "{line}");
        line["decoder"].as_str().unwrap().to_owned()
    };
    lines.map(name).collect()
}

/// Runs a script on streams of every method. For each method, the script must use the decoder in `expected`.
async fn decode_with(program: OsString, script: &str, environment: &[(&str, OsString)], expected: [&str; 4]) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("streams.bin");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../clients").join(script);
    for ((name, method, keeps_history), expected) in METHODS.into_iter().zip(expected) {
        let messages = write(method, keeps_history, &file);
        assert!(messages > 20_000, "{messages}");
        let mut command = Command::new(&program);
        command.arg(&script).args(["--method", name]).arg(&file);
        command.envs(environment.iter().cloned());
        let decoders = decoders(&run(&mut command, DEADLINE).await, messages);
        assert!(
            decoders.iter().any(|decoder| decoder == expected),
            "{name}: {decoders:?}"
        );
    }
}

#[tokio::test]
async fn python_decodes_streams_message_by_message() {
    let python = tool(
        "UTILBOT_TEST_PYTHON",
        "python with the packages of tests/requirements.txt",
    );
    decode_with(python, "python/streams.py", &[], ["zlib", "zlib", "zlib", "zstandard"]).await;
}

#[tokio::test]
async fn nodejs_decodes_streams_message_by_message() {
    let node = tool("UTILBOT_TEST_NODE", "Node.js, 20 or later");
    let modules = tool(
        "UTILBOT_TEST_NODE_MODULES",
        "the node_modules folder that holds `ws` and `fzstd`",
    );
    let environment = [("UTILBOT_TEST_NODE_MODULES", modules)];
    decode_with(
        node,
        "node/streams.mjs",
        &environment,
        ["zlib", "zlib", "zlib", "fzstd"],
    )
    .await;
}
