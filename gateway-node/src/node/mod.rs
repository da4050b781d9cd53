//! A whole node. Builds every component from the settings and passes it to the components that need it.

mod banner;
mod descriptors;
mod error;
mod keys;
mod known_labels;
mod limits;
mod listeners;
mod origin;
mod preflight;
mod reload;
mod service_manager;
mod shared_parts;
mod supervision;
mod worker;

use std::{cell::RefCell, io, net::TcpListener, rc::Rc, sync::Arc, time::Duration};

use actix::Actor;
use actix_server::{Server, ServerHandle};
use actix_web::web;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};

pub use self::{
    banner::Banner, error::NodeError, origin::KeyOrigin, preflight::Preflight, service_manager::ServiceManager,
};
pub(crate) use self::{banner::address_here, preflight::redis_tls};
use self::{
    descriptors::Descriptors,
    keys::NodeKeys,
    limits::{admission_limits, http_limits, replay_limits, transport_limits},
    listeners::Listeners,
    reload::{Names, Reload, log_warnings},
    shared_parts::{Driving, NodeShared, shared_parts},
    supervision::Supervision,
    worker::WorkerConfig,
};
use crate::{
    accept::BrowserPolicy,
    admission::Admission,
    app_state::AppState,
    applications::Applications,
    auth::{Key, Keyring},
    backplane::Backplane,
    client_error_log::ClientErrorLog,
    cluster_sessions::ClusterSessions,
    config::{KeySettings, Settings},
    drain::{Drain, DrainState, StopNode},
    events::Events,
    hello_delay::HelloDelay,
    http::{Bodies, BodyLimits, HttpState, PublishAllowances, TicketBounds},
    metrics::Metrics,
    public_url::PublicUrl,
    registry::Registry,
    requests::{RequestSlots, Requests},
    session::{DiscordSessionSettings, MemberLists, V1SessionSettings},
    transport::{Certificate, OutboxPool, SocketFile},
};

/// How often the client errors that were left out of the log are summarised there.
const PROBLEM_SUMMARY: Duration = Duration::from_secs(10);
/// How long a stopping node waits for its last changes to reach the other nodes.
const SETTLING: Duration = Duration::from_secs(1);

/// A node that accepts connections.
pub struct Node {
    /// Printed once the node listens.
    pub banner: Banner,
    server: Server,
    handle: ServerHandle,
    drain: Drain,
    over: tokio::sync::oneshot::Receiver<()>,
    signals: Signals,
    reload: Reload,
    app: AppState,
    /// The backplane's background work.
    driving: Driving,
    /// The file of the public listener, if it is a Unix socket.
    file: Option<SocketFile>,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

impl Node {
    /// Binds the listeners and starts the workers. `development` is the key generated for development mode.
    ///
    /// # Errors
    /// If an address or the system does not allow it.
    pub fn start(
        preflight: Preflight,
        development: Option<&KeySettings>,
        origin: KeyOrigin,
    ) -> Result<Self, NodeError> {
        let (settings, certificate) = (preflight.settings, preflight.certificate);
        let name = name(&settings, origin);
        let events = Events::new(preflight.events);
        let applications = Applications::new(&settings.applications);
        let development = development.map(Key::new).transpose()?;
        let configured: Vec<_> = preflight.keys.into_iter().chain(development.clone()).collect();
        let workers = workers(&settings);
        let metrics = Arc::new(Metrics::default());
        metrics.begin(&known_labels::of(&settings));
        if let Some(expiry) = certificate.as_ref().and_then(Certificate::expiry) {
            metrics.certificate_expires("server", expiry);
        }
        let registry = registry(&settings, workers, &metrics);
        let (keyring, keys) = keys(&settings, &registry, configured);
        let NodeShared {
            backplane,
            jobs,
            tickets,
            discord,
            driving,
        } = shared_parts(&settings, &name, origin, registry.clone(), &keys, &metrics)?;
        let drain_state = DrainState::default();
        let descriptors = Descriptors::raise(workers);
        let admission = Admission::new(admission_limits(&settings, &descriptors));
        let client_errors = ClientErrorLog::new(Arc::clone(&metrics));
        let mut listeners = Listeners::bind(&settings)?;
        let app = AppState {
            requests: Requests::new(registry.pending_replies(), Arc::clone(&backplane), Arc::clone(&metrics)),
            request_slots: RequestSlots::new(settings.limits.requests_in_flight),
            registry: registry.clone(),
            cluster_sessions: ClusterSessions::new(registry.clone(), Arc::clone(&backplane), Arc::clone(&name)),
            jobs,
            backplane: Arc::clone(&backplane),
            tickets,
            discord,
            applications: applications.clone(),
            keyring,
            events: events.clone(),
            public_url: PublicUrl::new(&settings, &listeners.address),
            metrics,
            admission: admission.clone(),
            drain: drain_state.clone(),
            client_errors,
            hello_delay: HelloDelay::default(),
        };
        let config = worker_config(&settings, app.clone(), &name);
        descriptors.log(settings.limits.connections);
        log_warnings(&preflight.warnings);
        let banner = banner(&settings, &listeners, &name)?;
        let file = listeners.file.take();
        let server = listeners.serve(&config, workers, settings.limits.connections, certificate.as_ref())?;
        let (drain, over) = Drain::new(drain_state, settings.drain.clone(), registry.clone(), admission);
        Ok(Self {
            banner,
            handle: server.handle(),
            server,
            drain,
            over,
            signals: Signals::new()?,
            reload: Reload {
                metrics: Arc::clone(&app.metrics),
                names: RefCell::new(Names::of(&settings)),
                settings,
                development,
                keys,
                events,
                applications,
                certificate,
            },
            app,
            driving,
            file,
        })
    }

