//! The server as a whole: what its listeners share, and its end.

use std::fmt;
use std::io;
use std::sync::Arc;

use futures::future::BoxFuture;
use kernel::{Caller, Hub};
use model::Result;
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::budget::Budget;
use crate::connection;
use crate::health::Health;
use crate::limits::Limits;
use crate::listener::Listener;
use crate::metrics::Metrics;
use crate::prefixes::{self, Owned, Table};
use crate::protocol::Protocol;

/// What the server asks of the kernel. A [`Hub`] is one; tests bring their own.
pub trait Kernel: Send + Sync + 'static {
    /// The caller that a bearer token stands for; `None` when it is unknown, revoked or expired.
    fn token_caller<'a>(&'a self, secret: &'a str) -> BoxFuture<'a, Result<Option<Caller>>>;
    /// Why requests cannot be answered now, if they cannot.
    ///
    /// # Errors
    /// The reason, as text for an operator.
    fn ready(&self) -> Result<(), String>;
}

impl Kernel for Hub {
    fn token_caller<'a>(&'a self, secret: &'a str) -> BoxFuture<'a, Result<Option<Caller>>> {
        Box::pin(Hub::token_caller(self, secret))
    }

    fn ready(&self) -> Result<(), String> {
        Hub::ready(self)
    }
}

/// What all listeners share. Clones are the same server.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

struct Inner {
    kernel: Arc<dyn Kernel>,
    limits: Limits,
    connections: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    health: Health,
    metrics: Metrics,
    budget: Budget,
    draining: CancellationToken,
    /// The listeners that are being served.
    serving: TaskTracker,
}

impl Server {
    /// A server over a kernel. `register` puts the series of others, such as [`Hub::register_metrics`], beside ours.
    pub fn new(kernel: Arc<dyn Kernel>, limits: Limits, register: impl FnOnce(&mut Registry)) -> Self {
        let draining = CancellationToken::new();
        let serving = TaskTracker::new();
        // Closed means only that `wait` returns once it is empty.
        serving.close();
        let metrics = Metrics::new(register);
        Self(Arc::new(Inner {
            health: Health::new(Arc::clone(&kernel), draining.clone()),
            kernel,
            limits,
            connections: Arc::new(Semaphore::new(limits.connections)),
            requests: Arc::new(Semaphore::new(limits.requests)),
            budget: Budget::new(limits.in_flight, metrics.in_flight()),
            metrics,
            draining,
            serving,
        }))
    }

    /// Everything that these protocols serve, with health and metrics beside them.
    ///
    /// # Errors
    /// `Conflict` when two of them claim the same paths.
    pub fn router(&self, hub: &Hub, protocols: &[Arc<dyn Protocol>]) -> Result<Table> {
        let owned = protocols.iter().map(|protocol| Owned {
            owner: protocol.name(),
            prefixes: protocol.prefixes(),
            routes: Arc::clone(protocol).routes(hub.clone()),
            protocol: Some(Arc::clone(protocol)),
        });
        self.join(owned.collect())
    }

    /// As [`Server::router`], of routes that are there already.
    ///
    /// # Errors
    /// `Conflict` when two of them claim the same paths.
    pub fn join(&self, mut owned: Vec<Owned>) -> Result<Table> {
        let services = prefixes::grpc_services(&owned);
        owned.push(self.0.metrics.owned());
        owned.extend(self.0.health.owned(services));
        Table::new(owned)
    }

    /// Serves a listener until `stop` or [`Server::drain`], and then until its requests are finished or cut. Spawn
    /// it; the socket is listened at from the moment that it is polled.
    ///
    /// # Errors
    /// When the socket cannot be used.
    pub fn serve(
        &self,
        listener: Listener,
        stop: &CancellationToken,
    ) -> impl Future<Output = io::Result<()>> + Send + use<> {
        let server = self.clone();
        self.serving(stop, move |stop| connection::serve(server, listener, stop))
    }

    /// Runs a listener until `stop` or [`Server::drain`]; `run` gets the token that says so.
    pub(crate) fn serving<R, F>(
        &self,
        stop: &CancellationToken,
        run: R,
    ) -> impl Future<Output = io::Result<()>> + Send + use<R, F>
    where
        R: FnOnce(CancellationToken) -> F + Send + 'static,
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let either = stop.child_token();
        let draining = self.0.draining.clone();
        self.0.serving.track_future(async move {
            let serving = run(either.clone());
            let stopping = async {
                draining.cancelled().await;
                either.cancel();
                std::future::pending::<()>().await;
            };
            tokio::select! {
                served = serving => served,
                () = stopping => Ok(()),
            }
        })
    }

    /// Says "not ready", stops listening, and waits until all requests are finished or [`Limits::drain`] is over.
    pub async fn drain(&self) {
        self.0.draining.cancel();
        self.0.serving.wait().await;
    }

    pub(crate) fn kernel(&self) -> &dyn Kernel {
        &*self.0.kernel
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub(crate) fn connections(&self) -> Arc<Semaphore> {
        Arc::clone(&self.0.connections)
    }

    pub(crate) fn requests(&self) -> Arc<Semaphore> {
        Arc::clone(&self.0.requests)
    }

    pub(crate) fn budget(&self) -> Budget {
        self.0.budget.clone()
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("limits", &self.0.limits).finish_non_exhaustive()
    }
}
