//! `gateway-node healthcheck`: checks a node's health over HTTP, for containers without a shell.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use clap::Args;

use super::http_client;
use crate::logging::escape;

/// The options of `healthcheck`. Exit codes: 0 the response is 200, 1 anything else.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Exit codes: 0 the response is 200, 1 anything else.")]
pub struct HealthcheckArgs {
    /// URL to request
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080/livez")]
    pub url: String,

    /// Timeout in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout_ms: u64,
}

/// Requests the URL in `args`; see [`HealthcheckArgs`] for the exit codes. Blocks for at most `timeout_ms`.
pub fn run(args: &HealthcheckArgs) -> ExitCode {
    let (line, code) = match check(args) {
        Ok(()) => ("healthy".to_owned(), ExitCode::SUCCESS),
        Err(problem) => (format!("unhealthy: {}", escape(&problem)), ExitCode::FAILURE),
    };
    // Scripts use the exit code; the line is for people.
    let _ = writeln!(io::stdout(), "{line}");
    code
}

fn check(args: &HealthcheckArgs) -> Result<(), String> {
    http_client::check_url(&args.url).map_err(|error| error.to_string())?;
    let response = http_client::agent(Duration::from_millis(args.timeout_ms))
        .get(&args.url)
        .call()
        .map_err(|error| format!("no response from {}: {error}", args.url))?;
    match response.status().as_u16() {
        200 => Ok(()),
        status => Err(format!("{} answered HTTP {status}", args.url)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::{super::http_client::tests, *};

    fn check_url(url: &str, timeout_ms: u64) -> Result<(), String> {
        check(&HealthcheckArgs {
            url: url.to_owned(),
            timeout_ms,
        })
    }

    #[test]
    fn only_200_is_healthy() {
        let (url, served) = tests::serve("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        assert_eq!(check_url(&format!("{url}/livez"), 5_000), Ok(()));
        assert!(served.join().unwrap().starts_with("GET /livez HTTP/1.1\r\n"));
        for answer in [
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 301 Moved\r\nlocation: /\r\ncontent-length: 0\r\n\r\n",
        ] {
            let (url, served) = tests::serve(answer);
            assert!(check_url(&url, 5_000).unwrap_err().contains("answered HTTP"));
            served.join().unwrap();
        }
    }

    #[test]
    fn an_unreachable_node_or_a_bad_url_is_unhealthy() {
        assert!(check_url(&tests::nobody(), 5_000).is_err());
        assert!(check_url("https://h/", 5_000).is_err());
        assert!(check_url("http://[", 5_000).is_err());
    }

    #[test]
    fn a_silent_node_is_unhealthy_after_the_timeout() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/livez", listener.local_addr().unwrap());
        let start = crate::clock::monotonic();
        assert!(check_url(&url, 100).is_err());
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