    /// Runs until a signal stops the node and it has drained. `manager` is told how it is.
    ///
    /// # Errors
    /// If the server fails.
    pub async fn run(self, manager: ServiceManager) -> Result<(), NodeError> {
        let Self {
            server,
            handle,
            drain,
            mut over,
            mut signals,
            reload,
            app,
            driving,
            banner,
            file,
        } = self;
        let AppState {
            client_errors,
            backplane,
            ..
        } = app.clone();
        log::info!(address:% = banner.address, node = &*banner.node, version = env!("CARGO_PKG_VERSION"); "listening");
        actix_rt::spawn(app.cluster_sessions.clone().answer_questions());
        let supervision = Supervision::new(manager, app);
        actix_rt::spawn(Rc::clone(&supervision).follow_status());
        actix_rt::spawn(Rc::clone(&supervision).watch());
        let server = actix_rt::spawn(server);
        actix_rt::spawn(driving);
        let drain = drain.start();
        let mut summary = tokio::time::interval(PROBLEM_SUMMARY);
        loop {
            let signal = tokio::select! {
                _ = &mut over => break,
                _ = signals.terminate.recv() => "SIGTERM",
                _ = signals.interrupt.recv() => "SIGINT",
                _ = signals.hangup.recv() => {
                    supervision.reloading().await;
                    let is_applied = reload.run();
                    supervision.reloaded(is_applied).await;
                    continue;
                }
                _ = summary.tick() => {
                    client_errors.summarise(Instant::now());
                    continue;
                }
            };
            if let Err(error) = drain.try_send(StopNode { signal }) {
                log::error!(cause:% = error; "the drain does not respond, stopping at once");
                break;
            }
            supervision.stopping().await;
        }
        client_errors.finish();
        settle(&*backplane).await;
        retire(&*backplane).await;
        // While the node still listens, so that it cannot be the file of another one.
        drop(file);
        handle.stop(false).await;
        server.await.map_err(io::Error::other)??;
        Ok(())
    }
}

/// Returns the node's name: as configured, or derived from `origin`.
fn name(settings: &Settings, origin: KeyOrigin) -> Arc<str> {
    let [a, b, c, ..] = origin.random;
    settings.node.name_or([a, b, c]).into()
}

fn workers(settings: &Settings) -> usize {
    match settings.server.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    }
}

