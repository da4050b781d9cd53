//! `gateway-node healthcheck`: checks a node's health over HTTP, for containers without a shell.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use clap::Args;

use super::{
    http_client,
    options::default_file,
    target::{Target, TargetOptions},
};
use crate::{config::Sources, logging::escape};

/// The options of `healthcheck`. Exit codes: 0 the response is 200, 1 anything else.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Without --url it asks the node of the configuration, which it reads like `serve`: from --config or \
                  /etc/utilbot/gateway.toml, and from the environment.\n\n\
                  Examples:\n  gateway-node healthcheck\n  \
                  gateway-node healthcheck --url https://gateway.example.com/readyz\n\n\
                  Exit codes: 0 the response is 200, 1 anything else."
)]
pub struct HealthcheckArgs {
    /// The node.
    #[command(flatten)]
    pub target: TargetOptions,

    /// What to request if there is no --url
    #[arg(long, value_name = "PATH", default_value = "/livez", conflicts_with = "url")]
    pub path: String,

    /// Timeout in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout_ms: u64,
}

/// Requests the URL in `args`; see [`HealthcheckArgs`] for the exit codes. Blocks for at most `timeout_ms`.
pub fn run(args: &HealthcheckArgs, environment: impl IntoIterator<Item = (String, String)>) -> ExitCode {
    let (line, code) = match check(args, environment) {
        Ok(()) => ("healthy".to_owned(), ExitCode::SUCCESS),
        Err(problem) => (format!("unhealthy: {}", escape(&problem)), ExitCode::FAILURE),
    };
    // Scripts use the exit code; the line is for people.
    let _ = writeln!(io::stdout(), "{line}");
    code
}

fn check(args: &HealthcheckArgs, environment: impl IntoIterator<Item = (String, String)>) -> Result<(), String> {
    let target = target(args, environment)?;
    http_client::check_url(&target.url).map_err(|error| error.to_string())?;
    let response = http_client::agent(&target, Duration::from_millis(args.timeout_ms))
        .get(&target.url)
        .call()
        .map_err(|error| format!("no response from {}: {error}", target.url))?;
    match response.status().as_u16() {
        200 => Ok(()),
        status => Err(format!("{} answered HTTP {status}", target.url)),
    }
}

/// Decides what to request.
fn target(args: &HealthcheckArgs, environment: impl IntoIterator<Item = (String, String)>) -> Result<Target, String> {
    if args.target.url.is_some() {
        return args
            .target
            .target(false, environment)
            .map_err(|error| error.to_string());
    }
    let file = args.target.config.clone().or_else(default_file);
    let sources = Sources::new().file(file).environment(environment);
    // A fault elsewhere in the configuration does not say how the running node is.
    let mut target = Target::of(sources.draft().settings(), false);
    let path = args.path.strip_prefix('/').unwrap_or(&args.path);
    target.url.push_str(path);
    Ok(target)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::{super::http_client::tests, *};

    fn check_url(url: &str, timeout_ms: u64) -> Result<(), String> {
        let target = TargetOptions {
            url: Some(url.to_owned()),
            ..TargetOptions::default()
        };
        let args = HealthcheckArgs {
            target,
            path: String::new(),
            timeout_ms,
        };
        check(&args, [])
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
        assert!(check_url("https://127.0.0.1:1/", 5_000).is_err());
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
