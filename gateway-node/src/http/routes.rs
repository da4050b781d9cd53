//! The table of routes: every path of a listener and its methods.
//!
//! Rules for all paths are implemented only here and in [`admit`](super::admit): HEAD is answered as GET, OPTIONS with
//! 204, and any other method without a handler with 405. The last two list the methods in `Allow`.

use actix_web::{
    FromRequest, Handler, HttpRequest, HttpResponse, Resource, Responder, ResponseError as _, Route,
    http::{
        Method,
        header::{self, HeaderValue},
    },
    web::{self, ServiceConfig},
};

use super::{
    ApiError, HttpState, RestError, cluster, counts, discord, error, guilds, history, jobs, key, landing, publish,
    requests, session_commands, sessions, status, tail, tickets,
};

/// The path of an application's guilds.
const GUILDS: &str = "/api/v1/applications/{application}/guilds";

/// The format of a path's errors.
#[derive(Debug, Clone, Copy)]
enum EndpointStyle {
    /// The gateway's own.
    Gateway,
    /// Discord's.
    Discord,
}

/// A path and its handlers, by method.
pub struct Endpoint {
    paths: Vec<String>,
    style: EndpointStyle,
    routes: Vec<(Method, Route)>,
}

impl Endpoint {
    fn new(path: &str) -> Self {
        Self {
            paths: vec![path.to_owned()],
            style: EndpointStyle::Gateway,
            routes: Vec::new(),
        }
    }

    /// Creates an endpoint below `/api` that Discord's libraries use, with and without an API version in the path.
    fn discord(path: &str) -> Self {
        Self {
            paths: vec![format!("/api{path}"), format!("/api/{{version:v(?:[6-9]|10)}}{path}")],
            style: EndpointStyle::Discord,
            routes: Vec::new(),
        }
    }

    /// Handles requests with this method with `handler`.
    fn on<F, Args>(mut self, method: Method, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        let route = web::method(method.clone()).to(handler);
        self.routes.push((method, route));
        self
    }

    /// Returns the patterns of the endpoint's paths.
    pub fn paths(&self) -> &[String] {
        &self.paths
    }

    /// Returns the supported methods, as `Allow` lists them.
    pub fn methods(&self) -> Vec<Method> {
        let mut methods = Vec::new();
        for (method, _) in &self.routes {
            methods.push(method.clone());
            if method == Method::GET {
                methods.push(Method::HEAD);
            }
        }
        methods.push(Method::OPTIONS);
        methods
    }

    /// Returns the value of `Allow`.
    pub fn allow(&self) -> String {
        let methods = self.methods();
        methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ")
    }

    fn into_resource(self) -> Resource {
        let (allow, style) = (HeaderValue::try_from(self.allow()).ok(), self.style);
        let resource = self
            .routes
            .into_iter()
            .fold(web::resource(self.paths), |resource, (_, route)| resource.route(route));
        resource.default_service(web::to(move |request: HttpRequest| {
            let answer = without_handler(&request, style, allow.clone());
            async move { answer }
        }))
    }
}

/// Responds to a method that has no handler at this path.
fn without_handler(request: &HttpRequest, style: EndpointStyle, allow: Option<HeaderValue>) -> HttpResponse {
    let mut answer = match style {
        _ if request.method() == Method::OPTIONS => HttpResponse::NoContent().finish(),
        EndpointStyle::Gateway => ApiError::MethodNotAllowed.error_response(),
        EndpointStyle::Discord => RestError::MethodNotAllowed.error_response(),
    };
    if let Some(allow) = allow {
        answer.headers_mut().insert(header::ALLOW, allow);
    }
    answer
}