fn registry(settings: &Settings, workers: usize, metrics: &Arc<Metrics>) -> Registry {
    let registry = Registry::new(
        workers,
        settings.cluster.hold_bytes,
        replay_limits(settings),
        settings.compression.level(),
        Duration::from_millis(settings.drain.spread_ms),
        Arc::clone(metrics),
    );
    if settings.chaos.enabled {
        registry.allow_faults();
    }
    registry
}

/// Builds the banner of a node that listens.
fn banner(settings: &Settings, listeners: &Listeners, name: &str) -> io::Result<Banner> {
    let address = |listener: &Option<TcpListener>| listener.as_ref().map(TcpListener::local_addr).transpose();
    Ok(Banner {
        address: listeners.address.clone(),
        echo_address: address(&listeners.echo)?,
        admin_address: address(&listeners.admin)?,
        node: name.to_owned(),
        is_tls: settings.server.tls.certificate.is_some(),
        public_url: settings.server.public_url.clone(),
    })
}

/// Builds the keyring with the configured keys. With Redis, it is incomplete until the keys there have been read.
fn keys(settings: &Settings, registry: &Registry, configured: Vec<Key>) -> (Keyring, Arc<NodeKeys>) {
    let keyring = match settings.redis.url {
        Some(_) => Keyring::partial(configured.clone()),
        None => Keyring::new(configured.clone()),
    };
    let keys = NodeKeys::new(
        keyring.clone(),
        registry.clone(),
        settings.application_ids(),
        configured,
    );
    (keyring, Arc::new(keys))
}

/// Returns what every worker starts from.
fn worker_config(settings: &Settings, app: AppState, name: &Arc<str>) -> WorkerConfig {
    let trusted_proxies: Arc<[_]> = settings.server.trusted_proxies.as_slice().into();
    let outboxes = OutboxPool::new(settings.limits.outbox_total_bytes);
    let bodies = Bodies::new(BodyLimits::from(&settings.http));
    let publishing = PublishAllowances::new(&settings.limits);
    let api = |metrics_public| {
        web::Data::new(HttpState {
            app: app.clone(),
            node: Arc::clone(name),
            since: Instant::now(),
            event_bytes: settings.cluster.event_bytes,
            publishing: publishing.clone(),
            ticket_bounds: TicketBounds::new(settings.tickets.clone(), settings.limits.guilds_per_session),
            is_chaotic: settings.chaos.enabled,
            spread: Duration::from_millis(settings.drain.spread_ms),
            metrics_public,
            trusted_proxies: Arc::clone(&trusted_proxies),
            bodies: bodies.clone(),
            outboxes: outboxes.clone(),
            browsers: BrowserPolicy::from(settings),
        })
    };
    let (public, admin) = (api(settings.metrics_public()), api(true));
    WorkerConfig {
        member_lists: MemberLists::new(settings.member_list_interval()),
        discord_settings: Arc::new(DiscordSessionSettings::new(
            settings,
            app.hello_delay.clone(),
            Arc::clone(name),
        )),
        v1_settings: V1SessionSettings::new(settings, Arc::clone(name), &app.events),
        limits: transport_limits(settings, outboxes),
        trusted_proxies,
        http_limits: http_limits(settings),
        browsers: BrowserPolicy::from(settings),
        public,
        admin,
        next_worker: Arc::default(),
        app,
    }
}

/// Waits a moment for the last events and departures of sessions to reach the other nodes.
async fn settle(backplane: &dyn Backplane) {
    let settling = async {
        while !backplane.is_flushed() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(SETTLING, settling).await.is_err() {
        log::warn!("stopping before all changes have reached the other nodes");
    }
}

/// Takes the node out of the list of nodes. If that fails, the others list it as dead once its lease has ended.
async fn retire(backplane: &dyn Backplane) {
    let retired = tokio::time::timeout(SETTLING, backplane.retire()).await;
    if !matches!(retired, Ok(Ok(()))) {
        log::warn!("the other nodes do not know yet that this one has stopped");
    }
}
