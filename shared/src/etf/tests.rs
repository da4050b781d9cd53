//! Decoding of every tag as specified, refusal of everything else, and the bytes that are written.

use serde_json::{Value, json};

use super::*;

/// Decodes the concatenation of `term` after a version byte.
fn read(term: &[&[u8]]) -> Result<Value, EtfError> {
    decode(&[&[VERSION][..], &term.concat()].concat())
}

fn written(json: &str) -> Vec<u8> {
    let mut out = Vec::new();
    transcode(json, &mut out).unwrap();
    out
}

/// `levels` nested lists: the innermost is empty, the others have one element.
fn nested(levels: usize) -> Vec<u8> {
    let heads = b"l\0\0\0\x01".repeat(levels - 1);
    let tails = b"j".repeat(levels - 1);
    [&[VERSION][..], &heads, b"j", &tails].concat()
}

#[test]
fn integers_of_every_tag_are_numbers() {
    let rows: [(&[u8], Value); 17] = [
        (b"a\x00", json!(0)),
        (b"a\xff", json!(255)),
        (b"b\x00\x00\x01\x00", json!(256)),
        (b"b\xff\xff\xff\xff", json!(-1)),
        (b"b\x80\x00\x00\x00", json!(i32::MIN)),
        (b"b\x7f\xff\xff\xff", json!(i32::MAX)),
        (b"n\x00\x00", json!(0)),
        (b"n\x00\x01", json!(0)),
        (b"n\x04\x00\x00\x00\x00\x80", json!(2_147_483_648_u64)),
        (b"n\x06\x00\x15\xcd\x5b\x07\x00\x00", json!(123_456_789)),
        (b"n\x05\x01\x00\x00\x00\x00\x01", json!(-4_294_967_296_i64)),
        (b"n\x08\x00\xff\xff\xff\xff\xff\xff\xff\xff", json!(u64::MAX)),
        (b"n\x08\x01\x00\x00\x00\x00\x00\x00\x00\x80", json!(i64::MIN)),
        (b"n\x09\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00", json!(1)),
        (b"o\x00\x00\x00\x01\x00\x07", json!(7)),
        (b"o\x00\x00\x00\x01\x01\x07", json!(-7)),
        (b"o\x00\x00\x00\x00\x00", json!(0)),
    ];
    for (term, value) in rows {
        assert_eq!(read(&[term]), Ok(value), "{term:?}");
    }
}

#[test]
fn an_integer_of_more_than_64_bits_is_refused() {
    let rows: [&[u8]; 4] = [
        b"n\x09\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01",
        b"n\x08\x01\x01\x00\x00\x00\x00\x00\x00\x80",
        b"n\x08\x01\xff\xff\xff\xff\xff\xff\xff\xff",
        b"o\x00\x00\x00\x09\x01\x00\x00\x00\x00\x00\x00\x00\x00\x01",
    ];
    for term in rows {
        assert_eq!(read(&[term]), Err(EtfError::Integer), "{term:?}");
    }
}

#[test]
fn floats_of_both_tags_are_numbers() {
    let old = |text: &str| read(&[b"c", text.as_bytes(), &vec![0; 31 - text.len()]]);
    let new = |value: f64| read(&[b"F", &value.to_be_bytes()]);
    assert_eq!(read(&[b"F\x3f\xf8\x00\x00\x00\x00\x00\x00"]), Ok(json!(1.5)));
    assert_eq!(new(-0.1), Ok(json!(-0.1)));
    assert_eq!(new(1e300), Ok(json!(1e300)));
    assert_eq!(old("1.50000000000000000000e+00"), Ok(json!(1.5)));
    assert_eq!(old("-1.00000000000000005551e-01"), Ok(json!(-0.1)));
}

