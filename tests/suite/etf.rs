//! Erlang's External Term Format, compared with a codec that shares no code with ours: npm's `erlang_js`.

use std::{fs, path::Path, time::Duration};

use gateway_harness::{run, tool};
use serde_json::{Value, json};
use shared::etf;
use tempfile::TempDir;
use tokio::process::Command;

const DEADLINE: Duration = Duration::from_secs(30);

/// Values that both codecs read and write.
const BOTH_WAYS: [&str; 9] = [
    "null",
    r#"[true,false,null,[],{},""]"#,
    "[0,1,255,256,-1,-256,65535,2147483647,-2147483648]",
    "[2147483648,4294967295,-2147483649]",
    "[0.5,-1.25,5e-324,3.141592653589793,1e-7]",
    r#"{"é":"ü","😀":"\u0000\u001f\"\\","":{"a":{"b":[[[[1]]],2]}}}"#,
    r#"{"op":1,"d":251}"#,
    r#"{"op":2,"d":{"token":"t","properties":{"os":"linux","browser":"b","device":"b"},"compress":false,
        "large_threshold":250,"shard":[0,1],"intents":53608447,"presence":{"since":null,"activities":
        [{"name":"n","type":0}],"status":"online","afk":false}}}"#,
    r#"{"t":"MESSAGE_CREATE","s":42,"op":0,"d":{"id":"1098765432109876543","content":"hello","mentions":[],
        "member":{"roles":["1","2"],"joined_at":"2020-01-01T00:00:00.000000+00:00","deaf":false},"tts":false}}"#,
];

/// Numbers that both codecs read, but `erlang_js` does not write: it writes integers of at most 32 bits, and
/// JavaScript's integers have at most 53.
const ONE_WAY: &str =
    "[4294967296,-4294967297,1507665886000,9007199254740991,-9007199254740991,9223372036854775808,1e300]";

fn message(json: &str) -> Vec<u8> {
    let mut message = vec![etf::VERSION];
    etf::transcode(json, &mut message).unwrap();
    message
}

#[tokio::test]
async fn terms_round_trip_through_a_foreign_codec() {
    let node = tool("UTILBOT_TEST_NODE", "Node.js, 20 or later");
    let modules = tool(
        "UTILBOT_TEST_NODE_MODULES",
        "the node_modules folder that holds `erlang_js`",
    );
    let folder = TempDir::new().unwrap();
    let terms = folder.path().join("terms.jsonl");
    let texts = BOTH_WAYS.into_iter().chain([ONE_WAY]);
    let lines = texts.map(|json| format!("{}\n", json!({"json": json, "message": message(json)})));
    fs::write(&terms, lines.collect::<String>()).unwrap();

    let mut command = Command::new(node);
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../clients/node/etf.mjs"))
        .arg("--terms")
        .arg(&terms)
        .env("UTILBOT_TEST_NODE_MODULES", modules);
    let ran = run(&mut command, DEADLINE).await;
    assert!(ran.status.success(), "{ran:?}");
    assert_eq!(ran.stdout.lines().last(), Some("ok"), "{ran:?}");

    let answers: Vec<Vec<u8>> = ran
        .stdout
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    assert_eq!(answers.len(), BOTH_WAYS.len() + 1, "{ran:?}");
    for (json, answer) in BOTH_WAYS.into_iter().zip(answers) {
        let value: Value = serde_json::from_str(json).unwrap();
        assert_eq!(etf::decode(&answer), Ok(value), "{json}");
    }
}
