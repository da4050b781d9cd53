//! One connection through a proxy.

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

use super::weather::Weather;

/// Bytes that are read at once.
const CHUNK: usize = 16_384;

/// Chunks that a delay holds at most; then the sender is read no further.
const HELD: usize = 1024;

/// Makes the end of this socket a reset.
pub(super) fn cut(stream: &TcpStream) {
    SockRef::from(stream)
        .set_linger(Some(Duration::ZERO))
        .expect("a socket lingers as it is told");
}

/// Carries bytes between `client` and the target until both have ended, one breaks, or all are reset that were made
/// after `born` resets.
pub(super) async fn carry(mut client: TcpStream, born: u64, weather: watch::Receiver<Weather>) {
    let mut watching = weather.clone();
    let mut reset = pin!(watching.wait_for(|weather| weather.resets != born));
    let mut connecting = weather.clone();
    let target = tokio::select! {
        open = connecting.wait_for(Weather::connects) => open.ok().map(|weather| weather.target),
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
        let there = pump(from_client, to_server, weather.clone());
        let back = pump(from_server, to_client, weather.clone());
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

/// Carries one direction to its end.
async fn pump(from: ReadHalf<'_>, to: WriteHalf<'_>, weather: watch::Receiver<Weather>) -> io::Result<()> {
    let (held, ready) = mpsc::channel(HELD);
    tokio::try_join!(take(from, held, weather.clone()), give(to, ready, weather))?;
    Ok(())
}

/// What has arrived, and when it may go on; nothing at the end of the stream.
type Held = (Instant, Vec<u8>);

async fn take(
    mut from: ReadHalf<'_>,
    held: mpsc::Sender<Held>,
    mut weather: watch::Receiver<Weather>,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        calm(&mut weather).await?;
        let count = from.read(&mut buffer).await?;
        let due = Instant::now() + weather.borrow().delay;
        let gone = held.send((due, buffer[..count].to_vec())).await.is_err();
        if count == 0 || gone {
            return Ok(());
        }
    }
}

async fn give(
    mut to: WriteHalf<'_>,
    mut ready: mpsc::Receiver<Held>,
    mut weather: watch::Receiver<Weather>,
) -> io::Result<()> {
    while let Some((due, chunk)) = ready.recv().await {
        until(due).await;
        let mut rest = &*chunk;
        while !rest.is_empty() {
            let now = calm(&mut weather).await?;
            if now.is_lossy() {
                break;
            }
            let (portion, later) = rest.split_at(now.portion(rest.len()));
            to.write_all(portion).await?;
            until(Instant::now() + now.pause_after(portion.len())).await;
            rest = later;
        }
        let is_end = chunk.is_empty();
        if is_end && !calm(&mut weather).await?.is_lossy() {
            to.shutdown().await?;
        }
    }
    Ok(())
}

/// Waits until then. A timer is a millisecond late, which would be a fault of its own where nothing is held back.
async fn until(time: Instant) {
    if time > Instant::now() {
        sleep_until(time).await;
    } else {
        yield_now().await;
    }
}

/// Waits while nothing may pass.
async fn calm(weather: &mut watch::Receiver<Weather>) -> io::Result<Weather> {
    let now = weather.wait_for(Weather::is_moving).await;
    now.map(|now| now.clone()).map_err(io::Error::other)
}
