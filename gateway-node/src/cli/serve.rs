//! `serve`: runs the node.

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use crate::{
    config::{KeySettings, LogFormat, Secret},
    logging,
    node::{KeyOrigin, Node, NodeError, Preflight, ServiceManager},
};

/// The node cannot get what it needs, such as a port that is in use (`EX_UNAVAILABLE`).
const UNAVAILABLE: u8 = 69;
/// An error of the node or the system (`EX_SOFTWARE`).
const SOFTWARE: u8 = 70;

/// Runs a node until it is told to stop. `manager` is told how it is.
pub fn run(preflight: Preflight, manager: ServiceManager) -> ExitCode {
    let settings = &preflight.settings;
    let format = match settings.log.format {
        LogFormat::Text => logging::LogOutput::Text,
        LogFormat::Json => logging::LogOutput::Json,
    };
    let _flush = match logging::init(format, &settings.log.level) {
        Ok(flush) => flush,
        Err(error) => return fail(&error, SOFTWARE),
    };
    match actix::System::new().block_on(serve(preflight, manager)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ NodeError::Listen(_)) => fail(&error, UNAVAILABLE),
        Err(error) => fail(&error, SOFTWARE),
    }
}

async fn serve(preflight: Preflight, manager: ServiceManager) -> Result<(), NodeError> {
    let (mut secret, mut life) = ([0; 32], [0; 8]);
    getrandom::fill(&mut secret)
        .and_then(|()| getrandom::fill(&mut life))
        .map_err(io::Error::other)?;
    let secret = shared::key::generate(secret);
    let development = preflight
        .settings
        .development()
        .then(|| KeySettings::development(Secret::from(secret.clone())));
    let presented = development.as_ref().map(|key| format!("{}.{secret}", key.id));
    let origin = KeyOrigin {
        random: life,
        now: crate::clock::wall_clock(),
    };
    let node = Node::start(preflight, development.as_ref(), origin)?;
    let mut out = io::stdout().lock();
    let banner = &node.banner;
    let said = if out.is_terminal() {
        let program = std::env::args().next();
        let program = program.as_deref().unwrap_or(env!("CARGO_PKG_NAME"));
        write!(out, "{}", banner.text(presented.as_deref(), program))
    } else {
        writeln!(out, "{}", banner.json(presented.as_deref()))
    };
    // A node serves even if its output is not read.
    let _ = said.and_then(|()| out.flush());
    drop(out);
    node.run(manager).await
}

fn fail(error: &dyn std::error::Error, code: u8) -> ExitCode {
    logging::write_last_words(&error.to_string());
    ExitCode::from(code)
}
