//! What every worker thread builds for itself.

use std::{
    cell::OnceCell,
    convert::Infallible,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use actix_http::{Extensions, HttpService, Protocol, error::DispatchError};
use actix_service::{Service as _, ServiceFactory, ServiceFactoryExt as _, apply_fn_factory, fn_service, map_config};
use actix_tls::accept::{
    TlsError,
    rustls_0_23::{Acceptor, TlsStream},
};
use actix_web::{App, HttpResponse, dev::AppConfig, middleware::from_fn, web};
use bytes::Bytes;
use futures_util::TryFutureExt as _;
use ipnet::IpNet;
use rustls::ServerConfig;
use tokio::net::TcpStream;

use crate::{
    accept,
    accept::{Accept, BrowserPolicy, CheckedIo, HttpIo, HttpLimits, Peek, Purpose, Reception, Upgrader},
    admission::{Admission, AdmissionLimits, Permit},
    app_state::AppState,
    http::{self, HttpState},
    registry::RegistryShard,
    session::{ClientNames, DiscordSessionSettings, MemberLists, Turns, V1SessionSettings, WorkerState},
    transport::{Limits, Plain, PrefixedIo, Socket},
};

/// Serves WebSockets and HTTP on one port: WebSocket upgrades go to a gate, everything else to an `App`. A macro,
/// because the service's type cannot be named.
macro_rules! web_service {
    ($config:expr, $upgrader:expr, $app:expr, $socket:ty) => {{
        let upgrader = Rc::new($upgrader);
        let upgrades = Rc::clone(&upgrader);
        let limits = $config.http_limits;
        let http = HttpService::build()
            .client_request_timeout(limits.head)
            .client_disconnect_timeout(limits.linger)
            .keep_alive(limits.keep_alive)
            .on_connect_ext(|io: &HttpIo<$socket>, data: &mut Extensions| {
                data.insert(Rc::clone(io.connection()));
            })
            .upgrade(fn_service(move |(request, framed)| {
                accept::serve(request, framed, Rc::clone(&upgrades))
            }))
            .finish(map_config($app, |()| AppConfig::default()));
        Peek::<_, $socket>::new(upgrader, http, limits)
    }};
}

thread_local! {
    /// The worker of this worker, shared by its listeners.
    static STATE: OnceCell<Rc<WorkerState>> = const { OnceCell::new() };
}

/// State shared by all workers, from which each builds its worker.
#[derive(Clone)]
pub(super) struct WorkerConfig {
    pub(super) app: AppState,
    pub(super) discord_settings: Arc<DiscordSessionSettings>,
    pub(super) member_lists: MemberLists,
    pub(super) v1_settings: V1SessionSettings,
    pub(super) limits: Limits,
    pub(super) trusted_proxies: Arc<[IpNet]>,
    pub(super) browsers: BrowserPolicy,
    pub(super) http_limits: HttpLimits,
    pub(super) public: web::Data<HttpState>,
    pub(super) admin: web::Data<HttpState>,
    pub(super) next_worker: Arc<AtomicUsize>,
}

impl WorkerConfig {
    /// Returns the public listener: WebSockets and the HTTP API.
    pub(super) fn public<T: Socket + Into<Plain> + 'static>(
        &self,
    ) -> impl ServiceFactory<T, Config = (), Response = (), Error = Infallible, InitError = ()> + use<T> {
        let app = App::new()
            .wrap(from_fn(http::admit))
            .configure(http::public(self.public.clone()));
        let peek = web_service!(self, self.public_gate(), app, Plain);
        Accept::new(self.reception(self.app.admission.clone(), false), peek)
    }

    /// Returns the public listener with TLS.
    pub(super) fn public_tls(
        &self,
        config: ServerConfig,
    ) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = Infallible, InitError = ()> + use<> {
        let app = App::new()
            .wrap(from_fn(http::admit))
            .configure(http::public(self.public.clone()));
        let peek = web_service!(self, self.public_gate(), app, TlsStream<TcpStream>);
        let handshake = Acceptor::new(config).map_err(TlsError::into_service_error);
        // The permit is carried through the handshake, so that a connection counts during it.
        let handshake = apply_fn_factory(handshake, |(stream, permit): (TcpStream, Rc<Permit>), acceptor| {
            acceptor.call(stream).map_ok(|stream| (stream, permit))
        });
        let peek = handshake.and_then(peek.map_err(TlsError::Service));
        Accept::new(self.reception(self.app.admission.clone(), true), peek)
    }

    /// Returns the administration listener.
    pub(super) fn admin(
        &self,
    ) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()> + use<> {
        let app = App::new()
            .wrap(from_fn(http::admit))
            .configure(http::admin(self.admin.clone()));
        let http = HttpService::build()
            .client_request_timeout(self.http_limits.head)
            .keep_alive(self.http_limits.keep_alive)
            .finish(map_config(app, |()| AppConfig::default()));
        fn_service(async |io: TcpStream| {
            let peer = io.peer_addr().ok();
            Ok((CheckedIo::new(PrefixedIo::new(Bytes::new(), io)), Protocol::Http1, peer))
        })
        .and_then(http)
    }

    /// Returns the echo listener.
    pub(super) fn echo(
        &self,
    ) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = Infallible, InitError = ()> + use<> {
        let admission = Admission::new(AdmissionLimits::UNLIMITED);
        let limits = Limits {
            frames_per_minute: None,
            ..self.limits.clone()
        };
        let app = App::new().default_service(web::to(HttpResponse::UpgradeRequired));
        let peek = web_service!(
            self,
            self.upgrader(Purpose::Echo, admission.clone(), limits),
            app,
            Plain
        );
        Accept::new(self.reception(admission, false), peek)
    }

    fn reception(&self, admission: Admission, is_tls: bool) -> Reception {
        Reception {
            admission,
            trusted_proxies: Arc::clone(&self.trusted_proxies),
            is_tls,
            live: http::LIVE,
            problems: self.app.client_errors.clone(),
            metrics: Arc::clone(&self.app.metrics),
        }
    }

    fn public_gate(&self) -> Upgrader {
        let purpose = Purpose::Gateway {
            worker: self.state(),
            v1: Rc::new(self.v1_settings.clone()),
            discord: Arc::clone(&self.discord_settings),
            public_url: self.app.public_url.clone(),
        };
        let limits = Limits {
            worker: self.app.metrics.worker(),
            ..self.limits.clone()
        };
        self.upgrader(purpose, self.app.admission.clone(), limits)
    }

    fn upgrader(&self, purpose: Purpose, admission: Admission, limits: Limits) -> Upgrader {
        Upgrader {
            purpose,
            admission,
            limits: Rc::new(limits),
            trusted_proxies: Arc::clone(&self.trusted_proxies),
            browsers: self.browsers.clone(),
            drain: self.app.drain.clone(),
            problems: self.app.client_errors.clone(),
            metrics: Arc::clone(&self.app.metrics),
        }
    }

    /// Returns this worker's worker, built on first use.
    fn state(&self) -> Rc<WorkerState> {
        STATE.with(|state| {
            let made = state.get_or_init(|| {
                let index = self.next_worker.fetch_add(1, Relaxed);
                let (registry, backplane) = (self.app.registry.clone(), Arc::clone(&self.app.backplane));
                Rc::new(WorkerState {
                    shard: RegistryShard::start(index, registry, backplane, self.app.keyring.clone()),
                    app: self.app.clone(),
                    turns: Turns::default(),
                    member_lists: self.member_lists.clone(),
                    client_names: ClientNames::default(),
                })
            });
            Rc::clone(made)
        })
    }
}
