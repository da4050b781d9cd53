//! The answers to packets with a nonce.

use super::{
    super::{EVENT_ACCEPTED, EVENT_REFUSED, Nonce, REPLY, REPLY_FAILED, Refusal, ReplyFailure},
    json::{push_problems, quoted},
};

/// Builds the answer to a packet that had its effect. `d` must be JSON.
pub fn accepted(nonce: &Nonce, d: &str) -> String {
    let parts = [
        r#"{"op":0,"t":""#,
        EVENT_ACCEPTED,
        r#"","n":"#,
        nonce.json(),
        r#","d":"#,
        d,
        "}",
    ];
    parts.concat()
}

/// Builds the answer to a packet that had no effect. Its problems are left out if there are none.
pub fn refused(nonce: Option<&Nonce>, refusal: &Refusal) -> String {
    let Refusal { code, problems } = refusal;
    let mut json = [r#"{"op":0,"t":""#, EVENT_REFUSED, "\""].concat();
    if let Some(nonce) = nonce {
        json.push_str(r#","n":"#);
        json.push_str(nonce.json());
    }
    json.push_str(r#","d":{"code":""#);
    json.push_str(code.code());
    json.push_str(r#"","message":"#);
    json.push_str(&quoted(code.message()));
    if !problems.is_empty() {
        json.push(',');
        push_problems(&mut json, problems);
    }
    json.push_str("}}");
    json
}

/// Builds the reply to a request. `d` must be JSON and is sent unchanged.
pub fn reply(nonce: &Nonce, d: &str) -> String {
    let parts = [r#"{"op":0,"t":""#, REPLY, r#"","n":"#, nonce.json(), r#","d":"#, d, "}"];
    parts.concat()
}

/// Builds the answer to a request that gets no reply.
pub fn reply_failed(nonce: &Nonce, failure: &ReplyFailure) -> String {
    let error = match failure {
        ReplyFailure::Error(error) => [r#","error":"#, error].concat(),
        ReplyFailure::Timeout | ReplyFailure::Gone | ReplyFailure::InvalidReply => String::new(),
    };
    let parts = [
        r#"{"op":0,"t":""#,
        REPLY_FAILED,
        r#"","n":"#,
        nonce.json(),
        r#","d":{"code":""#,
        failure.code(),
        "\"",
        &error,
        "}}",
    ];
    parts.concat()
}
