//! The client across its connections: what it sends and when, and when it is done.

use std::{
    collections::{HashSet, VecDeque},
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use secrecy::SecretString;
use shared::client_type::ClientType;
use tokio::sync::{mpsc, watch};

use super::{
    args::Servers,
    close_code,
    line::{self, InputCommand},
    packet::{self, IdentifyScope},
    render::{PrintedRecord, Renderer},
};
use crate::backoff::Backoff;

/// The shortest pause before reconnecting.
const SHORTEST: Duration = Duration::from_secs(1);
/// The longest first pause.
const FIRST_CEILING: Duration = Duration::from_secs(2);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(30);

/// Maximum number of lines held until there is a session. Beyond that, input is not read.
const HELD_LINES: usize = 64;

/// The client's options.
#[derive(Debug)]
pub(super) struct ClientOptions {
    /// The URL, with its query.
    pub(super) url: String,
    /// The Unix socket to connect to, instead of the host in the URL.
    pub(super) unix: Option<PathBuf>,
    /// How to encrypt, if the URL asks for it.
    pub(super) tls: Option<Arc<rustls::ClientConfig>>,
    pub(super) key: SecretString,
    pub(super) client_type: ClientType,
    /// What else an identify asks for. Its position moves along with what is received.
    pub(super) scope: IdentifyScope,
    /// The counts to report at the start of every session.
    pub(super) servers: Option<Servers>,
    pub(super) reconnect: bool,
    /// The number of application events after which the client is done.
    pub(super) count: Option<u64>,
    pub(super) on_eof: OnEof,
}

/// What to do at the end of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnEof {
    /// Close now: a person ended the input.
    Close,
    /// Close once everything is sent: a script ended its input.
    CloseWhenSent,
    /// Keep listening.
    Stay,
}

/// An item from standard input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ClientInput {
    /// A line without its line break.
    Line(String),
    /// A line that cannot be a command, with the reason.
    Unreadable(&'static str),
    /// The end of the input.
    End,
}

/// Why the client must stop before it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopReason {
    /// Ctrl-C.
    Interrupted,
    /// `--timeout-ms` ran out.
    OutOfTime,
}

/// How a connection, or the whole client, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientEnd {
    /// Closed by this side, or by the gateway with 1000.
    Normal,
    /// The requested number of events has arrived.
    Counted,
    /// The connection failed, or ended without an error or close frame.
    Lost,
    /// Closed by the gateway with an error. The code is the error's `e`, or else the close code.
    Refused {
        /// The error's `e`, or the close code.
        code: i64,
        /// Whether a session had begun.
        had_session: bool,
    },
    /// Stopped from outside.
    Stopped(StopReason),
}

impl ClientEnd {
    /// Returns the exit code: 0 normal, 1 lost, 2 error from the gateway, 3 out of time.
    pub(super) fn exit_code(self) -> u8 {
        match self {
            Self::Normal | Self::Counted | Self::Stopped(StopReason::Interrupted) => 0,
            Self::Lost => 1,
            Self::Refused { .. } => 2,
            Self::Stopped(StopReason::OutOfTime) => 3,
        }
    }

    pub(super) fn may_improve(self) -> bool {
        match self {
            Self::Normal | Self::Counted | Self::Stopped(_) => false,
            Self::Lost => true,
            Self::Refused { code, had_session } => !close_code::is_final(code, had_session),
        }
    }
}

/// A client that writes its output to `W`.
#[derive(Debug)]
pub(super) struct ConnectClient<W> {
    pub(super) options: ClientOptions,
    pub(super) renderer: Renderer<W>,
    pub(super) input: mpsc::Receiver<ClientInput>,
    pub(super) stop: watch::Receiver<Option<StopReason>>,
    /// Packets to send once there is a session.
    pub(super) held: VecDeque<String>,
    /// Whether the input has ended. Needed because a channel without a sender is always ready.
    pub(super) input_ended: bool,
    /// Whether to close as soon as nothing is held.
    pub(super) leaving: bool,
    /// The nonces of requests that have no outcome yet, and the number of requests so far.
    pub(super) requests: HashSet<String>,
    pub(super) requests_sent: u64,
    /// The number of application events received.
    pub(super) received: u64,
    pub(super) backoff: Backoff,
}

