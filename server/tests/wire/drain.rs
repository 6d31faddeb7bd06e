//! The end in good manners.

use std::time::Duration;

use server::Limits;
use tokio::net::TcpStream;

use crate::stage::{Setting, Stage, until};

#[tokio::test]
async fn a_running_request_finishes_and_new_connections_are_refused() {
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let stage = Stage::new(Setting::default());
        let address = stage.address;
        let ending = async {
            stage.begun.notified().await;
            let mut drain = std::pin::pin!(stage.server.drain());
            assert!(futures::poll!(drain.as_mut()).is_pending(), "a request is running");
            until("new connections are refused", async || TcpStream::connect(address).await.is_err()).await;
            stage.finish.notify_one();
            drain.await;
        };
        let arguments = [version];
        let (said, ()) = tokio::join!(stage.curl(&arguments, "http", "/test/slow"), ending);
        assert_eq!(said, "finished");
    }
}

#[tokio::test]
async fn a_request_that_does_not_finish_is_cut() {
    let limits = Limits { drain: Duration::from_millis(50), ..Limits::default() };
    let mut stage = Stage::new(Setting { limits, ..Setting::default() });
    let ending = async {
        stage.begun.notified().await;
        stage.server.drain().await;
    };
    let (cut, ()) = tokio::join!(stage.try_curl(&["--http1.1"], "http", "/test/slow"), ending);
    assert!(!cut.status.success(), "a short answer must not look like a whole one");
    stage.serving.join_next().await.expect("it was serving").expect("no panic").expect("no error");
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_it_up() {
    let stage = Stage::new(Setting::default());
    let _silent = TcpStream::connect(stage.address).await.expect("it connects");
    stage.server.drain().await;
}
