//! The table of routes: every path of a listener and the methods that it takes.
//!
//! What holds for every path is decided here and in [`admit`](super::admit) alone: HEAD is answered as GET, OPTIONS with 204,
//! and any other method with 405; the last two list the methods in `Allow`.

use actix_web::{
    FromRequest, Handler, HttpRequest, HttpResponse, Resource, Responder, ResponseError as _, Route,
    http::{
        Method,
        header::{self, HeaderValue},
    },
    web::{self, ServiceConfig},
};

use super::{Api, ApiError, RestError, cluster, discord, error, guilds, landing, publish, sessions, status};

/// The path of an application's guilds.
const GUILDS: &str = "/api/v1/applications/{application}/guilds";

/// Whose form the errors of a path have.
#[derive(Debug, Clone, Copy)]
enum EndpointStyle {
    /// The gateway's own.
    Gateway,
    /// Discord's.
    Discord,
}

/// A path and what answers it, by method.
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

    /// A path below `/api` that Discord's libraries ask for, with a version before it and without.
    fn discord(path: &str) -> Self {
        Self {
            paths: vec![format!("/api{path}"), format!("/api/{{version:v(?:[6-9]|10)}}{path}")],
            style: EndpointStyle::Discord,
            routes: Vec::new(),
        }
    }

    /// Has `handler` answer requests with this method.
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

    /// Returns the patterns of its paths.
    pub fn paths(&self) -> &[String] {
        &self.paths
    }

    /// Returns the methods that it takes, as `Allow` lists them.
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

/// Answers a method that has no handler at this path.
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

/// The endpoints of the public listener. Where two patterns match a path, the first one counts.
///
/// No handler takes a body as an argument: [`Bodies`](super::Bodies) reads it, once the head has shown a valid key.
pub fn public_endpoints() -> Vec<Endpoint> {
    let new = Endpoint::new;
    let mut endpoints = health_endpoints();
    endpoints.extend([
        new("/").on(Method::GET, landing::landing),
        new("/protocol").on(Method::GET, landing::protocol),
        new("/metrics").on(Method::GET, status::metrics),
        new("/api/v1/events").on(Method::POST, publish::publish),
        new("/api/v1/cluster").on(Method::GET, cluster::cluster),
        new("/api/v1/sessions").on(Method::GET, sessions::list),
        new("/api/v1/sessions/hello").on(Method::POST, sessions::delay_hello),
        new("/api/v1/sessions/{id}")
            .on(Method::DELETE, sessions::kick)
            // Here it is the order's name.
            .on(Method::POST, sessions::order_all),
        new("/api/v1/sessions/{id}/{command}").on(Method::POST, sessions::command),
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

/// The endpoints of the listener for administration, which is only for those who can reach it.
pub fn admin_endpoints() -> Vec<Endpoint> {
    let mut endpoints = health_endpoints();
    endpoints.push(Endpoint::new("/metrics").on(Method::GET, status::open_metrics));
    endpoints
}

/// The endpoints of both listeners.
fn health_endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new("/health").on(Method::GET, status::health),
        Endpoint::new("/livez").on(Method::GET, status::livez),
        Endpoint::new("/readyz").on(Method::GET, status::readyz),
    ]
}

/// Serves the public listener.
pub fn public(api: web::Data<Api>) -> impl FnOnce(&mut ServiceConfig) {
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

/// Serves the listener for administration.
pub fn admin(api: web::Data<Api>) -> impl FnOnce(&mut ServiceConfig) {
    move |service| {
        service.app_data(api);
        for endpoint in admin_endpoints() {
            service.service(endpoint.into_resource());
        }
        service.default_service(web::to(error::not_found));
    }
}
