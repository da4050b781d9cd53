//! The head of a request, as it is parsed before the HTTP server gets it.

use actix::System;
use actix_codec::Decoder as _;
use actix_http::{
    Request, ServiceConfig,
    h1::{Codec, Message},
};
use bytes::BytesMut;
use gateway_node::transport::{HeaderBuf, UpgradeHead, accept_key, switching_protocols};

/// Parses a head, and compares it with what the HTTP server parses from the same bytes.
pub fn request_head(data: &[u8]) {
    let mut room = HeaderBuf::default();
    let Some((head, length)) = UpgradeHead::read(data, None, &mut room) else {
        return;
    };
    let whole = &data[..length];
    assert!(whole.ends_with(b"\n"), "a head ends with an empty line");
    // What follows the head makes no difference, and without its last byte it is not a head.
    let mut room = HeaderBuf::default();
    let (alone, again) = UpgradeHead::read(whole, None, &mut room).expect("the same head");
    assert_eq!((length, describe(&head)), (again, describe(&alone)));
    assert!(UpgradeHead::read(&whole[..length - 1], None, &mut HeaderBuf::default()).is_none());

    let served = serve(whole);
    let known = UpgradeHead::of(served.head());
    assert_eq!(describe(&head), describe(&known));
    for (name, _) in &served.head().headers {
        let values = |head: &UpgradeHead<'_>| head.all(name).map(<[u8]>::to_vec).collect::<Vec<_>>();
        assert_eq!(values(&head), values(&known), "{name}");
        for text in head.texts(name) {
            assert!(text.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte)));
        }
    }

    let accepted = accept_key(&head);
    assert_eq!(accepted, accept_key(&known));
    match accepted {
        Ok(key) => {
            assert!(key.is_ascii() && key.ends_with(b"="));
            assert!(switching_protocols(&key).ends_with(b"\r\n\r\n"));
        }
        Err(refusal) => assert!(refusal.status().is_client_error()),
    }
}

/// Returns the parts of a head that are not header fields.
fn describe<'a>(head: &UpgradeHead<'a>) -> (bool, bool, Option<&'a str>, &'a str, Option<&'a str>) {
    (head.is_get, head.is_current, head.authority, head.path, head.query)
}

/// Returns the request as the HTTP server parses it.
fn serve(bytes: &[u8]) -> Request {
    thread_local! {
        static SERVER: (actix::SystemRunner, ServiceConfig) = {
            let system = System::new();
            let config = system.block_on(async { ServiceConfig::default() });
            (system, config)
        };
    }
    SERVER.with(|(system, config)| {
        system.block_on(async {
            match Codec::new(config.clone()).decode(&mut BytesMut::from(bytes)) {
                Ok(Some(Message::Item(request))) => request,
                other => panic!("the server reads {other:?}"),
            }
        })
    })
}
