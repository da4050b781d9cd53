//! `gateway-node publish`: publishes one event over HTTP, or sends a request and waits for the reply.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    complain,
    connect::{KeyArgs, compact, object},
    http_client,
    target::{KeyUse, Target, TargetOptions},
};
use crate::{
    config::Permission,
    logging::{escape, escape_json},
};

/// The options of `publish`. Exit codes: 0 the event or job is accepted, or the reply is printed; 1 no response; 2 refused, or no
/// reply; 64 invalid options.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Exit codes: 0 the event or job is accepted or the reply is printed, 1 no response, 2 refused or no reply, \
                  64 invalid options."
)]
pub struct PublishArgs {
    /// The node.
    #[command(flatten)]
    pub target: TargetOptions,

    /// Where the key comes from.
    #[command(flatten)]
    pub key: KeyArgs,

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

/// Why an event was not published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishCommandError {
    /// An option is invalid.
    #[error("{0}")]
    Usage(String),
    /// The node cannot be reached, or did not answer in time.
    #[error("no response from {url}: {source}")]
    NoAnswer {
        /// The URL of the node.
        url: String,
        /// The cause.
        source: ureq::Error,
    },
    /// The node refused the event, or there is no reply to the request.
    #[error("refused: HTTP {status} {code}: {message}{}", error.as_deref().map_or_else(String::new, |error| format!(" {error}")))]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The `code` of the response.
        code: String,
        /// The `message` of the response.
        message: String,
        /// The error with which the receiver of a request replied.
        error: Option<String>,
    },
}

impl PublishCommandError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 64,
            Self::NoAnswer { .. } => 1,
            Self::Refused { .. } => 2,
        }
    }
}

/// Publishes the event in `args`; see [`PublishArgs`] for the exit codes.
pub fn run(args: &PublishArgs, environment: impl IntoIterator<Item = (String, String)>) -> ExitCode {
    let target = args.target.target(false, environment);
    let target = target.map_err(|error| PublishCommandError::Usage(error.to_string()));
    match target.and_then(|target| publish(args, &target)) {
        // The event is published even if the output is not read.
        Ok(answer) => {
            let _ = writeln!(io::stdout(), "{answer}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(error.exit_code())
        }
    }
}

/// Sends the event and returns the response on one line. Blocks for at most `timeout_ms`.
///
/// # Errors
///
/// [`PublishCommandError`], which never shows the key.
fn publish(args: &PublishArgs, target: &Target) -> Result<String, PublishCommandError> {
    #[derive(Serialize)]
    struct PublishedBody<'a> {
        t: &'a str,
        d: &'a RawValue,
    }

    let usage = |error: String| PublishCommandError::Usage(error);
    http_client::check_url(&target.url).map_err(|error| usage(error.to_string()))?;
    let configured = target.key(KeyUse::Request(Permission::Publish));
    let key = args.key.load(configured).map_err(|error| usage(error.to_string()))?;
    let data = object(args.data.trim())
        .map_err(|problem| PublishCommandError::Usage(format!("JSON must be an object: {problem}")))?;
    let event = serde_json::to_string(&PublishedBody { t: &args.name, d: data })
        .map_err(|error| PublishCommandError::Usage(error.to_string()))?;

    let no_answer = |source| PublishCommandError::NoAnswer {
        url: target.url.clone(),
        source,
    };
    let path = if args.wait { "requests" } else { "events" };
    let url = format!("{}/api/v1/{path}", target.url.trim_end_matches('/'));
    let mut response = http_client::agent(target, Duration::from_millis(args.timeout_ms))
        .post(url)
        .header("authorization", format!("Bearer {}", key.expose_secret()))
        .header("content-type", "application/json")
        .send(event)
        .map_err(no_answer)?;
    let body = http_client::body(&mut response).map_err(no_answer)?;
    match response.status().as_u16() {
        202 if !args.wait => Ok(one_line(&body)),
        200 if args.wait => Ok(one_line(reply(&body))),
        status => Err(refusal(status, &body)),
    }
}

fn refusal(status: u16, body: &str) -> PublishCommandError {
    #[derive(Deserialize)]
    struct RefusalBody {
        code: String,
        message: String,
        error: Option<Box<RawValue>>,
    }

    let RefusalBody { code, message, error } = serde_json::from_str(body).unwrap_or_else(|_| RefusalBody {
        // The response is not from a node, but for example from a load balancer.
        code: "without a code".to_owned(),
        message: body.trim().chars().take(300).collect(),
        error: None,
    });
    PublishCommandError::Refused {
        status,
        code,
        message,
        error: error.map(|error| compact(error.get())),
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
    use super::{super::http_client::tests, *};

    fn publish_to(url: &str, data: &str) -> Result<String, PublishCommandError> {
        let args = PublishArgs {
            target: TargetOptions {
                url: Some(url.to_owned()),
                ..TargetOptions::default()
            },
            key: KeyArgs {
                file: None,
                from_environment: Some("id.verysecret".into()),
            },
            timeout_ms: 5_000,
            wait: false,
            name: "announce".to_owned(),
            data: data.to_owned(),
        };
        publish(&args, &args.target.target(false, []).unwrap())
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
                target: TargetOptions {
                    url: Some(url.to_owned()),
                    ..TargetOptions::default()
                },
                key: KeyArgs {
                    file: None,
                    from_environment: Some("id.verysecret".into()),
                },
                timeout_ms: 5_000,
                wait: true,
                name: "get_settings".to_owned(),
                data: "{}".to_owned(),
            };
            publish(&args, &args.target.target(false, []).unwrap())
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
            ("refused: HTTP 502 error: m {\"code\":\"busy\"}", 2)
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
        assert_eq!(error.exit_code(), 2);
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
            assert_eq!(error.exit_code(), 2, "{error}");
            assert!(error.to_string().ends_with("without a code: nope"), "{error}");
            served.join().unwrap();
        }
    }

    #[test]
    fn no_response_and_invalid_options_have_their_own_exit_codes() {
        assert_eq!(publish_to(&tests::nobody(), "{}").unwrap_err().exit_code(), 1);
        for data in ["", "5", "{", "[]", "{}{}"] {
            let error = publish_to("http://127.0.0.1:1", data).unwrap_err();
            assert_eq!(error.exit_code(), 64, "{data}");
        }
        assert_eq!(publish_to("ftp://h", "{}").unwrap_err().exit_code(), 64);
    }
}
