use super::*;

fn at() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_767_323_045_678)
}

fn rendered(style: OutputStyle, record: &PrintedRecord<'_>) -> String {
    let mut renderer = Renderer::new(Vec::new(), style, "id.verysecret".into());
    renderer.write(at(), record).unwrap();
    String::from_utf8(renderer.into_inner()).unwrap()
}

fn story(style: OutputStyle) -> String {
    let packet = |text: &str| Packet::parse(text).unwrap();
    let hello = packet(r#"{"op":5,"d":{"heartbeat":60000,"hearbeat":60000}}"#);
    let identify = packet(r#"{"op":1,"t":"identify","d":{"type":"bot","key":"x"}}"#).without_key();
    let heartbeat = packet(r#"{"op":10}"#);
    let ack = packet(r#"{"op":11}"#);
    let event = packet("{\"op\":0,\"t\":\"announce\",\n\"d\":{\"z\":1.0,\"a\":\"\u{9b}31m\"}}");
    let odd = packet(r#"{"op":"x","t":"two words","s":null}"#);
    let error = packet(r#"{"op":-1,"e":4005,"m":"Malformed\ndata.","d":{"errors":["No."],"data":[null]}}"#);
    let bare_error = packet(r#"{"op":-1,"e":4006}"#);
    let received = |packet| PrintedRecord::Packet {
        direction: Direction::In,
        packet,
        round_trip: None,
    };
    let sent = |packet| PrintedRecord::Packet {
        direction: Direction::Out,
        packet,
        round_trip: None,
    };
    let url = "ws://127.0.0.1:8080/?v=1";
    let records = [
        PrintedRecord::Connecting { url },
        PrintedRecord::Connected { url },
        received(&hello),
        sent(&heartbeat),
        sent(&identify),
        PrintedRecord::Packet {
            direction: Direction::In,
            packet: &ack,
            round_trip: Some(Duration::from_micros(420)),
        },
        received(&event),
        received(&odd),
        PrintedRecord::Text("[1]\n\u{1b}[31m"),
        PrintedRecord::Binary(7),
        PrintedRecord::Control("ping"),
        received(&error),
        received(&bare_error),
        PrintedRecord::Closed {
            code: 4005,
            reason: "Malformed data.",
        },
        PrintedRecord::Closed { code: 1000, reason: "" },
        PrintedRecord::Problem {
            event: "lost",
            message: "connection lost\n",
        },
        PrintedRecord::Note {
            event: "retrying",
            message: "reconnecting in 1500 ms",
        },
    ];
    records.iter().map(|record| rendered(style, record)).collect()
}

#[test]
fn a_terminal_gets_lines_for_people() {
    insta::assert_snapshot!(story(OutputStyle::Terminal { colour: false }));
}

#[test]
fn anything_else_gets_json_lines() {
    let story = story(OutputStyle::Json);
    for line in story.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    insta::assert_snapshot!(story);
}

#[test]
fn colours_appear_only_if_enabled() {
    assert!(!story(OutputStyle::Terminal { colour: false }).contains('\u{1b}'));
    assert!(!story(OutputStyle::Json).contains('\u{1b}'));
    let coloured = story(OutputStyle::Terminal { colour: true });
    assert!(coloured.contains("\u{1b}[31m← error 4005"));
    assert!(coloured.contains("\u{1b}[2m→ heartbeat\u{1b}[0m"));
    // The peer's data adds no colours: each line has its time and at most one coloured part.
    for line in coloured.lines() {
        assert!(line.matches('\u{1b}').count() <= 4, "{line}");
    }
}

#[test]
fn the_key_is_redacted_in_every_line() {
    let packet = Packet::parse(r#"{"op":0,"t":"x","d":{"echo":"id.verysecret"}}"#).unwrap();
    for style in [OutputStyle::Terminal { colour: true }, OutputStyle::Json] {
        let records = [
            PrintedRecord::Packet {
                direction: Direction::In,
                packet: &packet,
                round_trip: None,
            },
            PrintedRecord::Closed {
                code: 4001,
                reason: "no id.verysecret here",
            },
            PrintedRecord::Text("id.verysecret"),
        ];
        for record in &records {
            let line = rendered(style, record);
            assert!(line.contains("<redacted>") && !line.contains("verysecret"), "{line}");
        }
    }
}
