//! `gateway-node publish`: publishes one event over HTTP, or sends a request and waits for the reply.

use std::{io::Write, time::Duration};

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    connect::{compact, object},
    query::{Query, QueryArgs, QueryError},
};
use crate::{
    config::Permission,
    logging::{escape, escape_json},
};

/// The options of `publish`. Exit codes: 0 the event or job is accepted, or the reply is printed; 1 no response; 2 refused, or no
/// reply; 64 invalid options.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
                  gateway-node publish announce '{\"text\":\"hello\"}'\n  \
                  gateway-node publish --wait get_settings '{\"guild_id\":\"1\"}' --url https://gateway.example.com \
                  --key-file web.key\n\n\
                  Exit codes: 0 the event or job is accepted or the reply is printed, 1 no response, 2 refused or no reply, \
                  64 invalid options.")]
pub struct PublishArgs {
    /// The node and the key.
    #[command(flatten)]
    pub query: QueryArgs,

    /// Timeout in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout_ms: u64,

    /// Send a request, wait for the reply and print its data
    #[arg(long)]
    pub wait: bool,

    /// The event's name
    #[arg(value_name = "NAME")]
    pub name: String,

    /// The event's data: a JSON object
    #[arg(value_name = "JSON")]
    pub data: String,
}

/// Publishes the event in `args` and prints the response on one line; see [`PublishArgs`] for the exit codes. Blocks for
/// at most `timeout_ms`.
pub(super) fn run(
    args: &PublishArgs,
    environment: impl IntoIterator<Item = (String, String)>,
    out: &mut dyn Write,
) -> Result<(), QueryError> {
    let answer = publish(args, environment)?;
    // The event is published even if the output is not read.
    let _ = writeln!(out, "{answer}");
    Ok(())
}

fn publish(args: &PublishArgs, environment: impl IntoIterator<Item = (String, String)>) -> Result<String, QueryError> {
    #[derive(Serialize)]
    struct PublishedBody<'a> {
        t: &'a str,
        d: &'a RawValue,
    }

    let query = Query::new(&args.query, Permission::Publish, environment)?;
    let query = query.with_patience(Duration::from_millis(args.timeout_ms));
    let data =
        object(args.data.trim()).map_err(|problem| QueryError::Usage(format!("JSON must be an object: {problem}")))?;
    let event = serde_json::to_string(&PublishedBody { t: &args.name, d: data })
        .map_err(|error| QueryError::Usage(error.to_string()))?;
    if args.wait {
        query
            .post("/api/v1/requests", event, 200)
            .map(|body| one_line(reply(&body)))
    } else {
        query.post("/api/v1/events", event, 202).map(|body| one_line(&body))
    }
}

/// Returns the data of a reply, or the whole body if it is no reply.
fn reply(body: &str) -> &str {
    #[derive(Deserialize)]
    struct ReplyBody<'a> {
        #[serde(borrow)]
        d: &'a RawValue,
    }

    serde_json::from_str(body).map_or(body, |ReplyBody { d }| d.get())
}

fn one_line(body: &str) -> String {
    match serde_json::from_str::<&RawValue>(body) {
        Ok(json) => escape_json(&compact(json.get())),
        Err(_) => escape(body.trim()),
    }
}

#[cfg(test)]
mod tests {
    use std::process::ExitCode;

    use super::{
        super::{connect::KeyArgs, http_client::tests, target::TargetOptions},
        *,
    };

    fn query_at(url: &str) -> QueryArgs {
        QueryArgs {
            target: TargetOptions {
                url: Some(url.to_owned()),
                ..TargetOptions::default()
            },
            key: KeyArgs {
                file: None,
                from_environment: Some("id.verysecret".into()),
            },
        }
    }

    fn publish_to(url: &str, data: &str) -> Result<String, QueryError> {
        let args = PublishArgs {
            query: query_at(url),
            timeout_ms: 5_000,
            wait: false,
            name: "announce".to_owned(),
            data: data.to_owned(),
        };
        publish(&args, [])
    }

