//! What every worker thread builds for itself.

use std::{
    cell::OnceCell,
    io,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use actix_http::{HttpService, error::DispatchError};
use actix_service::{ServiceFactory, ServiceFactoryExt as _, fn_service, map_config};
use actix_tls::accept::{
    TlsError,
    rustls_0_23::{Acceptor, TlsStream},
};
use actix_web::{App, HttpResponse, dev::AppConfig, web};
use ipnet::IpNet;
use rustls::ServerConfig;
use tokio::net::TcpStream;

use crate::{
    admission::{Admission, AdmissionLimits},
    applications::Applications,
    auth::Keyring,
    cluster::{Backplane, DiscordSessions},
    drain::DrainState,
    gate::{self, Entrance, Gate, HEAD_TIMEOUT, Purpose},
    http::{self, Api},
    metrics::Metrics,
    problems::Problems,
    public_url::PublicUrl,
    registry::{Registry, Shard},
    session::{DiscordRules, Rules, Services},
    transport::{Limits, Plain},
};

/// One port for both: what asks for a WebSocket goes through a gate, everything else to an application. A macro, because
/// the service's type cannot be written down.
macro_rules! web_service {
    ($gate:expr, $app:expr) => {{
        let gate = Rc::new($gate);
        let upgrades = Rc::clone(&gate);
        let http = HttpService::build()
            .client_request_timeout(HEAD_TIMEOUT)
            .upgrade(fn_service(move |(request, framed)| {
                gate::serve(request, framed, Rc::clone(&upgrades))
            }))
            .finish(map_config($app, |()| AppConfig::default()));
        Entrance::new(gate, http)
    }};
}

/// An entrance for sockets whose bytes are written as they are.
const fn plain<F>(entrance: Entrance<F, Plain>) -> Entrance<F, Plain> {
    entrance
}

thread_local! {
    /// The listeners of one worker share its shard.
    static SERVICES: OnceCell<Rc<Services>> = const { OnceCell::new() };
}

/// What the workers share, and each makes its own services from.
#[derive(Clone)]
pub(super) struct Floor {
    pub(super) registry: Registry,
    pub(super) backplane: Arc<dyn Backplane>,
    pub(super) discord: DiscordSessions,
    pub(super) applications: Applications,
    pub(super) public_url: PublicUrl,
    pub(super) discord_rules: Arc<DiscordRules>,
    pub(super) keyring: Keyring,
    pub(super) metrics: Arc<Metrics>,
    pub(super) problems: Problems,
    pub(super) rules: Arc<Rules>,
    pub(super) admission: Admission,
    pub(super) limits: Limits,
    pub(super) trusted_proxies: Arc<[IpNet]>,
    pub(super) allowed_origins: Arc<[String]>,
    pub(super) drain: DrainState,
    pub(super) public: web::Data<Api>,
    pub(super) admin: web::Data<Api>,
    pub(super) next_worker: Arc<AtomicUsize>,
}

impl Floor {
    /// The public listener: WebSockets and the HTTP API.
    pub(super) fn public(
        &self,
    ) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()> + use<> {
        let app = App::new().configure(http::public(self.public.clone()));
        plain(web_service!(self.public_gate(), app))
    }

    /// The public listener behind TLS.
    pub(super) fn public_tls(
        &self,
        config: ServerConfig,
    ) -> impl ServiceFactory<
        TcpStream,
        Config = (),
        Response = (),
        Error = TlsError<io::Error, DispatchError>,
        InitError = (),
    > + use<> {
        let app = App::new().configure(http::public(self.public.clone()));
        let entrance: Entrance<_, TlsStream<TcpStream>> = web_service!(self.public_gate(), app);
        Acceptor::new(config)
            .map_err(TlsError::into_service_error)
            .and_then(entrance.map_err(TlsError::Service))
    }

    /// The listener for administration.
    pub(super) fn admin(
        &self,
    ) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()> + use<> {
        let app = App::new().configure(http::admin(self.admin.clone()));
        HttpService::build()
            .finish(map_config(app, |()| AppConfig::default()))
            .tcp()
    }

    /// The echo listener.
    pub(super) fn echo(
        &self,
    ) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()> + use<> {
        let all = usize::MAX;
        let admission = Admission::new(AdmissionLimits {
            connections: all,
            per_address: all,
            attempts_per_minute: u32::MAX,
        });
        let limits = Limits {
            frames_per_minute: None,
            ..self.limits
        };
        let app = App::new().default_service(web::to(HttpResponse::UpgradeRequired));
        plain(web_service!(self.gate(Purpose::Echo, admission, limits), app))
    }

    fn public_gate(&self) -> Gate {
        let purpose = Purpose::Gateway {
            services: self.services(),
            v1: Arc::clone(&self.rules),
            discord: Arc::clone(&self.discord_rules),
            public_url: self.public_url.clone(),
        };
        self.gate(purpose, self.admission.clone(), self.limits)
    }

    fn gate(&self, purpose: Purpose, admission: Admission, limits: Limits) -> Gate {
        Gate {
            purpose,
            admission,
            limits: Rc::new(limits),
            trusted_proxies: Arc::clone(&self.trusted_proxies),
            allowed_origins: Arc::clone(&self.allowed_origins),
            drain: self.drain.clone(),
            problems: self.problems.clone(),
            metrics: Arc::clone(&self.metrics),
        }
    }

    /// This worker's services, made on first use.
    fn services(&self) -> Rc<Services> {
        SERVICES.with(|services| {
            let made = services.get_or_init(|| {
                let index = self.next_worker.fetch_add(1, Relaxed);
                let (registry, backplane) = (self.registry.clone(), Arc::clone(&self.backplane));
                Rc::new(Services {
                    shard: Shard::start(index, registry.clone(), Arc::clone(&backplane), self.keyring.clone()),
                    registry,
                    backplane,
                    discord: self.discord.clone(),
                    applications: self.applications.clone(),
                    keyring: self.keyring.clone(),
                    metrics: Arc::clone(&self.metrics),
                    problems: self.problems.clone(),
                })
            });
            Rc::clone(made)
        })
    }
}
