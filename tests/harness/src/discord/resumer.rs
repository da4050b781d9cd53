//! A client that keeps one session over any number of connections, as libraries do. It reports what it receives and
//! asserts nothing, and it does not panic if a node goes away.

use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

use super::GatewayPayload;

const TARGET: &str = "/?v=10&encoding=json";

/// How long a node may take to send Hello. A node that is suspended never does.
const HELLO_TIME: Duration = Duration::from_secs(5);

/// What a client receives.
#[derive(Debug)]
pub enum ResumerEvent {
    /// A dispatch, including Ready and Resumed.
    Dispatch(GatewayPayload),
    /// Op 7: the client must reconnect.
    Reconnect,
    /// Op 9: there is no such session, or not any more.
    Invalid,
    /// Op 11: a heartbeat was acknowledged.
    HeartbeatAck,
    /// The connection has ended, with the code of the Close frame if there was one.
    Ended(Option<u16>),
}

/// A session of one shard, connected or not.
#[derive(Debug)]
pub struct Resumer {
    token: String,
    shard: [u32; 2],
    intents: u64,
    /// The id of the session, and the sequence number of the last dispatch.
    session: Option<(String, u64)>,
}

/// A connection that has sent Identify or Resume. Dropping it ends the connection without a Close frame.
#[derive(Debug)]
pub struct ResumerConnection(WebSocketStream<TcpStream>);

impl Resumer {
    /// Creates a client without a session, which will identify with these values.
    pub const fn new(token: String, shard: [u32; 2], intents: u64) -> Self {
        Self {
            token,
            shard,
            intents,
            session: None,
        }
    }

    /// Connects and resumes the session, or identifies if there is none. Returns `None` if the node did not let the
    /// client in, for whatever reason.
    pub async fn connect(&self, address: SocketAddr) -> Option<ResumerConnection> {
        let mut connection = timeout(HELLO_TIME, ResumerConnection::greeted(address)).await.ok()??;
        let (token, shard, intents) = (&self.token, self.shard, self.intents);
        let (op, d) = if let Some((id, seq)) = &self.session {
            (6, json!({ "token": token, "session_id": id, "seq": seq }))
        } else {
            (
                2,
                json!({ "token": token, "properties": {}, "shard": shard, "intents": intents }),
            )
        };
        connection.send(op, &d).await;
        Some(connection)
    }

    /// The sequence number of the last dispatch, or 0 without a session.
    pub fn sequence(&self) -> u64 {
        self.session.as_ref().map_or(0, |(_, seq)| *seq)
    }

    /// Sends a heartbeat with the last sequence number.
    pub async fn beat(&self, connection: &mut ResumerConnection) {
        let seq = self.session.as_ref().map(|(_, seq)| *seq);
        connection.send(1, &json!(seq)).await;
    }

    /// Returns the next event of the connection. Cancel safe: nothing is lost if the future is dropped.
    pub async fn next(&mut self, connection: &mut ResumerConnection) -> ResumerEvent {
        loop {
            let payload = match connection.next().await {
                Ok(payload) => payload,
                Err(code) => return ResumerEvent::Ended(code),
            };
            match payload.op {
                0 => {
                    self.count(&payload);
                    return ResumerEvent::Dispatch(payload);
                }
                7 => return ResumerEvent::Reconnect,
                9 => {
                    if payload.d != true {
                        self.session = None;
                    }
                    return ResumerEvent::Invalid;
                }
                11 => return ResumerEvent::HeartbeatAck,
                _ => {}
            }
        }
    }

    fn count(&mut self, payload: &GatewayPayload) {
        if payload.t.as_deref() == Some("READY")
            && let Some(id) = payload.d["session_id"].as_str()
        {
            self.session = Some((id.to_owned(), 0));
        }
        if let (Some((_, seq)), Some(s)) = (&mut self.session, payload.s) {
            *seq = s;
        }
    }
}

impl ResumerConnection {
    async fn greeted(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(address).await.ok()?;
        stream.set_nodelay(true).ok()?;
        let (socket, _) = client_async(format!("ws://{address}{TARGET}"), stream).await.ok()?;
        let mut connection = Self(socket);
        let hello = connection.next().await.ok()?;
        (hello.op == 10).then_some(connection)
    }

    /// Sends a payload. If the connection has ended, [`Resumer::next`] reports that.
    pub async fn send(&mut self, op: u64, d: &Value) {
        let text = json!({ "op": op, "d": d }).to_string();
        self.0.send(Message::text(text)).await.ok();
    }

    async fn next(&mut self) -> Result<GatewayPayload, Option<u16>> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => return Ok(GatewayPayload::read(&text)),
                Some(Ok(Message::Close(close))) => return Err(close.map(|close| close.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }
}
