//! One port for everything, and what each request gets.

use std::time::Duration;

use server::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::stage::{Setting, Stage};

const VERSION: &str = "%{stderr}%{http_version}";

#[tokio::test]
async fn http1_and_http2_share_a_port() {
    let stage = Stage::new(Setting::default());
    for (version, wanted) in [("--http1.1", "1.1"), ("--http2-prior-knowledge", "2"), ("--http1.0", "1")] {
        let done = stage.try_curl(&[version, "-w", VERSION], "http", "/test/who").await;
        assert!(String::from_utf8_lossy(&done.stdout).starts_with("anonymous [] from 127.0.0.1 https=false"));
        assert_eq!(String::from_utf8_lossy(&done.stderr), wanted);
    }
}

#[tokio::test]
async fn grpc_health_is_on_the_same_port() {
    let stage = Stage::new(Setting::default());
    let channel = tonic::transport::Endpoint::new(stage.url("http", "")).expect("a URL").connect().await;
    let mut client = HealthClient::new(channel.expect("it connects"));
    for (service, status) in [("", Some(1)), ("test.Service", Some(1)), ("other.Service", None)] {
        let answer = client.check(HealthCheckRequest { service: service.to_owned() }).await;
        assert_eq!(answer.ok().map(|answer| answer.into_inner().status), status, "{service}");
    }
    let mut watched = client.watch(HealthCheckRequest::default()).await.expect("an answer").into_inner();
    assert_eq!(watched.message().await.expect("a message").map(|message| message.status), Some(1));
    let (told, ()) = tokio::join!(watched.message(), stage.server.drain());
    assert_eq!(told.expect("a message").map(|message| message.status), Some(2), "NOT_SERVING while draining");
}

#[tokio::test]
async fn a_request_id_is_kept_or_made() {
    let stage = Stage::new(Setting::default());
    let said = stage.curl(&["-D-", "-H", "X-Request-Id: abc-1"], "http", "/test/who").await;
    assert!(said.contains("x-request-id: abc-1\r\n") && said.ends_with("id=abc-1"), "{said}");
    let said = stage.curl(&["-H", "X-Request-Id: no spaces"], "http", "/test/who").await;
    let id = said.rsplit_once("id=").expect("an id").1;
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{said}");
}

#[tokio::test]
async fn a_panic_is_an_answer() {
    let stage = Stage::new(Setting::default());
    let path = stage.url("http", "/test/who");
    // The second request goes over the same connection.
    let said = stage.curl(&["-w", "%{http_code} %{num_connects}\n", &path], "http", "/test/panic").await;
    assert!(said.ends_with("500 0\n"), "{said}");
    let grpc = ["-D-", "--http2-prior-knowledge", "-H", "content-type: application/grpc", "-d", ""];
    let said = stage.curl(&grpc, "http", "/test/panic").await;
    assert!(said.starts_with("HTTP/2 200") && said.contains("grpc-status: 13\r\n"), "{said}");
}

#[tokio::test]
async fn unknown_paths_are_answered_in_the_right_form() {
    let stage = Stage::new(Setting::default());
    assert!(stage.curl(&["-D-"], "http", "/nothing").await.starts_with("HTTP/1.1 404"));
    let grpc = ["-D-", "--http2-prior-knowledge", "-H", "content-type: application/grpc", "-d", ""];
    assert!(stage.curl(&grpc, "http", "/no.Service/Method").await.contains("grpc-status: 12\r\n"));
}

#[tokio::test]
async fn bodies_go_through() {
    let stage = Stage::new(Setting::default());
    let file = tempfile::NamedTempFile::new().expect("a file");
    let bytes: Vec<u8> = (0..1_500_000_u32).map(|at| (at % 251) as u8).collect();
    std::fs::write(file.path(), &bytes).expect("it is written");
    let data = format!("@{}", file.path().display());
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let done = stage.try_curl(&[version, "--data-binary", &data], "http", "/test/echo").await;
        assert!(done.stdout == bytes, "{version}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

#[tokio::test]
async fn metrics_and_health_are_for_local_callers() {
    let stage = Stage::new(Setting::default());
    for probe in ["/livez", "/readyz", "/healthz", "/startupz"] {
        assert_eq!(stage.curl(&[], "http", probe).await, "ok\n");
    }
    stage.curl(&[], "http", "/test/who").await;
    let said = stage.curl(&["-D-"], "http", "/metrics").await;
    assert!(said.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"), "{said}");
    let count = "entrepot_server_requests_total{listener=\"test\",speech=\"http\",code=\"200\"}";
    assert!(said.contains(count) && said.contains("entrepot_server_connections{listener=\"test\"} 1"), "{said}");
    assert!(said.ends_with("# EOF\n"));
    // Somebody whom a proxy on this machine speaks for is not local.
    let said = stage.curl(&["-D-", "-H", "X-Forwarded-For: 192.0.2.1"], "http", "/metrics").await;
    assert!(said.starts_with("HTTP/1.1 403"), "{said}");
}

#[tokio::test]
async fn beyond_the_limit_requests_are_refused_but_probes_are_not() {
    let stage = Stage::new(Setting { limits: Limits { requests: 1, ..Limits::default() }, ..Setting::default() });
    let others = async {
        stage.begun.notified().await;
        let said = stage.curl(&["-D-"], "http", "/test/who").await;
        assert!(said.starts_with("HTTP/1.1 503") && said.contains("retry-after: 1\r\n"), "{said}");
        assert_eq!(stage.curl(&[], "http", "/livez").await, "ok\n");
        stage.finish.notify_one();
    };
    let (slow, ()) = tokio::join!(stage.curl(&[], "http", "/test/slow"), others);
    assert_eq!(slow, "finished");
    assert!(stage.curl(&[], "http", "/test/who").await.starts_with("anonymous"));
}

#[tokio::test]
async fn beyond_the_limit_connections_wait() {
    let stage = Stage::new(Setting { limits: Limits { connections: 1, ..Limits::default() }, ..Setting::default() });
    let mut first = TcpStream::connect(stage.address).await.expect("it connects");
    first.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("it is sent");
    let mut byte = [0];
    first.read_exact(&mut byte).await.expect("an answer");
    let mut second = std::pin::pin!(stage.curl(&[], "http", "/livez"));
    assert!(futures::poll!(second.as_mut()).is_pending());
    drop(first);
    assert_eq!(second.await, "ok\n");
}

#[tokio::test]
async fn a_client_that_says_nothing_or_too_little_is_cut() {
    let limits = Limits { handshake: Duration::from_millis(50), head: Duration::from_millis(50), ..Limits::default() };
    let stage = Stage::new(Setting { limits, ..Setting::default() });
    for said in ["", "PRI * HT", "GET / HTTP/1.1\r\nhost"] {
        let mut stream = TcpStream::connect(stage.address).await.expect("it connects");
        stream.write_all(said.as_bytes()).await.expect("it is sent");
        let mut answer = Vec::new();
        // The end comes, as an end or as a reset.
        let end = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer));
        drop(end.await.expect("it is cut"));
        assert!(!answer.starts_with(b"HTTP/1.1 2"));
    }
}
