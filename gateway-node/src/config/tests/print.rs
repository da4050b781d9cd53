//! Printing the settings: complete, without secrets, and loadable again.

use super::{Given, file};

/// Values other than the defaults, wherever that is possible.
const FULL: &str = r#"
server.bind = "[::1]:1"
server.workers = 3
server.public_url = "wss://gateway.example"
server.backlog = 5
server.trusted_proxies = ["10.0.0.0/8"]
server.allowed_origins = ["a\"b"]
server.tls = { certificate = "/c", key = "/k" }
node.name = "one"
test = { echo_bind = "127.0.0.1:0", bot_id = 7 }
chaos.enabled = true
metrics.public = false
admin.bind = "127.0.0.1:3"
compression = { zlib_level = 9, zlib_stream = "per_session" }
log = { format = "json", level = "debug" }

[[applications]]
id = "shop"
client_id = 80351110224678912
bot_id = "80351110224678913"
bot_username = "Shop \"é\""
bot_discriminator = "0"
bot_avatar = "a_0123456789abcdef0123456789abcdef"
flags = 8388608
privileged_intents = ["message_content"]
shards = 2
max_concurrency = 16
session_starts_per_day = 2000
guilds_per_session = 5000

[[keys]]
id = "web"
type = ["website", "bot"]
hash = "0000000000000000000000000000000000000000000000000000000000000000"
permissions = ["admin"]
application = "shop"
expires_at = "2027-01-31T12:00:00Z"

[[keys]]
id = "bot"
type = "bot"
hash = "1111111111111111111111111111111111111111111111111111111111111111"

[[events]]
name = "a"
from = ["bot"]
to = ["discord", "website"]
deliver = { guild = "/guildId" }
schema = "/a.json"

[[events]]
name = "b"
from = ["bot"]
to = ["bot"]
deliver = "any"
"#;

#[test]
fn printed_settings_load_as_the_same_settings() {
    for text in ["", FULL] {
        let settings = file(text).unwrap();
        let printed = settings.to_toml();
        let again = file(&printed).unwrap_or_else(|error| panic!("{error}\n{printed}"));
        assert_eq!(
            serde_json::to_value(&again).unwrap(),
            serde_json::to_value(&settings).unwrap()
        );
        assert_eq!(without_origins(&again.to_toml()), without_origins(&printed));
    }
}

/// Removes the comments that name the file, which is another one each time.
fn without_origins(printed: &str) -> String {
    let lines = printed.lines().filter(|line| !line.starts_with("# Set in "));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_setting_is_printed_with_its_meaning() {
    for text in ["", FULL] {
        let printed = file(text).unwrap().to_toml();
        let flat = printed.replace("\n# ", " ");
        for doc in super::super::reference() {
            let name = doc.key.rsplit('.').next().unwrap();
            assert!(flat.contains(&doc.meaning), "{}: {flat}", doc.key);
            assert!(
                printed.contains(&format!("\n{name} = ")) || printed.contains(&format!("\n# {name} =")),
                "{}",
                doc.key
            );
        }
        assert!(
            printed
                .lines()
                .all(|line| !line.starts_with('#') || line.chars().count() <= 100)
        );
    }
}

#[test]
fn secrets_are_never_printed() {
    let secret = "correct-horse-battery-staple-0123456789";
    let text = format!("[[keys]]\nid = 'a'\ntype = 'bot'\nsecret = '{secret}'");
    let given = Given {
        file: &text,
        environment: &[("UTILBOT__LOG__LEVEL", "warn")],
        ..Given::default()
    };
    let settings = given.load().unwrap();
    assert_eq!(settings.keys[0].secret.as_ref().unwrap().expose(), secret);
    let shown = format!(
        "{settings:?}{settings:#?}{}{}",
        settings.to_toml(),
        serde_json::to_string(&settings).unwrap()
    );
    assert!(!shown.contains("horse"));
    assert!(settings.to_toml().contains("\nsecret = \"<redacted>\"\n"));
    assert!(!settings.problem("keys[0].secret", "x").to_string().contains("horse"));
}