/// Returns the endpoints of the public listener. If several patterns match a path, the first one is used.
///
/// No handler takes a body as an argument: [`Bodies`](super::Bodies) reads it, after the request head has shown a valid
/// key.
pub fn public_endpoints() -> Vec<Endpoint> {
    let new = Endpoint::new;
    let mut endpoints = health_endpoints();
    endpoints.extend([
        new("/").on(Method::GET, landing::landing),
        new("/protocol").on(Method::GET, landing::protocol),
        new("/metrics").on(Method::GET, status::metrics),
        new("/api/v1/events")
            .on(Method::GET, history::history)
            .on(Method::POST, publish::publish),
        new("/api/v1/requests").on(Method::POST, requests::ask),
        new("/api/v1/jobs").on(Method::GET, jobs::list),
        new("/api/v1/jobs/{job}").on(Method::DELETE, jobs::remove),
        new("/api/v1/jobs/{job}/retry").on(Method::POST, jobs::retry),
        new("/api/v1/tickets")
            .on(Method::POST, tickets::issue)
            .on(Method::DELETE, tickets::revoke),
        new("/api/v1/counts").on(Method::GET, counts::counts),
        new("/api/v1/cluster").on(Method::GET, cluster::cluster),
        new("/api/v1/sessions").on(Method::GET, sessions::list),
        new("/api/v1/sessions/hello").on(Method::POST, session_commands::delay_hello),
        new("/api/v1/sessions/{id}")
            .on(Method::GET, sessions::get)
            .on(Method::DELETE, session_commands::kick)
            // For POST, `{id}` is the name of the command.
            .on(Method::POST, session_commands::order_all),
        new("/api/v1/sessions/{id}/{order}").on(Method::POST, session_commands::command),
        new("/api/v1/tail").on(Method::GET, tail::tail),
        new("/api/v1/key").on(Method::GET, key::key),
        new(GUILDS).on(Method::GET, guilds::list),
        new(&format!("{GUILDS}/{{guild}}"))
            .on(Method::GET, guilds::get)
            .on(Method::PUT, guilds::put)
            .on(Method::DELETE, guilds::delete),
        new(&format!("{GUILDS}/{{guild}}/members"))
            .on(Method::GET, guilds::members)
            .on(Method::PUT, guilds::put_members),
        Endpoint::discord("/gateway").on(Method::GET, discord::gateway),
        Endpoint::discord("/gateway/bot").on(Method::GET, discord::gateway_for_bot),
        Endpoint::discord("/users/@me").on(Method::GET, discord::user),
        Endpoint::discord("/applications/@me").on(Method::GET, discord::application),
        Endpoint::discord("/oauth2/applications/@me").on(Method::GET, discord::application),
    ]);
    endpoints
}

/// Returns the endpoints of the administration listener, which requires no key: only administrators should be able to
/// reach it.
pub fn admin_endpoints() -> Vec<Endpoint> {
    let mut endpoints = health_endpoints();
    endpoints.push(Endpoint::new("/metrics").on(Method::GET, status::open_metrics));
    endpoints
}

/// Returns the endpoints that both listeners have.
fn health_endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new("/health").on(Method::GET, status::health),
        Endpoint::new("/livez").on(Method::GET, status::livez),
        Endpoint::new("/readyz").on(Method::GET, status::readyz),
    ]
}

/// Configures the service of the public listener.
pub fn public(api: web::Data<HttpState>) -> impl FnOnce(&mut ServiceConfig) {
    move |service| {
        service.app_data(api);
        for endpoint in public_endpoints() {
            service.service(endpoint.into_resource());
        }
        service
            .service(web::scope("/api/v1").default_service(web::to(error::not_found)))
            .service(web::scope("/api").default_service(web::to(discord::not_found)))
            .default_service(web::to(error::not_found));
    }
}

/// Configures the service of the administration listener.
pub fn admin(api: web::Data<HttpState>) -> impl FnOnce(&mut ServiceConfig) {
    move |service| {
        service.app_data(api);
        for endpoint in admin_endpoints() {
            service.service(endpoint.into_resource());
        }
        service.default_service(web::to(error::not_found));
    }
}
