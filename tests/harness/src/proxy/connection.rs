//! A connection through a proxy.

use std::{io, pin::pin, time::Duration};

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{mpsc, watch},
    task::yield_now,
    time::{Instant, sleep_until},
};

use super::faults::ProxyFaults;

/// The most bytes of one read.
const CHUNK: usize = 16_384;

/// The most chunks that a delay holds back; beyond that, the sender is not read.
const HELD: usize = 1024;

/// Makes the socket end with a reset instead of a FIN.
pub(super) fn cut(stream: &TcpStream) {
    SockRef::from(stream)
        .set_linger(Some(Duration::ZERO))
        .expect("the linger option can be set");
}

/// Forwards bytes between `client` and the target until both have ended, one breaks, or the proxy resets its
/// connections. `born` is the number of resets before this connection was made.
pub(super) async fn carry(mut client: TcpStream, born: u64, faults: watch::Receiver<ProxyFaults>) {
    let mut receiver = faults.clone();
    let mut reset = pin!(receiver.wait_for(|faults| faults.resets != born));
    let mut connecting = faults.clone();
    let target = tokio::select! {
        open = connecting.wait_for(ProxyFaults::connects) => open.ok().map(|faults| faults.target),
        _ = &mut reset => None,
    };
    let server = match target {
        Some(target) => TcpStream::connect(target).await.ok(),
        None => None,
    };
    let Some(mut server) = server else {
        cut(&client);
        return;
    };
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    let is_whole = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let there = pump(from_client, to_server, faults.clone());
        let back = pump(from_server, to_client, faults.clone());
        tokio::select! {
            both = async { tokio::try_join!(there, back) } => both.is_ok(),
            _ = &mut reset => false,
        }
    };
    if !is_whole {
        cut(&client);
        cut(&server);
    }
}

/// Forwards one direction to its end.
async fn pump(from: ReadHalf<'_>, to: WriteHalf<'_>, faults: watch::Receiver<ProxyFaults>) -> io::Result<()> {
    let (held, ready) = mpsc::channel(HELD);
    tokio::try_join!(take(from, held, faults.clone()), give(to, ready, faults))?;
    Ok(())
}

/// When a chunk may be forwarded, and its bytes; an empty chunk is the end of the stream.
type DelayedChunk = (Instant, Vec<u8>);

async fn take(
    mut from: ReadHalf<'_>,
    held: mpsc::Sender<DelayedChunk>,
    mut faults: watch::Receiver<ProxyFaults>,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        wait_until_moving(&mut faults).await?;
        let count = from.read(&mut buffer).await?;
        let due = Instant::now() + faults.borrow().delay;
        let gone = held.send((due, buffer[..count].to_vec())).await.is_err();
        if count == 0 || gone {
            return Ok(());
        }
    }
}

async fn give(
    mut to: WriteHalf<'_>,
    mut ready: mpsc::Receiver<DelayedChunk>,
    mut faults: watch::Receiver<ProxyFaults>,
) -> io::Result<()> {
    while let Some((due, chunk)) = ready.recv().await {
        until(due).await;
        let mut rest = &*chunk;
        while !rest.is_empty() {
            let now = wait_until_moving(&mut faults).await?;
            if now.is_lossy() {
                break;
            }
            let (portion, later) = rest.split_at(now.portion(rest.len()));
            to.write_all(portion).await?;
            until(Instant::now() + now.pause_after(portion.len())).await;
            rest = later;
        }
        let is_end = chunk.is_empty();
        if is_end && !wait_until_moving(&mut faults).await?.is_lossy() {
            to.shutdown().await?;
        }
    }
    Ok(())
}

/// Waits until `time`. Where nothing is held back, no timer is used: it would be up to a millisecond late, a fault of
/// its own.
async fn until(time: Instant) {
    if time > Instant::now() {
        sleep_until(time).await;
    } else {
        yield_now().await;
    }
}

/// Waits while the proxy is frozen.
async fn wait_until_moving(faults: &mut watch::Receiver<ProxyFaults>) -> io::Result<ProxyFaults> {
    let now = faults.wait_for(ProxyFaults::is_moving).await;
    now.map(|now| now.clone()).map_err(io::Error::other)
}
