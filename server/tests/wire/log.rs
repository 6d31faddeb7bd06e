//! Each request is one line.

use std::io;
use std::sync::{Arc, Mutex};

use server::{Access, Limits};
use tracing_subscriber::fmt::MakeWriter;

use crate::stage::{Setting, Stage, until};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no panic").clone()).expect("text")
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn a_line_tells_who_asked_what_and_how_it_went_and_no_secret() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().json().with_writer(writer).finish();
    // For the whole process: tracing forgets a subscriber of one thread when another thread meets a line first.
    tracing::subscriber::set_global_default(subscriber).expect("no other test does this");
    let access = Access { tokens: true, ..Access::default() };
    let stage = Stage::new(Setting { access, limits: Limits::default(), ..Setting::default() });
    let sesame = ["-u", "x:sesame", "-H", "X-Request-Id: logged-1", "-d", "12345"];
    stage.curl(&sesame, "http", "/test/echo?token=secret").await;
    let grpc = [
        "--http2-prior-knowledge",
        "-H",
        "content-type: application/grpc",
        "-u",
        "x:y",
        "-HX-Request-Id: logged-2",
        "-d",
        "",
    ];
    stage.curl(&grpc, "http", "/test.Service/Method").await;
    stage.curl(&["-HX-Request-Id: logged-3"], "http", "/livez").await;
    let requests = || -> Vec<String> {
        let text = lines.text();
        text.lines().filter(|line| line.contains("\"request_id\":\"logged-")).map(str::to_owned).collect()
    };
    until("both are written", async || requests().len() == 2).await;
    let written = requests();
    let [first, second] = &written[..] else { panic!("a probe is no line at this level: {written:?}") };
    for wanted in [
        "\"level\":\"INFO\"",
        "\"path\":\"/test/echo\"",
        "\"method\":\"POST\"",
        "\"status\":200",
        "\"who\":\"token:7\"",
        "\"client\":\"127.0.0.1\"",
        "\"received\":5",
        "\"sent\":5",
        "\"complete\":true",
        "\"request_id\":\"logged-1\"",
    ] {
        assert!(first.contains(wanted), "{wanted} in {first}");
    }
    assert!(second.contains("\"grpc_status\":16") && second.contains("\"who\":\"unknown\""), "{second}");
    assert!(!written.concat().contains("secret") && !lines.text().contains("sesame"));
}
