//! Messages recorded from other encoders: `erlpack.pack` of npm's `erlpack` 0.1.4, with which eris and discord.js send,
//! and `term_to_binary` of Erlang/OTP 25.

use serde_json::json;

use super::*;

#[test]
fn erlpack_sends_heartbeats() {
    assert_eq!(
        decode(b"\x83t\0\0\0\x02m\0\0\0\x02opa\x01m\0\0\0\x01da\xfb"),
        Ok(json!({"op": 1, "d": 251}))
    );
    assert_eq!(
        decode(b"\x83t\0\0\0\x02m\0\0\0\x02opa\x01m\0\0\0\x01ds\x03nil"),
        Ok(json!({"op": 1, "d": null}))
    );
}

/// A field that is `undefined` in JavaScript, and would be absent in JSON, arrives as `null`: here the presence.
#[test]
fn erlpack_sends_identifies() {
    let message = b"\x83t\0\0\0\x02m\0\0\0\x02opa\x02m\0\0\0\x01dt\0\0\0\x08m\0\0\0\x05tokenm\0\0\0\x01t\
        m\0\0\0\x01va\x0am\0\0\0\x08compresss\x05falsem\0\0\0\x0flarge_thresholda\xfa\
        m\0\0\0\x07intentsb\x031\xff\xffm\0\0\0\x0apropertiest\0\0\0\x03m\0\0\0\x02osm\0\0\0\x05linux\
        m\0\0\0\x07browserm\0\0\0\x04Erism\0\0\0\x06devicem\0\0\0\x04Eris\
        m\0\0\0\x05shardl\0\0\0\x02a\0a\x01jm\0\0\0\x08presences\x03nil";
    let properties = json!({"os": "linux", "browser": "Eris", "device": "Eris"});
    assert_eq!(
        decode(message),
        Ok(json!({"op": 2, "d": {
            "token": "t", "v": 10, "compress": false, "large_threshold": 250, "intents": 53_608_447,
            "properties": properties, "shard": [0, 1], "presence": null,
        }}))
    );
}

/// A time in milliseconds does not fit into 32 bits, so it is sent as a float.
#[test]
fn erlpack_sends_presence_updates() {
    let message = b"\x83t\0\0\0\x02m\0\0\0\x02opa\x03m\0\0\0\x01dt\0\0\0\x04m\0\0\0\x03afks\x05false\
        m\0\0\0\x0aactivitiesl\0\0\0\x01t\0\0\0\x02m\0\0\0\x04namem\0\0\0\x06\xc3\xa9\xf0\x9f\x98\x80\
        m\0\0\0\x04typea\0jm\0\0\0\x05sinceFBx\xbc\xfeV\x80\0\0m\0\0\0\x06statusm\0\0\0\x04idle";
    assert_eq!(
        decode(message),
        Ok(json!({"op": 3, "d": {
            "afk": false, "activities": [{"name": "é😀", "type": 0}], "since": 1_700_000_000_000_u64, "status": "idle",
        }}))
    );
}

/// `[0, 255, 256, -1, 2147483647, -2147483648, 2147483648, 4294967295, 4294967296, 0.5, -0, 1e300, true, false, [],
/// {}]`
#[test]
fn erlpack_writes_numbers() {
    let message = b"\x83l\0\0\0\x10a\0a\xffb\0\0\x01\0b\xff\xff\xff\xffb\x7f\xff\xff\xffb\x80\0\0\0\
        n\x04\0\0\0\0\x80n\x04\0\xff\xff\xff\xffFA\xf0\0\0\0\0\0\0F?\xe0\0\0\0\0\0\0F\x80\0\0\0\0\0\0\0\
        F~7\xe4<\x88\0u\x9cs\x04trues\x05falsejt\0\0\0\0j";
    assert_eq!(
        decode(message),
        Ok(json!([
            0,
            255,
            256,
            -1,
            i32::MAX,
            i32::MIN,
            2_147_483_648_u64,
            u32::MAX,
            4_294_967_296_u64,
            0.5,
            0,
            1e300,
            true,
            false,
            [],
            {}
        ]))
    );
}

/// `[{a,<<"b">>},"abc",[],true,nil,undefined,null,online,-1,256,16#123456789a]`
#[test]
fn erlang_writes_old_atoms_tuples_and_strings() {
    let message =
        b"\x83l\0\0\0\x0bh\x02d\0\x01am\0\0\0\x01bk\0\x03abcjd\0\x04trued\0\x03nild\0\x09undefinedd\0\x04null\
        d\0\x06onlineb\xff\xff\xff\xffb\0\0\x01\0n\x05\0\x9a\x78\x56\x34\x12j";
    assert_eq!(
        decode(message),
        Ok(json!([
            ["a", "b"],
            [97, 98, 99],
            [],
            true,
            null,
            null,
            null,
            "online",
            -1,
            256,
            78_187_493_530_u64
        ]))
    );
}

/// `[1.5,-0.1,1.0e300]` with `{minor_version,0}`.
#[test]
fn erlang_writes_floats_as_text() {
    let message = b"\x83l\0\0\0\x03c1.50000000000000000000e+00\0\0\0\0\0c-1.00000000000000005551e-01\0\0\0\0\
        c1.00000000000000005250e+300\0\0\0\0j";
    assert_eq!(decode(message), Ok(json!([1.5, -0.1, 1e300])));
}

/// `#{op => 1}`, `1 bsl 64`, `[1|2]`
#[test]
fn erlang_terms_without_a_json_equivalent_are_refused() {
    assert_eq!(
        decode(b"\x83t\0\0\0\x01d\0\x02opa\x01"),
        Err(EtfError::Key { tag: b'd' })
    );
    assert_eq!(decode(b"\x83n\x09\0\0\0\0\0\0\0\0\0\x01"), Err(EtfError::Integer));
    assert_eq!(decode(b"\x83l\0\0\0\x01a\x01a\x02"), Err(EtfError::Tail { tag: b'a' }));
}