#[test]
fn exact_whole_floats_become_integers() {
    let rows = [
        (1_700_000_000_000.0_f64, json!(1_700_000_000_000_u64)),
        (-3.0, json!(-3)),
        (-0.0_f64, json!(0)),
        (9_007_199_254_740_991.0, json!(9_007_199_254_740_991_u64)),
        (-9_007_199_254_740_991.0, json!(-9_007_199_254_740_991_i64)),
        (9_007_199_254_740_992.0, json!(9_007_199_254_740_992.0)),
    ];
    for (float, value) in rows {
        assert_eq!(read(&[b"F", &float.to_be_bytes()]), Ok(value), "{float}");
    }
}

#[test]
fn floats_that_are_not_finite_are_refused() {
    for float in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(read(&[b"F", &float.to_be_bytes()]), Err(EtfError::Float), "{float}");
    }
    for text in ["nan", "inf", "-inf", "infinity", "1e999", "", "1.5x", "0x10"] {
        let padded = [text.as_bytes(), &vec![0; 31 - text.len()]].concat();
        assert_eq!(read(&[b"c", &padded]), Err(EtfError::Float), "{text}");
    }
}

#[test]
fn atoms_become_literals_or_strings() {
    let literals = [
        ("nil", Value::Null),
        ("null", Value::Null),
        ("undefined", Value::Null),
        ("true", json!(true)),
        ("false", json!(false)),
        ("online", json!("online")),
        ("True", json!("True")),
        ("", json!("")),
    ];
    for (name, value) in literals {
        let length = [u8::try_from(name.len()).unwrap()];
        for (tag, high) in [(b"s", &b""[..]), (b"d", b"\0"), (b"w", b""), (b"v", b"\0")] {
            assert_eq!(
                read(&[tag, high, &length, name.as_bytes()]),
                Ok(value.clone()),
                "{name:?} with tag {tag:?}"
            );
        }
    }
}

#[test]
fn old_atoms_are_latin_1_and_new_ones_utf_8() {
    assert_eq!(read(&[b"s\x01\xe9"]), Ok(json!("é")));
    assert_eq!(read(&[b"d\x00\x01\xe9"]), Ok(json!("é")));
    assert_eq!(read(&[b"w\x02\xc3\xa9"]), Ok(json!("é")));
    assert_eq!(read(&[b"v\x00\x02\xc3\xa9"]), Ok(json!("é")));
    assert!(matches!(read(&[b"w\x01\xe9"]), Err(EtfError::Text { .. })));
    assert!(matches!(read(&[b"v\x00\x01\xe9"]), Err(EtfError::Text { .. })));
}

#[test]
fn etf_binaries_decode_to_utf_8_strings() {
    assert_eq!(read(&[b"m\0\0\0\0"]), Ok(json!("")));
    assert_eq!(read(&[b"m\0\0\0\x03a\0b"]), Ok(json!("a\0b")));
    assert_eq!(read(&[b"m\0\0\0\x04", "😀".as_bytes()]), Ok(json!("😀")));
    // An invalid byte, an overlong form, a surrogate.
    for text in [&b"\xff"[..], b"\xc0\x80", b"\xed\xa0\x80"] {
        let length = u32::try_from(text.len()).unwrap().to_be_bytes();
        assert!(matches!(read(&[b"m", &length, text]), Err(EtfError::Text { .. })));
    }
}

#[test]
fn lists_and_tuples_are_arrays() {
    let rows: [(&[u8], Value); 8] = [
        (b"j", json!([])),
        (b"l\0\0\0\0j", json!([])),
        (b"l\0\0\0\x02a\x01jj", json!([1, []])),
        (b"k\0\0", json!([])),
        (b"k\0\x03\x01\x02\xff", json!([1, 2, 255])),
        (b"h\x00", json!([])),
        (b"h\x02a\x00a\x10", json!([0, 16])),
        (b"i\0\0\0\x01m\0\0\0\x01a", json!(["a"])),
    ];
    for (term, value) in rows {
        assert_eq!(read(&[term]), Ok(value), "{term:?}");
    }
}

