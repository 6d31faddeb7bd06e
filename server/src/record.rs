//! What one request was: a line in the log and some numbers, written when it ends, however it ends.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::body::Body;
use axum::response::Response;
use bytes::{Buf, Bytes};
use http::request::Parts;
use http::{HeaderMap, Method};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use kernel::Caller;
use tokio::sync::OwnedSemaphorePermit;

use crate::budget::Budget;
use crate::health;
use crate::lane::Lane;
use crate::metrics::{Code, Numbers};
use crate::origin::Origin;
use crate::request::RequestId;

/// A request from its first byte to the last of its answer. Dropping it writes it down.
pub(crate) struct Record {
    id: RequestId,
    method: Method,
    /// Without the query, where secrets may be.
    path: String,
    grpc: bool,
    who: Option<Arc<str>>,
    from: Option<Origin>,
    /// `None` until there is an answer.
    status: Option<u16>,
    grpc_status: Option<u16>,
    received: Arc<AtomicU64>,
    sent: u64,
    /// True when all of the answer was handed to the connection.
    complete: bool,
    begun: Instant,
    numbers: Numbers,
    permit: Option<OwnedSemaphorePermit>,
}

impl Record {
    pub(crate) fn begin(head: &Parts, grpc: bool, id: &RequestId, numbers: &Numbers) -> Self {
        Self {
            id: id.clone(),
            method: head.method.clone(),
            path: head.uri.path().to_owned(),
            grpc,
            who: None,
            from: None,
            status: None,
            grpc_status: None,
            received: Arc::default(),
            sent: 0,
            complete: false,
            begun: Instant::now(),
            numbers: numbers.clone(),
            permit: None,
        }
    }

    /// Where to count the bytes of the request's body.
    pub(crate) fn received(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.received)
    }

    /// Keeps a place among the running requests until the end.
    pub(crate) fn holds(&mut self, permit: OwnedSemaphorePermit) {
        self.permit = Some(permit);
    }

    pub(crate) fn asked_by(&mut self, caller: &Caller, origin: &Origin) {
        self.who = Some(Arc::clone(&caller.who));
        self.from = Some(origin.clone());
    }

    pub(crate) fn answered(&mut self, response: &Response) {
        self.status = Some(response.status().as_u16());
        self.note(response.headers());
    }

    /// gRPC's status: in the headers of an answer without a body, else in its trailers.
    fn note(&mut self, headers: &HeaderMap) {
        let status = headers.get("grpc-status").and_then(|status| status.to_str().ok()?.parse().ok());
        self.grpc_status = status.or(self.grpc_status);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let received = self.received.load(Ordering::Relaxed);
        let seconds = self.begun.elapsed().as_secs_f64();
        let code = match (self.complete, self.grpc, self.grpc_status, self.status) {
            (false, ..) | (_, _, _, None) => Code::Cut,
            (_, true, Some(status), _) => Code::Status(status),
            (_, _, _, Some(status)) => Code::Status(status),
        };
        self.numbers.request(self.grpc, code, seconds, (received, self.sent));
        let millis = seconds * 1000.0;
        let client = self.from.as_ref().map(|origin| tracing::field::display(origin.client));
        let who = self.who.as_deref().unwrap_or("unknown");
        // A macro's level is fixed, so the line stands here twice: probes come every few seconds for ever.
        if health::is_observation(&self.path) {
            tracing::debug!(
                target: "request", method = %self.method, path = %self.path, status = self.status,
                grpc_status = self.grpc_status, who, client, received, sent = self.sent, millis,
                complete = self.complete, listener = self.numbers.listener(), request_id = %self.id.0
            );
        } else {
            tracing::info!(
                target: "request", method = %self.method, path = %self.path, status = self.status,
                grpc_status = self.grpc_status, who, client, received, sent = self.sent, millis,
                complete = self.complete, listener = self.numbers.listener(), request_id = %self.id.0
            );
        }
    }
}

/// A request's body, counted.
pub(crate) struct Received {
    body: Incoming,
    count: Arc<AtomicU64>,
}

impl Received {
    pub(crate) fn new(body: Incoming, count: Arc<AtomicU64>) -> Self {
        Self { body, count }
    }
}

impl HttpBody for Received {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Some(data)) = frame.as_ref().map(|frame| frame.as_ref().ok().and_then(Frame::data_ref)) {
            self.count.fetch_add(data.remaining() as u64, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body, written down at its end. A panic in it resets the stream and nothing more.
pub(crate) struct Recorded {
    body: Body,
    /// What is left where the length is known: a connection asks no further once it has all.
    left: Option<u64>,
    /// Where it is sent, if files can be sent there as such.
    lane: Option<Arc<Lane>>,
    budget: Budget,
    record: Record,
}

impl Recorded {
    pub(crate) fn new(body: Body, lane: Option<Arc<Lane>>, budget: Budget, mut record: Record) -> Self {
        let left = body.size_hint().exact();
        record.complete = body.is_end_stream() || left == Some(0) || record.method == Method::HEAD;
        Self { body, left, lane, budget, record }
    }
}

impl HttpBody for Recorded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let (body, lane, budget) = (&mut this.body, this.lane.as_ref(), &this.budget);
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let poll = || Pin::new(body).poll_frame(cx);
            budget.enter(|| match lane {
                Some(lane) => lane.enter(poll),
                None => poll(),
            })
        }));
        let frame = match polled {
            Ok(polled) => ready!(polled),
            Err(_) => Some(Err(axum::Error::new("a panic while the answer was being made"))),
        };
        match &frame {
            None => this.record.complete = true,
            Some(Err(_)) => {}
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    let length = data.remaining() as u64;
                    this.record.sent += length;
                    this.left = this.left.map(|left| left.saturating_sub(length));
                } else if let Some(trailers) = frame.trailers_ref() {
                    this.record.note(trailers);
                }
                this.record.complete |= frame.is_trailers() || this.body.is_end_stream() || this.left == Some(0);
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
