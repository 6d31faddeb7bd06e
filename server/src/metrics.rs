//! Numbers for Prometheus: ours for each listener, and those of whoever registers beside us.
//!
//! Labels are few and come from us, never from a client, so that nobody can make series without end.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::prefixes::Owned;

const HTTP: &str = "http";
const GRPC: &str = "grpc";
/// Seconds: from a lookup in memory to a blob of gigabytes.
const SECONDS: [f64; 10] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 10.0, 100.0, 1000.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Place {
    listener: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Spoken {
    listener: Arc<str>,
    speech: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    listener: Arc<str>,
    speech: &'static str,
    code: Code,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Code {
    /// An HTTP status, or for gRPC a gRPC status.
    Status(u16),
    /// Before all of its answer was out.
    Cut,
}

impl EncodeLabelValue for Code {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(encoder, "{status}"),
            Self::Cut => encoder.write_str("cut"),
        }
    }
}

/// The numbers of all listeners.
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    requests: Family<Answered, Counter>,
    seconds: Family<Spoken, Histogram, fn() -> Histogram>,
    received: Family<Place, Counter>,
    sent: Family<Place, Counter>,
    sent_from_files: Family<Place, Counter>,
    connections: Family<Place, Gauge>,
    in_flight: Gauge,
}

impl Metrics {
    pub(crate) fn new(register: impl FnOnce(&mut Registry)) -> Self {
        let mut registry = Registry::default();
        let requests = Family::default();
        let seconds = Family::new_with_constructor((|| Histogram::new(SECONDS)) as fn() -> Histogram);
        let (received, sent, sent_from_files) = (Family::default(), Family::default(), Family::default());
        let connections = Family::default();
        let ours = registry.sub_registry_with_prefix("entrepot_server");
        ours.register("requests", "Requests that ended, by HTTP or gRPC status", Family::clone(&requests));
        ours.register("request_seconds", "From the first byte of a request to the last of its answer", seconds.clone());
        ours.register("received_bytes", "Bytes in the bodies of requests", Family::clone(&received));
        ours.register("sent_bytes", "Bytes in the bodies of answers", Family::clone(&sent));
        let told = "Bytes of answers that the kernel sent from its cache of files";
        ours.register("sent_from_files_bytes", told, Family::clone(&sent_from_files));
        ours.register("connections", "Connections that are open", Family::clone(&connections));
        let in_flight = Gauge::default();
        ours.register("in_flight_bytes", "Bytes of files that are in memory on their way out", in_flight.clone());
        register(&mut registry);
        Self {
            registry: Arc::new(registry),
            requests,
            seconds,
            received,
            sent,
            sent_from_files,
            connections,
            in_flight,
        }
    }

    /// Bytes of files that are in memory on their way out.
    pub(crate) fn in_flight(&self) -> Gauge {
        self.in_flight.clone()
    }

    /// The numbers of one listener.
    pub(crate) fn listener(&self, listener: &Arc<str>) -> Numbers {
        let place = Place { listener: Arc::clone(listener) };
        let seconds = |speech| {
            let spoken = Spoken { listener: Arc::clone(listener), speech };
            self.seconds.get_or_create_owned(&spoken)
        };
        Numbers(Arc::new(Own {
            http: seconds(HTTP),
            grpc: seconds(GRPC),
            received: self.received.get_or_create_owned(&place),
            sent: self.sent.get_or_create_owned(&place),
            sent_from_files: self.sent_from_files.get_or_create_owned(&place),
            connections: self.connections.get_or_create_owned(&place),
            requests: self.requests.clone(),
            listener: Arc::clone(listener),
        }))
    }

    pub(crate) fn owned(&self) -> Owned {
        let registry = Arc::clone(&self.registry);
        let routes = Router::new().route("/metrics", get(move || async move { render(&registry) }));
        Owned { owner: "metrics", prefixes: vec!["/metrics".to_owned()], routes, protocol: None }
    }
}

/// The numbers of one listener, looked up once. Clones are the same.
#[derive(Clone)]
pub(crate) struct Numbers(Arc<Own>);

struct Own {
    listener: Arc<str>,
    requests: Family<Answered, Counter>,
    http: Histogram,
    grpc: Histogram,
    received: Counter,
    sent: Counter,
    sent_from_files: Counter,
    connections: Gauge,
}

impl Numbers {
    pub(crate) fn listener(&self) -> &str {
        &self.0.listener
    }

    /// What the kernel sent from its cache of files.
    pub(crate) fn sent_from_files(&self) -> Counter {
        self.0.sent_from_files.clone()
    }

    /// Counts a connection until the result is dropped.
    pub(crate) fn connection(&self) -> Open {
        self.0.connections.inc();
        Open(self.0.connections.clone())
    }

    /// Counts a request with the bytes of its body and of its answer's.
    pub(crate) fn request(&self, grpc: bool, code: Code, seconds: f64, (received, sent): (u64, u64)) {
        let (speech, histogram) = if grpc { (GRPC, &self.0.grpc) } else { (HTTP, &self.0.http) };
        self.0.requests.get_or_create(&Answered { listener: Arc::clone(&self.0.listener), speech, code }).inc();
        histogram.observe(seconds);
        self.0.received.inc_by(received);
        self.0.sent.inc_by(sent);
    }
}

fn render(registry: &Registry) -> Response {
    let mut text = String::new();
    match encode(&mut text, registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "metrics could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// An open connection, as a number.
pub(crate) struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