#[test]
fn lists_without_an_empty_tail_are_refused() {
    assert_eq!(read(&[b"l\0\0\0\x01a\x01a\x02"]), Err(EtfError::Tail { tag: b'a' }));
    assert_eq!(
        read(&[b"l\0\0\0\x01a\x01k\0\x01\x02"]),
        Err(EtfError::Tail { tag: b'k' })
    );
    assert_eq!(read(&[b"l\0\0\0\x01a\x01"]), Err(EtfError::Cut));
}

#[test]
fn maps_are_objects_and_the_last_of_duplicate_keys_counts() {
    assert_eq!(read(&[b"t\0\0\0\0"]), Ok(json!({})));
    assert_eq!(
        read(&[b"t\0\0\0\x02", b"m\0\0\0\x02op", b"a\x01", b"m\0\0\0\x01d", b"s\x03nil"]),
        Ok(json!({"op": 1, "d": null}))
    );
    assert_eq!(
        read(&[b"t\0\0\0\x02", b"m\0\0\0\x01d", b"a\x01", b"m\0\0\0\x01d", b"a\x02"]),
        Ok(json!({"d": 2}))
    );
}

#[test]
fn keys_that_are_not_binaries_are_refused() {
    for key in [&b"s\x02op"[..], b"d\0\x02op", b"w\x02op", b"k\0\x02op", b"a\x01", b"j"] {
        assert_eq!(
            read(&[b"t\0\0\0\x01", key, b"m\0\0\0\x01a"]),
            Err(EtfError::Key { tag: key[0] })
        );
    }
}

#[test]
fn tags_without_a_json_equivalent_are_refused() {
    let read = [
        b'F', b'a', b'b', b'c', b'd', b'h', b'i', b'j', b'k', b'l', b'm', b'n', b'o', b's', b't', b'v', b'w',
    ];
    for tag in (0..=u8::MAX).filter(|tag| !read.contains(tag)) {
        let error = match tag {
            b'P' => EtfError::Compressed,
            tag => EtfError::Tag { tag },
        };
        assert_eq!(decode(&[VERSION, tag, 0, 0, 0, 0, 0]), Err(error));
    }
}

