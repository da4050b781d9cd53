//! A session that requests members, and the connection that both kinds of sessions use.

use std::{
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{self, Message, WebSocket, client};

/// How long the node may send nothing.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// `GUILDS` and `GUILD_MEMBERS`.
const INTENTS: u64 = 3;

/// A blocking connection with an identified session.
pub(super) struct MembersConnection(WebSocket<TcpStream>);

impl MembersConnection {
    /// Connects, identifies, and waits for READY.
    pub(super) fn open(address: SocketAddr, token: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).context("connecting")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        let url = format!("ws://{address}/?v=10&encoding=json");
        let (socket, _) = client(url, stream).map_err(|error| anyhow::anyhow!("the handshake failed: {error}"))?;
        let mut connection = Self(socket);
        connection.until("\"op\":10")?;
        let d = json!({ "token": token, "intents": INTENTS, "properties": {} });
        connection.send(2, &d)?;
        connection.until("READY")?;
        Ok(connection)
    }

    pub(super) fn send(&mut self, op: u64, d: &Value) -> Result<()> {
        let payload = json!({ "op": op, "d": d }).to_string();
        self.0.send(Message::text(payload)).context("sending")
    }

    /// Returns the next payload.
    pub(super) fn next(&mut self) -> Result<tungstenite::Utf8Bytes> {
        loop {
            match self.0.read().context("reading")? {
                Message::Text(text) => return Ok(text),
                Message::Close(frame) => bail!("the session was closed: {frame:?}"),
                _ => {}
            }
        }
    }

    /// Reads up to a payload that contains `what`.
    pub(super) fn until(&mut self, what: &str) -> Result<()> {
        while !self.next()?.contains(what) {}
        Ok(())
    }
}

/// A session that requests members.
pub(super) struct MemberRequester(MembersConnection);

#[derive(Deserialize)]
struct ChunkPayload<'a> {
    #[serde(borrow)]
    t: Option<&'a str>,
    d: Option<Chunk>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Chunk {
    members: Vec<ChunkMember>,
    #[serde(rename = "chunk_index")]
    index: u64,
    #[serde(rename = "chunk_count")]
    count: u64,
    nonce: String,
}

#[derive(Deserialize)]
struct ChunkMember {
    user: ChunkUser,
}

#[derive(Deserialize)]
struct ChunkUser {
    id: String,
}

impl MemberRequester {
    pub(super) fn connect(address: SocketAddr, token: &str) -> Result<Self> {
        Ok(Self(MembersConnection::open(address, token)?))
    }

    /// Sends all requests at once. Checks that each answer is complete and in order, and that answers come in the
    /// order of the requests.
    pub(super) fn ask(&mut self, guild: u64, requests: u32, members: u64) -> Result<()> {
        for request in 0..requests {
            let d = json!({
                "guild_id": guild.to_string(), "query": "", "limit": 0, "nonce": request.to_string(),
            });
            self.0.send(8, &d)?;
        }
        for request in 0..requests {
            self.answer(request, members)
                .with_context(|| format!("the answer to request {request}"))?;
        }
        Ok(())
    }

    fn answer(&mut self, request: u32, members: u64) -> Result<()> {
        let (mut index, mut count, mut last) = (0, 0, 0);
        loop {
            let text = self.0.next()?;
            if !text.contains("GUILD_MEMBERS_CHUNK") {
                ensure!(!text.contains("RATE_LIMITED"), "the request was refused: {text}");
                continue;
            }
            let payload: ChunkPayload<'_> = serde_json::from_str(&text).context("parsing a chunk")?;
            ensure!(
                payload.t == Some("GUILD_MEMBERS_CHUNK"),
                "unexpected event {:?}",
                payload.t
            );
            let chunk = payload.d.unwrap_or_default();
            ensure!(
                chunk.nonce == request.to_string(),
                "got a chunk of request {}",
                chunk.nonce
            );
            ensure!(chunk.index == index, "got chunk {}, expected {index}", chunk.index);
            for member in &chunk.members {
                let id: u64 = member.user.id.parse()?;
                ensure!(id > last, "got member {id} after {last}");
                last = id;
                count += 1;
            }
            index += 1;
            if index == chunk.count {
                ensure!(count == members, "got {count} of {members} members");
                return Ok(());
            }
        }
    }
}