impl<W: Write> ConnectClient<W> {
    pub(super) fn new(
        options: ClientOptions,
        renderer: Renderer<W>,
        input: mpsc::Receiver<ClientInput>,
        stop: watch::Receiver<Option<StopReason>>,
    ) -> Self {
        Self {
            options,
            renderer,
            input,
            stop,
            held: VecDeque::new(),
            input_ended: false,
            leaving: false,
            requests: HashSet::new(),
            requests_sent: 0,
            received: 0,
            backoff: Backoff::new(FIRST_CEILING, LONGEST, |_| SHORTEST),
        }
    }

    pub(super) fn takes_input(&self) -> bool {
        !self.input_ended && !self.leaving && self.held.len() < HELD_LINES
    }

    /// Waits for input or a request to stop. Takes no input while the held packets are at their limit.
    pub(super) async fn next_event(&mut self) -> ClientEvent {
        let takes_input = self.takes_input();
        tokio::select! {
            input = next_input(&mut self.input), if takes_input => ClientEvent::Input(input),
            stop = stopped(&mut self.stop) => ClientEvent::Stop(stop),
        }
    }

    /// Queues the packet that a line asks to send, or executes the line's command.
    pub(super) fn take_input(&mut self, input: ClientInput) -> io::Result<()> {
        match input {
            ClientInput::Line(line) => match line::parse(&line) {
                Ok(None) => {}
                Ok(Some(InputCommand::Send(text))) => self.held.push_back(text),
                Ok(Some(InputCommand::Request { name, data })) => {
                    self.requests_sent += 1;
                    let nonce = format!("request-{}", self.requests_sent);
                    self.held.push_back(packet::request(&name, &nonce, &data));
                    self.requests.insert(nonce);
                }
                Ok(Some(InputCommand::Help)) => {
                    for line in line::HELP {
                        self.note("help", line)?;
                    }
                }
                Ok(Some(InputCommand::Quit)) => self.leaving = true,
                Err(error) => self.problem("bad_line", &error.to_string())?,
            },
            ClientInput::Unreadable(why) => self.problem("bad_line", why)?,
            ClientInput::End => {
                self.input_ended = true;
                self.leaving = self.options.on_eof == OnEof::Close;
            }
        }
        Ok(())
    }

    /// Returns whether all input has been processed and the client should close. `live` is whether there is a session.
    pub(super) fn is_done(&self, live: bool) -> bool {
        let is_script_sent = live && self.input_ended && self.options.on_eof == OnEof::CloseWhenSent;
        let script_over = is_script_sent && self.requests.is_empty();
        (self.leaving || script_over) && self.held.is_empty()
    }

    /// Resets the backoff when a session begins. Requests that were sent in an earlier session get no answer any more.
    pub(super) fn session_began(&mut self) {
        let held = &self.held;
        self.requests
            .retain(|nonce| held.iter().any(|packet| packet.contains(nonce.as_str())));
        self.backoff.reset();
    }

    pub(super) fn show(&mut self, record: &PrintedRecord<'_>) -> io::Result<()> {
        self.renderer.write(crate::clock::wall_clock(), record)
    }

    pub(super) fn problem(&mut self, event: &'static str, message: &str) -> io::Result<()> {
        self.show(&PrintedRecord::Problem { event, message })
    }

    pub(super) fn note(&mut self, event: &'static str, message: &str) -> io::Result<()> {
        self.show(&PrintedRecord::Note { event, message })
    }
}

/// An event from outside the connection.
#[derive(Debug)]
pub(super) enum ClientEvent {
    Input(ClientInput),
    Stop(StopReason),
}

pub(super) async fn next_input(input: &mut mpsc::Receiver<ClientInput>) -> ClientInput {
    input.recv().await.unwrap_or(ClientInput::End)
}

/// Waits until the client is told to stop; forever if the sender is gone.
pub(super) async fn stopped(stop: &mut watch::Receiver<Option<StopReason>>) -> StopReason {
    let told = stop.wait_for(Option::is_some).await.ok().and_then(|it| *it);
    match told {
        Some(stop) => stop,
        None => std::future::pending().await,
    }
}
