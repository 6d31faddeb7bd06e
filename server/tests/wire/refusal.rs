//! Refusals in the form of the protocol whose path was asked for.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::get;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use kernel::Hub;
use model::Kind;
use server::{Access, Asked, Limits, Owned, Protocol, Proxies, Refusal};

use crate::stage::{Setting, Stage};

/// A protocol that says everything in JSON and has people log in elsewhere.
#[derive(Debug)]
struct Toy;

impl Protocol for Toy {
    fn name(&self) -> &'static str {
        "toy"
    }

    fn kinds(&self) -> Vec<Box<dyn Kind>> {
        Vec::new()
    }

    fn routes(self: Arc<Self>, _: Hub) -> Router {
        routes()
    }

    fn prefixes(&self) -> Vec<String> {
        vec!["/toy".into()]
    }

    fn refuse(&self, refusal: &Refusal, asked: &Asked) -> Option<Response> {
        if asked.uri.path() == "/toy/plain" {
            return None;
        }
        let mut response = Response::builder().status(refusal.status()).header(CONTENT_TYPE, "application/json");
        if matches!(refusal, Refusal::Unauthenticated(_)) {
            let realm = asked.origin.url("/toy/token").expect("a host");
            response = response.header(WWW_AUTHENTICATE, format!("Bearer realm=\"{realm}\""));
        }
        if let Some(after) = refusal.retry_after() {
            response = response.header(RETRY_AFTER, after.as_secs());
        }
        let text = serde_json::json!({ "method": asked.method.as_str(), "error": refusal.text() }).to_string();
        Some(response.body(Body::from(text)).expect("an answer"))
    }
}

fn routes() -> Router {
    async fn panics() -> String {
        panic!("as the test wants")
    }
    Router::new().route("/toy", get(async || "played")).route("/toy/panic", get(panics))
}

fn stage(setting: Setting) -> Stage {
    let prefixes = Toy.prefixes();
    let toy = Owned { owner: "toy", prefixes, routes: routes(), protocol: Some(Arc::new(Toy)) };
    Stage::new(Setting { beside: vec![toy], ..setting })
}

#[tokio::test]
async fn wrong_credentials_are_told_in_its_form() {
    let proxies = Proxies { from: vec!["127.0.0.0/8".parse().expect("a network")], ..Proxies::default() };
    let stage = stage(Setting { access: Access { tokens: true, proxies, ..Access::default() }, ..Setting::default() });
    let wrong = ["-D-", "-H", "Authorization: Bearer simsim"];
    let said = stage.curl(&wrong, "http", "/toy").await;
    let realm = format!("www-authenticate: Bearer realm=\"http://localhost:{}/toy/token\"\r\n", stage.address.port());
    assert!(said.starts_with("HTTP/1.1 401") && said.contains(&realm), "{said}");
    assert!(said.contains("application/json") && said.contains("\"method\":\"GET\""), "{said}");
    // As a client of a proxy has to write it.
    let proxy = ["-H", "X-Forwarded-Proto: https", "-H", "X-Forwarded-Host: hub.example"];
    let said = stage.curl(&[&wrong[..], &proxy].concat(), "http", "/toy").await;
    assert!(said.contains("Bearer realm=\"https://hub.example/toy/token\"\r\n"), "{said}");
    for path in ["/toy/plain", "/test/who", "/toys"] {
        let said = stage.curl(&wrong, "http", path).await;
        assert!(said.contains("Basic realm=\"entrepot\"\r\n") && said.contains("text/plain"), "{path}: {said}");
    }
    let grpc = ["--http2-prior-knowledge", "-H", "content-type: application/grpc", "-d", ""];
    let said = stage.curl(&[&wrong[..], &grpc].concat(), "http", "/toy").await;
    assert!(said.contains("grpc-status: 16\r\n"), "{said}");
    assert_eq!(stage.curl(&["-H", "Authorization: Bearer sesame"], "http", "/toy").await, "played");
}

#[tokio::test]
async fn overload_and_panics_are_told_in_its_form() {
    let stage = stage(Setting { limits: Limits { requests: 1, ..Limits::default() }, ..Setting::default() });
    let said = stage.curl(&["-D-"], "http", "/toy/panic").await;
    assert!(said.starts_with("HTTP/1.1 500") && said.contains("\"error\":\"the server failed"), "{said}");
    let others = async {
        stage.begun.notified().await;
        let said = stage.curl(&["-D-"], "http", "/toy").await;
        assert!(said.starts_with("HTTP/1.1 503") && said.contains("retry-after: 1\r\n"), "{said}");
        assert!(said.contains("\"error\":\"too many requests at once"), "{said}");
        stage.finish.notify_one();
    };
    let (slow, ()) = tokio::join!(stage.curl(&[], "http", "/test/slow"), others);
    assert_eq!(slow, "finished");
}
