//! One connection, from Hello, heartbeats and identify to its close.

use std::{
    io::{self, Write},
    time::Duration,
};

use futures_util::{SinkExt as _, StreamExt as _};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use shared::v1::{EVENT_REFUSED, REPLY, REPLY_FAILED, RESERVED_EVENTS};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep_until, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use super::{
    client::{ClientEnd, ClientEvent, ConnectClient},
    close_code,
    heartbeat::Heartbeat,
    packet::{self, Packet},
    render::{Direction, PrintedRecord},
};

/// How long Hello may take. A gateway sends it immediately.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the reply to the identify may take. Longer than the gateway's own limit, whose error says more than ours
/// would.
const SESSION_TIMEOUT: Duration = Duration::from_secs(45);
/// How long sending a packet may take.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the gateway may take to complete the closing handshake.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// The heartbeat interval if Hello has none: the protocol's default, in milliseconds.
const DEFAULT_INTERVAL_MS: u64 = 60_000;

/// The phase of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ConnectPhase {
    /// Connected; Hello has not arrived.
    AwaitingHello,
    /// Identified; the reply has not arrived.
    AwaitingSession,
    /// A session exists; everything may be sent.
    Live,
    /// A close frame was sent or received. Messages that still arrive are shown.
    Closing,
}

/// What woke the connection.
enum Wake {
    Message(Option<Result<Message, Error>>),
    Event(ClientEvent),
    Heartbeat,
    Deadline,
}

struct GatewayConnection<'a, W, S> {
    client: &'a mut ConnectClient<W>,
    socket: WebSocketStream<S>,
    phase: ConnectPhase,
    /// When the phase times out.
    deadline: Option<Instant>,
    heartbeat: Option<Heartbeat>,
    had_session: bool,
    /// The `e` of an Error that was received.
    error: Option<i64>,
    /// The code of a close frame that was received.
    closed: Option<u16>,
    /// How the connection ends unless the gateway sends an error.
    verdict: Option<ClientEnd>,
}

/// Shows and handles what arrives on `socket`, and sends the held packets, until the connection is over.
///
/// # Errors
///
/// If the output can no longer be written.
pub(super) async fn drive<W: Write, S: AsyncRead + AsyncWrite + Unpin>(
    client: &mut ConnectClient<W>,
    socket: WebSocketStream<S>,
) -> io::Result<ClientEnd> {
    let mut connection = GatewayConnection {
        client,
        socket,
        phase: ConnectPhase::AwaitingHello,
        deadline: Some(Instant::now() + HELLO_TIMEOUT),
        heartbeat: None,
        had_session: false,
        error: None,
        closed: None,
        verdict: None,
    };
    loop {
        let wake = connection.wake().await;
        if let Some(end) = connection.handle(wake).await? {
            return Ok(end);
        }
        if let Some(end) = connection.send_held().await? {
            return Ok(end);
        }
    }
}

