//! The client across its connections: what it may send and when, and when it is done.

use std::{
    collections::VecDeque,
    io::{self, Write},
    time::{Duration, SystemTime},
};

use secrecy::SecretString;
use shared::client_type::ClientType;
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tokio_tungstenite::{
    connect_async_with_config,
    tungstenite::{Error, protocol::WebSocketConfig},
};

use super::{
    args::Servers,
    backoff::Backoff,
    close_code, connection,
    line::{self, InputCommand},
    packet::MESSAGE_BYTES,
    render::{PrintedRecord, Renderer},
};

/// How long a connection may take, from the first packet of TCP to the answer to the upgrade.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How many lines wait for a session before no more are read.
const HELD_LINES: usize = 64;

/// What the client was told to do.
#[derive(Debug)]
pub(super) struct ClientOptions {
    /// With its query.
    pub(super) url: String,
    pub(super) key: SecretString,
    pub(super) client_type: ClientType,
    /// What to report at the start of every session.
    pub(super) servers: Option<Servers>,
    pub(super) reconnect: bool,
    /// After how many application events the client is done.
    pub(super) count: Option<u64>,
    pub(super) on_eof: OnEof,
}

/// What the end of the input means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnEof {
    /// A person has had enough: close now.
    Close,
    /// A script has said everything: close once it is sent.
    CloseWhenSent,
    /// Nothing: keep listening.
    Stay,
}

/// What standard input has brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ClientInput {
    /// A line without its end.
    RenderedLine(String),
    /// A line that cannot be one of ours, with the reason.
    Unreadable(&'static str),
    /// There is no more.
    ClientEnd,
}

/// Why the client shall stop before it is done by itself.
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
    /// As many events as were waited for have arrived.
    Counted,
    /// No connection, or one that went without a word.
    Lost,
    /// Closed by the gateway with an error; the code is the error's `e` or the close code.
    Refused {
        /// `e`, or the close code.
        code: i64,
        /// Whether a session had begun.
        had_session: bool,
    },
    /// Stopped from outside.
    Stopped(StopReason),
}

impl ClientEnd {
    /// The exit code: 0 normal, 1 lost, 2 an error of the gateway, 3 out of time.
    pub(super) fn exit_code(self) -> u8 {
        match self {
            Self::Normal | Self::Counted | Self::Stopped(StopReason::Interrupted) => 0,
            Self::Lost => 1,
            Self::Refused { .. } => 2,
            Self::Stopped(StopReason::OutOfTime) => 3,
        }
    }

    fn may_improve(self) -> bool {
        match self {
            Self::Normal | Self::Counted | Self::Stopped(_) => false,
            Self::Lost => true,
            Self::Refused { code, had_session } => !close_code::is_final(code, had_session),
        }
    }
}

