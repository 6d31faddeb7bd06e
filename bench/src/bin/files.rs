//! Serves the files of a directory with the hub's HTTP server and nothing behind it, to compare with others that
//! serve files; and reads what any server sends as fast as it comes. `bench/files` uses both.

#[path = "../discard.rs"]
mod discard;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path as Wanted, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use futures::future::BoxFuture;
use kernel::Caller;
use model::{Body, Span};
use server::{Access, Kernel, Limits, Listener, Material, Owned, Payload, Pem, Server, Tls};
use tokio_util::sync::CancellationToken;

const USAGE: &str = "usage: files serve DIR HOST:PORT [CERTIFICATE KEY] | files get HOST:PORT PATH";

/// Knows nobody and is always ready.
struct Nothing;

impl Kernel for Nothing {
    fn token_caller<'a>(&'a self, _: &'a str) -> BoxFuture<'a, model::Result<Option<Caller>>> {
        Box::pin(async { Ok(None) })
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["serve", directory, address] => serve(Path::new(directory), address, None),
        ["serve", directory, address, certificate, key] => {
            let file = |name: &str| Pem::File(name.into());
            let material = Material { certificate: file(certificate), key: Some(file(key)), clients: None };
            serve(Path::new(directory), address, Some(Arc::new(Tls::open(material)?)))
        }
        ["get", address, path] => discard::fetch(address, path),
        _ => anyhow::bail!(USAGE),
    }
}

#[tokio::main]
async fn serve(directory: &Path, address: &str, tls: Option<Arc<Tls>>) -> anyhow::Result<()> {
    let server = Server::new(Arc::new(Nothing), Limits::default(), |_| {});
    let routes = Router::new().route("/{name}", get(file)).with_state(Arc::new(directory.to_owned()));
    let router = server.join(vec![Owned { owner: "files", prefixes: vec!["/".into()], routes, protocol: None }])?;
    let socket = server::bind(address)?;
    let listener = Listener { name: "files".into(), socket, tls, access: Arc::new(Access::default()), router };
    Ok(server.serve(listener, &CancellationToken::new()).await?)
}

/// Opens off the threads that serve, as the hub's store does.
async fn file(State(directory): State<Arc<PathBuf>>, Wanted(name): Wanted<String>) -> Response {
    let open = move || -> io::Result<(File, u64)> {
        let file = File::open(directory.join(name))?;
        let len = file.metadata()?.len();
        Ok((file, len))
    };
    match tokio::task::spawn_blocking(open).await {
        Ok(Ok((file, len))) => {
            let body = Body::File { file: Arc::new(file), span: Span::whole(len) };
            Response::new(Payload::response_body(body, len))
        }
        _ => http::StatusCode::NOT_FOUND.into_response(),
    }
}