    fn code_of(result: Result<String, QueryError>) -> ExitCode {
        result.unwrap_err().exit_code()
    }

    #[test]
    fn an_event_is_posted_with_the_key_and_its_numbers_unchanged() {
        let (url, served) = tests::serve(
            "HTTP/1.1 202 Accepted\r\ncontent-length: 33\r\n\r\n{\"offset\": 7,\n \"epoch\":\"e\\u00e9\"}",
        );
        let answer = publish_to(&format!("{url}/"), r#" {"n": 1.0} "#).unwrap();
        assert_eq!(answer, r#"{"offset":7,"epoch":"e\u00e9"}"#);
        let request = served.join().unwrap();
        assert!(request.starts_with("POST /api/v1/events HTTP/1.1\r\n"), "{request}");
        let lower = request.to_lowercase();
        assert!(lower.contains("authorization: bearer id.verysecret\r\n"));
        assert!(lower.contains("content-type: application/json\r\n"));
        assert!(request.ends_with("\r\n\r\n{\"t\":\"announce\",\"d\":{\"n\": 1.0}}"));
    }

    #[test]
    fn a_request_prints_the_data_of_its_reply_or_why_there_is_none() {
        let ask = |url: &str| {
            let args = PublishArgs {
                query: query_at(url),
                timeout_ms: 5_000,
                wait: true,
                name: "get_settings".to_owned(),
                data: "{}".to_owned(),
            };
            publish(&args, [])
        };
        let (url, served) = tests::serve("HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\n{\"d\":{\"a\": 1}}");
        assert_eq!(ask(&url).unwrap(), r#"{"a":1}"#);
        assert!(served.join().unwrap().starts_with("POST /api/v1/requests HTTP/1.1\r\n"));
        let (url, served) = tests::serve(
            "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 55\r\n\r\n\
             {\"code\":\"error\",\"message\":\"m\",\"error\":{\"code\": \"busy\"}}",
        );
        let error = ask(&url).unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), error.exit_code()),
            ("refused: HTTP 502 error: m {\"code\":\"busy\"}", ExitCode::from(2))
        );
        served.join().unwrap();
    }

    #[test]
    fn a_refusal_shows_the_code_and_the_message() {
        let (url, served) = tests::serve(
            "HTTP/1.1 422 Unprocessable Entity\r\ncontent-length: 51\r\n\r\n\
             {\"code\":\"unknown_event\",\"message\":\"Unknown event.\"}",
        );
        let error = publish_to(&url, "{}").unwrap_err();
        assert_eq!(error.to_string(), "refused: HTTP 422 unknown_event: Unknown event.");
        assert_eq!(error.exit_code(), ExitCode::from(2));
        served.join().unwrap();
    }

    #[test]
    fn a_response_that_is_not_from_a_node_is_a_refusal() {
        for answer in [
            "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 4\r\n\r\nnope",
            "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnope",
            "HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 4\r\n\r\nnope",
        ] {
            let (url, served) = tests::serve(answer);
            let error = publish_to(&url, "{}").unwrap_err();
            assert_eq!(error.exit_code(), ExitCode::from(2), "{error}");
            assert!(error.to_string().ends_with("without a code: nope"), "{error}");
            served.join().unwrap();
        }
    }

    #[test]
    fn no_response_and_invalid_options_have_their_own_exit_codes() {
        assert_eq!(code_of(publish_to(&tests::nobody(), "{}")), ExitCode::from(1));
        for data in ["", "5", "{", "[]", "{}{}"] {
            assert_eq!(
                code_of(publish_to("http://127.0.0.1:1", data)),
                ExitCode::from(64),
                "{data}"
            );
        }
        assert_eq!(code_of(publish_to("ftp://h", "{}")), ExitCode::from(64));
    }
}