#[test]
fn a_message_is_a_version_byte_and_one_whole_term() {
    assert_eq!(decode(b""), Err(EtfError::Cut));
    assert_eq!(decode(b"\x83"), Err(EtfError::Cut));
    assert_eq!(decode(b"\x82j"), Err(EtfError::Version { version: 130 }));
    assert_eq!(decode(b"{\"op\":1}"), Err(EtfError::Version { version: b'{' }));
    assert_eq!(decode(b"\x83jj"), Err(EtfError::Trailing { bytes: 1 }));
    let whole = [
        &[VERSION][..],
        &written(r#"{"op":2,"d":{"a":[1,300,1.5,5e9,"b",null]}}"#),
    ]
    .concat();
    assert!(decode(&whole).is_ok());
    for end in 0..whole.len() {
        assert_eq!(decode(&whole[..end]), Err(EtfError::Cut), "cut at {end}");
    }
}

#[test]
fn declared_lengths_beyond_the_message_are_refused() {
    let declared = [
        b"l\xff\xff\xff\xff",
        b"i\xff\xff\xff\xff",
        b"t\xff\xff\xff\xff",
        b"m\xff\xff\xff\xff",
    ];
    for head in declared {
        assert_eq!(read(&[head, &b"j".repeat(100)]), Err(EtfError::Cut));
    }
    assert_eq!(read(&[b"o\xff\xff\xff\xff\x00\x01"]), Err(EtfError::Cut));
    assert_eq!(read(&[b"k\xff\xff\x00\x01"]), Err(EtfError::Cut));
    assert_eq!(read(&[b"h\xffj"]), Err(EtfError::Cut));
    // A hundred nested lists that each declare as many elements as there are bytes left. Reserving space for all of
    // them would take gigabytes.
    let mut terms = vec![b'j'; 1 << 20];
    for level in 0..100 {
        let left = u32::try_from((1 << 20) - (level + 1) * 5).unwrap();
        terms[level * 5] = b'l';
        terms[level * 5 + 1..][..4].copy_from_slice(&left.to_be_bytes());
    }
    assert_eq!(read(&[&terms]), Err(EtfError::Cut));
}

#[test]
fn terms_nest_exactly_as_deep_as_json() {
    let deepest = "[".repeat(127) + &"]".repeat(127);
    assert_eq!(decode(&nested(127)), Ok(serde_json::from_str(&deepest).unwrap()));
    assert_eq!(nested(127)[1..], written(&deepest));
    assert_eq!(decode(&nested(128)), Err(EtfError::Depth));
    assert!(transcode(&format!("[{deepest}]"), &mut Vec::new()).is_err());
    for head in [&b"l\0\0\0\x01"[..], b"h\x01", b"i\0\0\0\x01", b"t\0\0\0\x01m\0\0\0\0"] {
        assert_eq!(
            decode(&[&[VERSION][..], &head.repeat(100_000)].concat()),
            Err(EtfError::Depth)
        );
    }
}

#[test]
fn json_is_written_with_the_tags_that_every_client_reads() {
    let rows: [(&str, &[u8]); 20] = [
        ("null", b"s\x03nil"),
        ("true", b"s\x04true"),
        ("false", b"s\x05false"),
        ("0", b"a\x00"),
        ("255", b"a\xff"),
        ("256", b"b\x00\x00\x01\x00"),
        ("-1", b"b\xff\xff\xff\xff"),
        ("2147483647", b"b\x7f\xff\xff\xff"),
        ("2147483648", b"n\x04\x00\x00\x00\x00\x80"),
        ("-2147483648", b"b\x80\x00\x00\x00"),
        ("-2147483649", b"n\x04\x01\x01\x00\x00\x80"),
        ("4294967296", b"n\x05\x00\x00\x00\x00\x00\x01"),
        ("18446744073709551615", b"n\x08\x00\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("-9223372036854775808", b"n\x08\x01\x00\x00\x00\x00\x00\x00\x00\x80"),
        ("1.5", b"F\x3f\xf8\x00\x00\x00\x00\x00\x00"),
        ("1e2", b"F\x40\x59\x00\x00\x00\x00\x00\x00"),
        (r#""\u00e9""#, b"m\0\0\0\x02\xc3\xa9"),
        (" [ ] ", b"j"),
        ("[1,[]]", b"l\0\0\0\x02a\x01jj"),
        (
            r#"{"b":{},"a":1}"#,
            b"t\0\0\0\x02m\0\0\0\x01bt\0\0\0\0m\0\0\0\x01aa\x01",
        ),
    ];
    for (json, term) in rows {
        assert_eq!(written(json), term, "{json}");
    }
}

#[test]
fn a_dispatch_head_precedes_a_shared_term() {
    let mut message = vec![VERSION];
    map_head(4, &mut message);
    key("t", &mut message);
    binary(b"MESSAGE_CREATE", &mut message);
    key("s", &mut message);
    integer(70_000, &mut message);
    key("op", &mut message);
    integer(0, &mut message);
    key("d", &mut message);
    let head = message.len();
    transcode(r#"{"id":"1"}"#, &mut message).unwrap();
    let whole = r#"{"t":"MESSAGE_CREATE","s":70000,"op":0,"d":{"id":"1"}}"#;
    assert_eq!(message[1..], written(whole));
    assert_eq!(message[head..], written(r#"{"id":"1"}"#));
    assert_eq!(decode(&message), Ok(serde_json::from_str(whole).unwrap()));
}

#[test]
fn refused_text_leaves_the_output_unchanged() {
    for json in [
        "",
        "{",
        "[1,2",
        r#"{"a":[1,2,}"#,
        "1 2",
        r#""\ud800""#,
        r#"{"\ud800":1}"#,
        "1e999",
        "nul",
    ] {
        let mut out = b"before".to_vec();
        assert!(transcode(json, &mut out).is_err(), "{json}");
        assert_eq!(out, b"before", "{json}");
    }
}
