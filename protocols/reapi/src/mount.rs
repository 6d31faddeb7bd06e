//! gRPC methods as axum routes: from a message to an answer, once for all methods.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use futures::{Stream, TryStreamExt};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use kernel::{Caller, Hub};
use prost::Message;
use tonic::codec::{Codec, Streaming};
use tonic::server::Grpc;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;
use tower::service_fn;

use crate::Settings;
use crate::call::Call;
use crate::speak::Answer;

/// What all methods share.
#[derive(Clone, Debug)]
pub(crate) struct Mount {
    pub(crate) hub: Hub,
    pub(crate) settings: Arc<Settings>,
}

impl Mount {
    /// A method with one request and one response.
    pub(crate) fn unary<Q, A, F, Fut>(&self, method: F) -> MethodRouter
    where
        Q: Message + Default + 'static,
        A: Message + 'static,
        F: Fn(Call, Q) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Answer<A>> + Send + 'static,
    {
        let mount = self.clone();
        post(move |request: Request| async move {
            let call = mount.call(&request);
            let service = service_fn(move |message: tonic::Request<Q>| {
                let answer = call.clone().map(|call| method(call, message.into_inner()));
                async move { Ok::<_, Status>(tonic::Response::new(answer?.await?)) }
            });
            mount.grpc::<A, Q>().unary(service, request).await
        })
    }

    /// A method with one request and many responses.
    pub(crate) fn responses<Q, A, S, F, Fut>(&self, method: F) -> MethodRouter
    where
        Q: Message + Default + 'static,
        A: Message + 'static,
        S: Stream<Item = Answer<A>> + Send + 'static,
        F: Fn(Call, Q) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Answer<S>> + Send + 'static,
    {
        let mount = self.clone();
        post(move |request: Request| async move {
            let call = mount.call(&request);
            let service = service_fn(move |message: tonic::Request<Q>| {
                let answer = call.clone().map(|call| method(call, message.into_inner()));
                async move { Ok::<_, Status>(tonic::Response::new(answer?.await?.map_err(Status::from))) }
            });
            mount.grpc::<A, Q>().server_streaming(service, request).await
        })
    }

    /// A method with many requests and one response.
    pub(crate) fn requests<Q, A, F, Fut>(&self, method: F) -> MethodRouter
    where
        Q: Message + Default + 'static,
        A: Message + 'static,
        F: Fn(Call, Streaming<Q>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Answer<A>> + Send + 'static,
    {
        let mount = self.clone();
        post(move |request: Request| async move {
            let call = mount.call(&request);
            let service = service_fn(move |messages: tonic::Request<Streaming<Q>>| {
                let answer = call.clone().map(|call| method(call, messages.into_inner()));
                async move { Ok::<_, Status>(tonic::Response::new(answer?.await?)) }
            });
            mount.grpc::<A, Q>().client_streaming(service, request).await
        })
    }

    /// A method with one request, whose responses are a body that is framed already, down to the status in its
    /// trailers.
    pub(crate) fn framed<Q, B, F, Fut>(&self, method: F) -> MethodRouter
    where
        Q: Message + Default + 'static,
        B: http_body::Body<Data = bytes::Bytes, Error = Infallible> + Send + 'static,
        F: Fn(Call, Q) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Answer<B>> + Send + 'static,
    {
        let mount = self.clone();
        post(move |request: Request| async move {
            let answer = async {
                let call = mount.call(&request)?;
                let decoder = ProstCodec::<(), Q>::default().decoder();
                let limit = Some(mount.settings.message);
                let mut messages = Streaming::new_request(decoder, request.into_body(), None, limit);
                let message = messages.message().await?.ok_or_else(|| Status::internal("there is no request"))?;
                method(call, message).await
            };
            match answer.await {
                Ok(body) => {
                    let mut response = Response::new(Body::new(body));
                    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
                    response
                }
                Err(refusal) => refused(refusal.into()),
            }
        })
    }

    /// Who calls. The server puts it there; a request without one came past the server's identity check.
    fn call(&self, request: &Request) -> Result<Call, Status> {
        let caller = request.extensions().get::<Caller>().cloned().ok_or_else(|| {
            tracing::error!("a request without a caller reached the protocol");
            Status::internal("nobody said who calls")
        })?;
        Ok(Call { hub: self.hub.clone(), settings: Arc::clone(&self.settings), caller })
    }

    fn grpc<A, Q>(&self) -> Grpc<ProstCodec<A, Q>>
    where
        A: Message + 'static,
        Q: Message + Default + 'static,
    {
        Grpc::new(ProstCodec::default()).max_decoding_message_size(self.settings.message)
    }
}

/// Any method that is not there.
pub(crate) fn absent() -> MethodRouter {
    post(async || refused(Status::new(Code::Unimplemented, "Method not found!")))
}

fn refused(status: Status) -> Response {
    status.into_http::<Body>().into_response()
}
