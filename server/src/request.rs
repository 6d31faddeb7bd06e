//! What happens to each request before and after a protocol sees it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use futures::FutureExt;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Version, header};
use hyper::body::Incoming;
use tracing::Instrument as _;

use crate::connection::Connection;
use crate::health;
use crate::identity::Access;
use crate::metrics::Numbers;
use crate::origin::{self, Vouched};
use crate::prefixes::Table;
use crate::protocol::Asked;
use crate::record::{Received, Record, Recorded};
use crate::refusal::{self, Refusal};
use crate::server::Server;

const REQUEST_ID: &str = "x-request-id";

/// The id of a request: in its extensions, in the answer's `x-request-id`, and in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(pub Arc<str>);

impl RequestId {
    /// The one that came with the request, where it is short and plain, else a new one.
    fn of(headers: &HeaderMap) -> Self {
        let plain = |id: &&str| {
            (1..=128).contains(&id.len())
                && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        let sent = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).filter(plain);
        Self(sent.map_or_else(|| format!("{:032x}", rand::random::<u128>()).into(), Arc::from))
    }
}

/// What is served at one listener, and to whom.
pub(crate) struct Service {
    pub(crate) server: Server,
    pub(crate) name: Arc<str>,
    pub(crate) access: Arc<Access>,
    pub(crate) router: Table,
    pub(crate) numbers: Numbers,
}

impl Service {
    /// Answers a request, whatever happens.
    pub(crate) async fn answer(&self, connection: &Connection, request: Request<Incoming>) -> Response {
        let (mut head, body) = request.into_parts();
        let id = RequestId::of(&head.headers);
        let grpc = refusal::is_grpc(&head.headers);
        let lane = connection.lane.clone().filter(|_| head.version < Version::HTTP_2);
        let (asked, vouched) = self.asked(connection, &mut head);
        let mut record = Record::begin(&head, grpc, &id, &self.numbers);
        let body = Body::new(Received::new(body, record.received()));
        let mut request = Request::from_parts(head, body);
        request.extensions_mut().insert(id.clone());

        // What a protocol logs while it answers carries the id too.
        let span = tracing::info_span!("request", id = %id.0);
        let admitted = self.admit(connection, request, &asked, vouched, &mut record).instrument(span);
        let admitted = AssertUnwindSafe(admitted).catch_unwind().await;
        let refuse = |refusal: &Refusal| {
            if grpc { refusal.to_grpc() } else { self.router.refuse(refusal, &asked) }
        };
        let mut response = match admitted {
            Ok(Ok(response)) => response,
            Ok(Err(refusal)) => refuse(&refusal),
            // The panic itself is in the log already.
            Err(_) => refuse(&Refusal::Broken),
        };
        if let Ok(id) = HeaderValue::from_str(&id.0) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        record.answered(&response);
        let budget = self.server.budget();
        response.map(|body| Body::new(Recorded::new(body, lane, budget, record)))
    }

    /// What is asked and from where; what proxies say about that is no longer in the headers then.
    fn asked(&self, connection: &Connection, head: &mut Parts) -> (Asked, Option<Vouched>) {
        let host = head.uri.authority().map(|authority| authority.as_str().to_owned());
        let host = host.or_else(|| Some(head.headers.get(header::HOST)?.to_str().ok()?.to_owned()));
        let (origin, vouched) = origin::read(&self.access.proxies, connection, host.as_deref(), &mut head.headers);
        (Asked { method: head.method.clone(), uri: head.uri.clone(), origin }, vouched)
    }

    async fn admit(
        &self,
        connection: &Connection,
        mut request: Request<Body>,
        asked: &Asked,
        vouched: Option<Vouched>,
        record: &mut Record,
    ) -> Result<Response, Refusal> {
        let probe = health::is_observation(request.uri().path());
        if !probe {
            // Probes are answered even by a server that has too much to do.
            let room = self.server.requests().try_acquire_owned();
            record.holds(room.map_err(|_| Refusal::Unavailable("too many requests at once: try again"))?);
        }
        let origin = asked.origin.clone();
        let caller = self.access.caller(self.server.kernel(), connection, request.headers(), vouched).await?;
        record.asked_by(&caller, &origin);
        if probe && !(self.access.observers || origin.local || caller.known) {
            return Err(Refusal::Denied("health and metrics are for callers on this machine and known ones"));
        }
        let extensions = request.extensions_mut();
        extensions.insert(caller);
        extensions.insert(origin);
        Ok(self.router.answer(request).await)
    }
}
