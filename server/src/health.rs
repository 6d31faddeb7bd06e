//! Is it alive, has it started, is it ready: for Kubernetes, load balancers and gRPC (`grpc.health.v1`).

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::response::Response;
use axum::routing::get;
use futures::{Stream, StreamExt, stream};
use http::StatusCode;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health as Probe, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::prefixes::Owned;
use crate::refusal::plain;
use crate::server::Kernel;
use crate::watch;

const PROBES: &[&str] = &["/livez", "/readyz", "/healthz", "/startupz"];
const SERVICE: &str = "/grpc.health.v1.Health";

/// True for paths that tell how the server is, and nothing that it keeps.
pub(crate) fn is_observation(path: &str) -> bool {
    path == "/metrics" || PROBES.contains(&path) || path.starts_with("/grpc.health.v1.Health/")
}

/// How the server is. Clones are the same.
#[derive(Clone)]
pub(crate) struct Health {
    kernel: Arc<dyn Kernel>,
    draining: CancellationToken,
    /// True from the first time that the kernel was ready.
    started: Arc<AtomicBool>,
}

impl Health {
    pub(crate) fn new(kernel: Arc<dyn Kernel>, draining: CancellationToken) -> Self {
        Self { kernel, draining, started: Arc::default() }
    }

    fn ready(&self) -> Result<(), String> {
        if self.draining.is_cancelled() {
            return Err("draining: finishing what was begun, accepting no more".to_owned());
        }
        self.kernel.ready()?;
        self.started.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn started(&self) -> Result<(), String> {
        if self.started.load(Ordering::Relaxed) { Ok(()) } else { self.ready() }
    }

    /// The routes of health, for a listener that serves these gRPC services.
    pub(crate) fn owned(&self, services: Vec<String>) -> [Owned; 2] {
        let (ready, started) = (self.clone(), self.clone());
        let ready = get(move || async move { answer(ready.ready()) });
        let routes = Router::new()
            .route("/livez", get(|| async { answer(Ok(())) }))
            .route("/readyz", ready.clone())
            .route("/healthz", ready)
            .route("/startupz", get(move || async move { answer(started.started()) }));
        let service = HealthServer::new(Services { health: self.clone(), names: services });
        let grpc = tonic::service::Routes::new(service).into_axum_router();
        [
            Owned {
                owner: "health",
                prefixes: PROBES.iter().map(|path| (*path).to_owned()).collect(),
                routes,
                protocol: None,
            },
            Owned { owner: "health", prefixes: vec![SERVICE.to_owned()], routes: grpc, protocol: None },
        ]
    }
}

fn answer(health: Result<(), String>) -> Response {
    match health {
        Ok(()) => plain(StatusCode::OK, "ok".to_owned()),
        Err(reason) => plain(StatusCode::SERVICE_UNAVAILABLE, reason),
    }
}

/// The services of one listener, for the gRPC health protocol.
#[derive(Clone)]
struct Services {
    health: Health,
    names: Vec<String>,
}

impl Services {
    /// `None` for a service that is not ours. The empty name is the server as a whole.
    fn status(&self, name: &str) -> Option<ServingStatus> {
        if !name.is_empty() && !self.names.iter().any(|known| known == name) {
            return None;
        }
        Some(if self.health.ready().is_ok() { ServingStatus::Serving } else { ServingStatus::NotServing })
    }
}

#[async_trait::async_trait]
impl Probe for Services {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<HealthCheckResponse>, Status> {
        let name = request.into_inner().service;
        let status = self.status(&name).ok_or_else(|| Status::not_found("there is no such service here"))?;
        Ok(tonic::Response::new(HealthCheckResponse { status: status.into() }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    /// Looks once a second and tells changes. Ends when the server drains, so as not to hold it up.
    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<tonic::Response<Self::WatchStream>, Status> {
        let name = request.into_inner().service;
        let services = self.clone();
        let statuses = stream::unfold(None, move |last: Option<ServingStatus>| {
            let (services, name) = (services.clone(), name.clone());
            async move {
                loop {
                    // The protocol wants "unknown" told here, not an error, as the service might still come.
                    let now = services.status(&name).unwrap_or(ServingStatus::Unknown);
                    if last != Some(now) {
                        return Some((Ok(HealthCheckResponse { status: now.into() }), Some(now)));
                    }
                    if services.health.draining.is_cancelled() {
                        return None;
                    }
                    tokio::select! {
                        () = tokio::time::sleep(watch::INTERVAL) => {}
                        () = services.health.draining.cancelled() => {}
                    }
                }
            }
        });
        Ok(tonic::Response::new(statuses.boxed()))
    }
}
