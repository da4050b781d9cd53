//! A client that keeps one session over as many connections as it takes, as libraries do. It says what it heard and judges
//! nothing, and nothing here panics because a node went away.

use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

use super::GatewayPayload;

const TARGET: &str = "/?v=10&encoding=json";

/// How long a node may take to say Hello. One whose process is stopped takes for ever.
const HELLO_TIME: Duration = Duration::from_secs(5);

/// What came.
#[derive(Debug)]
pub enum ResumerEvent {
    /// A dispatch, Ready and Resumed among them.
    Dispatch(GatewayPayload),
    /// The client is to connect again.
    Reconnect,
    /// There is no such session, or not any more.
    Invalid,
    /// A heartbeat was acknowledged.
    HeartbeatAck,
    /// The connection is over, with the code of the Close frame if there was one.
    Ended(Option<u16>),
}

/// A session of one shard, whether or not it is connected.
#[derive(Debug)]
pub struct Resumer {
    token: String,
    shard: [u32; 2],
    intents: u64,
    /// The id of the session, and the number of the last dispatch.
    session: Option<(String, u64)>,
}

/// A connection that has asked for its session. To cut it without a Close frame, drop it.
#[derive(Debug)]
pub struct ResumerConnection(WebSocketStream<TcpStream>);

impl Resumer {
    /// One that has no session yet and will identify with this.
    pub const fn new(token: String, shard: [u32; 2], intents: u64) -> Self {
        Self {
            token,
            shard,
            intents,
            session: None,
        }
    }

    /// Connects and asks for the session, or for a new one where there is none; `None` if the node did not let it in, for
    /// whatever reason.
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

    /// The number of the last dispatch; 0 where there is no session.
    pub fn sequence(&self) -> u64 {
        self.session.as_ref().map_or(0, |(_, seq)| *seq)
    }

    /// Says what it has.
    pub async fn beat(&self, connection: &mut ResumerConnection) {
        let seq = self.session.as_ref().map(|(_, seq)| *seq);
        connection.send(1, &json!(seq)).await;
    }

    /// The next thing that is heard. Nothing is lost when this is dropped before it is ready.
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

    /// Sends a payload. If the connection is over, [`Resumer::next`] tells.
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
