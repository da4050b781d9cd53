//! Tells the service manager how the node is.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use tokio::time::Instant;

use super::service_manager::ServiceManager;
use crate::app_state::AppState;

/// How often a starting node looks whether it is ready.
const READINESS: Duration = Duration::from_millis(50);
/// How often a node that has been ready looks whether its status has changed.
const STATUS: Duration = Duration::from_secs(1);

/// Tells the service manager when the node is ready, reloads and stops, and that it is alive.
pub(super) struct Supervision {
    manager: ServiceManager,
    app: AppState,
    /// Whether the node has been ready.
    was_ready: Cell<bool>,
    is_stopping: Cell<bool>,
    status: RefCell<String>,
    /// Whether the latest message could not be sent.
    is_failing: Cell<bool>,
}

impl Supervision {
    pub(super) fn new(manager: ServiceManager, app: AppState) -> Rc<Self> {
        Rc::new(Self {
            manager,
            app,
            was_ready: Cell::new(false),
            is_stopping: Cell::new(false),
            status: RefCell::default(),
            is_failing: Cell::new(false),
        })
    }

    /// Logs and tells when the node is ready for clients for the first time, and tells every change of its status.
    pub(super) async fn follow_status(self: Rc<Self>) {
        let began = Instant::now();
        while !self.is_stopping.get() {
            let unready = self.app.unready(&self.app.backplane.status());
            let status = match &unready {
                None => "ready for clients".to_owned(),
                Some(why) => format!("not ready: {why}"),
            };
            let mut message = Vec::new();
            if unready.is_none() && !self.was_ready.replace(true) {
                let waited = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                log::info!(waited_ms = waited; "ready for clients");
                message.push("READY=1".to_owned());
            }
            if *self.status.borrow() != status {
                message.push(format!("STATUS={status}"));
                self.status.replace(status);
            }
            if !message.is_empty() {
                self.tell(&message.join("\n")).await;
            }
            tokio::time::sleep(if self.was_ready.get() { STATUS } else { READINESS }).await;
        }
    }

    /// Tells that the node is alive, twice in the time that the service manager waits. A worker that does not answer is
    /// waited for, and so is this thread: then the service manager ends the process.
    pub(super) async fn watch(self: Rc<Self>) {
        let Some(limit) = self.manager.watchdog() else { return };
        let pause = limit / 2;
        loop {
            let began = Instant::now();
            let answers = self.app.registry.answers();
            tokio::pin!(answers);
            let is_alive = if let Ok(is_alive) = tokio::time::timeout(pause, &mut answers).await {
                is_alive
            } else {
                let ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
                log::error!(watchdog_ms = ms; "a worker does not answer, so the service manager is not told that this node lives");
                answers.await
            };
            if is_alive {
                self.tell("WATCHDOG=1").await;
            }
            tokio::time::sleep_until(began + pause).await;
        }
    }

    /// Tells that the node begins to reload its configuration. A node that has not been ready yet says nothing, because
    /// the end of the reload would tell that it is.
    pub(super) async fn reloading(&self) {
        if self.was_ready.get() {
            let now = crate::clock::monotonic_us();
            self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={now}\nSTATUS=reloading"))
                .await;
        }
    }

    /// Tells that the node has reloaded its configuration, or has refused it.
    pub(super) async fn reloaded(&self, is_applied: bool) {
        if self.was_ready.get() {
            let status = if is_applied {
                self.status.borrow().clone()
            } else {
                "the configuration is invalid and was not applied; the log says why".to_owned()
            };
            self.tell(&format!("READY=1\nSTATUS={status}")).await;
            self.status.replace(status);
        }
    }

    /// Tells that the node drains and stops.
    pub(super) async fn stopping(&self) {
        if !self.is_stopping.replace(true) {
            self.tell("STOPPING=1\nSTATUS=draining").await;
        }
    }

    /// Sends a message. Logs if it is the first one that cannot be sent.
    async fn tell(&self, message: &str) {
        match self.manager.tell(message).await {
            Ok(()) => self.is_failing.set(false),
            Err(error) if !self.is_failing.replace(true) => {
                log::warn!(cause:% = error; "the service manager cannot be told how this node is");
            }
            Err(_) => {}
        }
    }
}