impl<W: Write, S: AsyncRead + AsyncWrite + Unpin> GatewayConnection<'_, W, S> {
    async fn wake(&mut self) -> Wake {
        let closing = self.phase == ConnectPhase::Closing;
        let heartbeat = self.heartbeat.as_ref().map(Heartbeat::wake);
        tokio::select! {
            message = self.socket.next() => Wake::Message(message),
            event = self.client.next_event(), if !closing => Wake::Event(event),
            () = at(heartbeat), if !closing => Wake::Heartbeat,
            () = at(self.deadline) => Wake::Deadline,
        }
    }

    async fn handle(&mut self, wake: Wake) -> io::Result<Option<ClientEnd>> {
        match wake {
            Wake::Message(Some(Ok(message))) => return self.message(message).await,
            Wake::Message(None | Some(Err(Error::ConnectionClosed | Error::AlreadyClosed))) => {
                return self.over(None).map(Some);
            }
            Wake::Message(Some(Err(error))) => {
                return self.over(Some(&error.to_string())).map(Some);
            }
            Wake::Event(ClientEvent::Input(input)) => self.client.take_input(input)?,
            Wake::Event(ClientEvent::Stop(stop)) => self.close(ClientEnd::Stopped(stop)).await,
            Wake::Heartbeat => return self.beat().await,
            Wake::Deadline => {
                let why = match self.phase {
                    ConnectPhase::AwaitingHello => "no hello arrived in 10 s",
                    ConnectPhase::AwaitingSession => "the identify was not answered in 45 s",
                    ConnectPhase::Live | ConnectPhase::Closing => "the close was not answered in 2 s",
                };
                return self.over(Some(why)).map(Some);
            }
        }
        Ok(None)
    }

    async fn message(&mut self, message: Message) -> io::Result<Option<ClientEnd>> {
        match message {
            Message::Text(text) => return self.text(&text).await,
            Message::Binary(bytes) => match packet::inflate(&bytes) {
                Ok(text) => return self.text(&text).await,
                Err(_) => self.client.show(&PrintedRecord::Binary(bytes.len()))?,
            },
            Message::Ping(_) => self.client.show(&PrintedRecord::Control("ping"))?,
            Message::Pong(_) => self.client.show(&PrintedRecord::Control("pong"))?,
            Message::Close(frame) => self.closed(frame.as_ref())?,
            // Reads never return raw frames.
            Message::Frame(_) => {}
        }
        Ok(None)
    }

    fn closed(&mut self, frame: Option<&CloseFrame>) -> io::Result<()> {
        let code = frame.map_or(1005, |frame| frame.code.into());
        self.closed = Some(code);
        self.phase = ConnectPhase::Closing;
        self.deadline = Some(Instant::now() + CLOSE_TIMEOUT);
        let reason = frame.map_or("", |frame| frame.reason.as_str());
        self.client.show(&PrintedRecord::Closed { code, reason })?;
        if code == 4001 && !self.had_session {
            let client_type = self.client.options.client_type;
            let message = format!(
                "the gateway refused the key: it is unknown, revoked or expired, or not valid for --type {client_type}"
            );
            self.client.problem("key_refused", &message)?;
        }
        Ok(())
    }

    async fn text(&mut self, text: &str) -> io::Result<Option<ClientEnd>> {
        let Some(packet) = Packet::parse(text) else {
            self.client.show(&PrintedRecord::Text(text))?;
            return Ok(None);
        };
        let op = packet.op();
        let round_trip = self
            .heartbeat
            .as_mut()
            .filter(|_| op == Some(packet::HEARTBEAT_ACK))
            .and_then(|heartbeat| heartbeat.answered(Instant::now()));
        self.client.show(&PrintedRecord::Packet {
            direction: Direction::In,
            packet: &packet,
            round_trip,
        })?;
        if self.client.options.scope.positions
            && let Some(position) = packet.position()
        {
            // A reconnect catches up from there.
            self.client.options.scope.after = Some(position);
        }
        match op {
            Some(packet::HELLO) if self.phase == ConnectPhase::AwaitingHello => {
                return self.hello(&packet).await;
            }
            Some(packet::EVENT) => self.event(&packet).await,
            Some(packet::ERROR) => {
                // An Error without a valid code still counts as an error: 1000.
                self.error = Some(packet.get("e").unwrap_or(1000));
            }
            _ => {}
        }
        Ok(None)
    }

    async fn hello(&mut self, packet: &Packet) -> io::Result<Option<ClientEnd>> {
        /// Both spellings of the field are in use.
        #[derive(Deserialize)]
        struct Hello {
            heartbeat: Option<u64>,
            hearbeat: Option<u64>,
        }

        let interval = packet
            .get::<Hello>("d")
            .and_then(|hello| hello.heartbeat.or(hello.hearbeat))
            .unwrap_or(DEFAULT_INTERVAL_MS);
        self.heartbeat = Some(Heartbeat::start(interval, Instant::now()));
        self.phase = ConnectPhase::AwaitingSession;
        self.deadline = Some(Instant::now() + SESSION_TIMEOUT);
        if let Some(end) = self.beat().await? {
            return Ok(Some(end));
        }
        let options = &self.client.options;
        let identify = packet::identify(options.client_type, options.key.expose_secret(), &options.scope);
        self.send(identify).await
    }

    async fn event(&mut self, packet: &Packet) {
        let name = packet.name().unwrap_or_default();
        if self.phase == ConnectPhase::AwaitingSession && name.ends_with("_connect_success") {
            self.phase = ConnectPhase::Live;
            self.deadline = None;
            self.had_session = true;
            self.client.session_began();
            if let Some(servers) = self.client.options.servers {
                // Goes ahead of lines typed in the meantime.
                let report = packet::send_servers(servers);
                self.client.held.push_front(report);
            }
        } else if matches!(&*name, REPLY | REPLY_FAILED | EVENT_REFUSED) {
            if let Some(nonce) = packet.get::<String>("n") {
                self.client.requests.remove(&nonce);
            }
        } else if self.had_session && !RESERVED_EVENTS.contains(&&*name) {
            self.client.received += 1;
            let enough = self.client.options.count == Some(self.client.received);
            if enough && self.phase != ConnectPhase::Closing {
                self.close(ClientEnd::Counted).await;
            }
        }
    }

    /// Sends a heartbeat if one is due. Ends the connection if an acknowledgement is overdue.
    async fn beat(&mut self) -> io::Result<Option<ClientEnd>> {
        let now = Instant::now();
        let Some(heartbeat) = &mut self.heartbeat else {
            return Ok(None);
        };
        if heartbeat.is_lost(now) {
            return self.over(Some("a heartbeat was not answered in 10 s")).map(Some);
        }
        if heartbeat.take_due(now) {
            return self.send(packet::heartbeat()).await;
        }
        Ok(None)
    }

    /// Sends the held packets if there is a session, and closes once all input is processed.
    async fn send_held(&mut self) -> io::Result<Option<ClientEnd>> {
        while self.phase == ConnectPhase::Live
            && let Some(text) = self.client.held.pop_front()
        {
            if let Some(end) = self.send(text).await? {
                return Ok(Some(end));
            }
        }
        if self.phase != ConnectPhase::Closing && self.client.is_done(self.phase == ConnectPhase::Live) {
            self.close(ClientEnd::Normal).await;
        }
        Ok(None)
    }

    async fn send(&mut self, text: String) -> io::Result<Option<ClientEnd>> {
        if let Some(packet) = Packet::parse(&text).map(Packet::without_key) {
            self.client.show(&PrintedRecord::Packet {
                direction: Direction::Out,
                packet: &packet,
                round_trip: None,
            })?;
        }
        match timeout(SEND_TIMEOUT, self.socket.send(Message::text(text))).await {
            // Send errors are ignored: the gateway may have just closed, and its error and close frame are still to be
            // read.
            Ok(_) => Ok(None),
            Err(_elapsed) => self.over(Some("a packet could not be sent in 10 s")).map(Some),
        }
    }

    /// Starts the closing handshake. Errors that the gateway still sends are shown and affect the exit code.
    async fn close(&mut self, verdict: ClientEnd) {
        self.verdict = Some(verdict);
        self.phase = ConnectPhase::Closing;
        self.deadline = Some(Instant::now() + CLOSE_TIMEOUT);
        let frame = CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        };
        // If this fails, the deadline ends the wait for the close frame.
        let _ = timeout(CLOSE_TIMEOUT, self.socket.close(Some(frame))).await;
    }

    /// Ends the connection and returns how it ended. `why` is the cause if there was no closing handshake.
    fn over(&mut self, why: Option<&str>) -> io::Result<ClientEnd> {
        if let Some(verdict @ (ClientEnd::Counted | ClientEnd::Stopped(_))) = self.verdict {
            return Ok(verdict);
        }
        let had_session = self.had_session;
        let code = self.error.or(self.closed.map(i64::from));
        if let Some(code) = code.filter(|code| self.error.is_some() || !close_code::is_normal(*code)) {
            return Ok(ClientEnd::Refused { code, had_session });
        }
        if let Some(verdict) = self.verdict {
            return Ok(verdict);
        }
        if self.closed.is_some() {
            return Ok(ClientEnd::Normal);
        }
        let message = match why {
            Some(why) => format!("connection lost: {why}"),
            None => "connection lost".to_owned(),
        };
        self.client.problem("lost", &message)?;
        Ok(ClientEnd::Lost)
    }
}

/// Waits until `instant`; forever if there is none.
async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
