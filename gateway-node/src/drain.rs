//! Stops a node gracefully: it turns unready, then refuses upgrades, then asks all sessions to reconnect, then exits.
//!
//! The HTTP server's own graceful stop would wait for every WebSocket and then cut it without a close frame. So it
//! never runs while a session is open: the drain comes first, and the server is then stopped at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::SeqCst},
    },
    time::Duration,
};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    admission::Admission,
    config::DrainSettings,
    registry::{EndReason, Registry},
};

/// How often the drain checks whether all clients have left.
const LOOK: Duration = Duration::from_millis(10);

const SERVING: u8 = 0;
const UNREADY: u8 = 1;
const REFUSING: u8 = 2;

/// How far a node's drain has come, readable from any thread. Clones share the state.
#[derive(Debug, Clone, Default)]
pub struct DrainState(Arc<AtomicU8>);

impl DrainState {
    /// Whether the drain has begun. A load balancer should then send no more clients here.
    pub fn is_draining(&self) -> bool {
        self.0.load(SeqCst) != SERVING
    }

    /// Whether upgrades to WebSocket are refused.
    pub fn refuses(&self) -> bool {
        self.0.load(SeqCst) == REFUSING
    }

    fn advance(&self, stage: u8) {
        self.0.fetch_max(stage, SeqCst);
    }
}

/// Asks the node to stop. A second one stops it at once.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct StopNode {
    /// The signal's name, for the log.
    pub signal: &'static str,
}

/// The actor that drains a node when it receives [`StopNode`].
pub struct Drain {
    state: DrainState,
    settings: DrainSettings,
    registry: Registry,
    admission: Admission,
    /// Resolved when all clients have left or the deadline has passed.
    done: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Drain {
    /// Returns a drain that has not begun, and a receiver that resolves when it is over.
    pub fn new(
        state: DrainState,
        settings: DrainSettings,
        registry: Registry,
        admission: Admission,
    ) -> (Self, tokio::sync::oneshot::Receiver<()>) {
        let (done, over) = tokio::sync::oneshot::channel();
        (
            Self {
                state,
                settings,
                registry,
                admission,
                done: Some(done),
            },
            over,
        )
    }

    /// Runs the drain, from the signal until all clients have left or the deadline has passed.
    async fn leave(state: DrainState, settings: DrainSettings, registry: Registry, admission: Admission) {
        let ms = Duration::from_millis;
        let deadline = Instant::now() + ms(settings.deadline_ms);
        state.advance(UNREADY);
        if admission.websockets() > 0 {
            sleep(ms(settings.balancer_wait_ms)).await;
        }
        state.advance(REFUSING);
        registry.end_reason(EndReason::Restarting, ms(settings.spread_ms));
        let everybody_left = async {
            while admission.websockets() > 0 {
                sleep(LOOK).await;
            }
        };
        tokio::select! {
            () = everybody_left => log::info!("every client has left"),
            () = sleep_until(deadline) => {
                log::warn!(connections = admission.websockets(); "deadline reached, cutting off the remaining clients");
            }
        }
    }
}

impl Actor for Drain {
    type Context = Context<Self>;
}

impl Handler<StopNode> for Drain {
    type Result = ();

    fn handle(&mut self, stop: StopNode, context: &mut Self::Context) {
        let Some(done) = self.done.take() else {
            log::warn!(signal = stop.signal; "stopping at once");
            // A second signal means: stop now. Nothing that still runs is worth waiting for.
            log::logger().flush();
            std::process::exit(1);
        };
        log::info!(signal = stop.signal, connections = self.admission.websockets(); "draining");
        let leaving = Self::leave(
            self.state.clone(),
            self.settings.clone(),
            self.registry.clone(),
            self.admission.clone(),
        );
        context.spawn(leaving.into_actor(self).map(|(), _, _| {
            // The receiver may have been dropped already.
            let _ = done.send(());
        }));
    }
}