/// A client; `W` is where it shows what happens.
#[derive(Debug)]
pub(super) struct ConnectClient<W> {
    pub(super) options: ClientOptions,
    pub(super) renderer: Renderer<W>,
    input: mpsc::Receiver<ClientInput>,
    stop: watch::Receiver<Option<StopReason>>,
    /// Packets that wait for a session.
    pub(super) held: VecDeque<String>,
    /// Whether the input has ended; a channel without a sender would be ready for ever.
    input_ended: bool,
    /// Whether to close as soon as nothing is held.
    pub(super) leaving: bool,
    /// Application events that have arrived.
    pub(super) received: u64,
    backoff: Backoff,
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
            received: 0,
            backoff: Backoff::default(),
        }
    }

    /// Connects, and again after a loss if that is wanted, until it is over.
    ///
    /// # Errors
    ///
    /// When nothing can be shown any more.
    pub(super) async fn run(&mut self) -> io::Result<ClientEnd> {
        let end = self.run_until_over().await?;
        if end == ClientEnd::Stopped(StopReason::OutOfTime) {
            self.problem("timeout", "out of time")?;
        }
        Ok(end)
    }

    async fn run_until_over(&mut self) -> io::Result<ClientEnd> {
        loop {
            let end = self.attempt().await?;
            if !self.options.reconnect || !end.may_improve() {
                return Ok(end);
            }
            // Without randomness the process's number still tells the clients of a machine apart.
            let random = getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()));
            let wait = self.backoff.next(random);
            let message = format!("connecting again in {} ms", wait.as_millis());
            self.note("retrying", &message)?;
            if let Some(end) = self.wait(wait).await? {
                return Ok(end);
            }
        }
    }

    async fn attempt(&mut self) -> io::Result<ClientEnd> {
        let url = self.options.url.clone();
        self.show(&PrintedRecord::Connecting { url: &url })?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES))
            .max_frame_size(Some(MESSAGE_BYTES));
        let connecting = timeout(CONNECT_TIMEOUT, connect_async_with_config(&url, Some(config), true));
        let connected = tokio::select! {
            connected = connecting => connected,
            stop = stopped(&mut self.stop) => return Ok(ClientEnd::Stopped(stop)),
        };
        match connected {
            Ok(Ok((socket, _response))) => {
                self.show(&PrintedRecord::Connected { url: &url })?;
                connection::drive(self, socket).await
            }
            Ok(Err(error)) => {
                self.problem("refused", &refusal(&error))?;
                Ok(ClientEnd::Lost)
            }
            Err(_elapsed) => {
                self.problem("refused", "no answer to the upgrade in 10 s")?;
                Ok(ClientEnd::Lost)
            }
        }
    }

    /// Waits before the next attempt; `Some` if that is not to come.
    async fn wait(&mut self, duration: Duration) -> io::Result<Option<ClientEnd>> {
        let mut wait = std::pin::pin!(sleep(duration));
        loop {
            let input = tokio::select! {
                () = &mut wait => return Ok(None),
                stop = stopped(&mut self.stop) => return Ok(Some(ClientEnd::Stopped(stop))),
                input = next_input(&mut self.input), if self.takes_input() => input,
            };
            self.take_input(input)?;
            if self.leaving && self.held.is_empty() {
                return Ok(Some(ClientEnd::Normal));
            }
        }
    }

    fn takes_input(&self) -> bool {
        !self.input_ended && !self.leaving && self.held.len() < HELD_LINES
    }

    /// Waits for input, or for being stopped. What is held does not grow beyond its bound.
    pub(super) async fn next_event(&mut self) -> ClientEvent {
        let takes_input = self.takes_input();
        tokio::select! {
            input = next_input(&mut self.input), if takes_input => ClientEvent::ClientInput(input),
            stop = stopped(&mut self.stop) => ClientEvent::StopReason(stop),
        }
    }

    /// Holds what a line asks to send, and obeys what it asks of the client.
    pub(super) fn take_input(&mut self, input: ClientInput) -> io::Result<()> {
        match input {
            ClientInput::RenderedLine(line) => match line::parse(&line) {
                Ok(None) => {}
                Ok(Some(InputCommand::Send(text))) => self.held.push_back(text),
                Ok(Some(InputCommand::Help)) => {
                    for line in line::HELP {
                        self.note("help", line)?;
                    }
                }
                Ok(Some(InputCommand::Quit)) => self.leaving = true,
                Err(error) => self.problem("bad_line", &error.to_string())?,
            },
            ClientInput::Unreadable(why) => self.problem("bad_line", why)?,
            ClientInput::ClientEnd => {
                self.input_ended = true;
                self.leaving = self.options.on_eof == OnEof::Close;
            }
        }
        Ok(())
    }

    /// Whether everything that the input asked for is done and the client shall close. `live` is whether there is a
    /// session.
    pub(super) fn is_done(&self, live: bool) -> bool {
        let script_over = live && self.input_ended && self.options.on_eof == OnEof::CloseWhenSent;
        (self.leaving || script_over) && self.held.is_empty()
    }

    /// A session has begun: the next failure is the first again.
    pub(super) fn session_began(&mut self) {
        self.backoff.reset();
    }

    pub(super) fn show(&mut self, record: &PrintedRecord<'_>) -> io::Result<()> {
        self.renderer.write(SystemTime::now(), record)
    }

    pub(super) fn problem(&mut self, event: &'static str, message: &str) -> io::Result<()> {
        self.show(&PrintedRecord::Problem { event, message })
    }

    fn note(&mut self, event: &'static str, message: &str) -> io::Result<()> {
        self.show(&PrintedRecord::Note { event, message })
    }
}

/// What a client reacts to beside its connection.
#[derive(Debug)]
pub(super) enum ClientEvent {
    ClientInput(ClientInput),
    StopReason(StopReason),
}

async fn next_input(input: &mut mpsc::Receiver<ClientInput>) -> ClientInput {
    input.recv().await.unwrap_or(ClientInput::ClientEnd)
}

/// Waits until the client is told to stop; for ever if nobody is left who could.
async fn stopped(stop: &mut watch::Receiver<Option<StopReason>>) -> StopReason {
    let told = stop.wait_for(Option::is_some).await.ok().and_then(|it| *it);
    match told {
        Some(stop) => stop,
        None => std::future::pending().await,
    }
}

/// Why there is no WebSocket, with what an HTTP answer says.
fn refusal(error: &Error) -> String {
    /// As much of an answer's body as fits on a line or two.
    const BODY_BYTES: usize = 300;

    match error {
        Error::Http(response) => {
            let body = response.body().as_deref().unwrap_or_default();
            let body = String::from_utf8_lossy(&body[..body.len().min(BODY_BYTES)]);
            format!("the upgrade was refused: HTTP {} {}", response.status(), body.trim())
        }
        Error::Io(error) => format!("cannot connect: {error}"),
        other => format!("cannot connect: {other}"),
    }
}
