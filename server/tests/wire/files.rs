//! Files on the wire: the right bytes or no clean end, by `sendfile` on plain HTTP/1.1 and without it elsewhere.

use std::fs::File;
use std::io::Write;
use std::process::Stdio;
use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::get;
use futures::StreamExt;
use futures::future::Either;
use model::{Body, Error, Span};
use server::{Limits, Material, Owned, Payload, Pem, Tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::certificates::Pair;
use crate::stage::{Setting, Stage, until};

const MIB: usize = 1 << 20;

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// Serves a range of a file: at `/files/OFFSET/LENGTH`; at `/torn` six bytes of which three come, and at `/chunks`
/// bytes that end with an error.
fn files(file: &Arc<File>) -> Owned {
    let file = Arc::clone(file);
    let range = move |Path((offset, len)): Path<(u64, u64)>| async move {
        let body = Body::File { file, span: Span { offset, len } };
        Response::new(Payload::response_body(body, len))
    };
    let torn = || vec![Ok("abc".into()), Err(Error::lost("as the test wants"))];
    let stream = move || Body::Stream { size: None, chunks: futures::stream::iter(torn()).boxed() };
    let routes = Router::new()
        .route("/files/{offset}/{len}", get(range))
        .route("/torn", get(move || async move { Response::new(Payload::response_body(stream(), 6)) }))
        .route("/chunks", get(move || async move { Response::new(axum::body::Body::new(Payload::whole(stream()))) }));
    Owned { owner: "files", prefixes: ["/files", "/torn", "/chunks"].map(Into::into).into(), routes, protocol: None }
}

fn stage(content: &[u8]) -> (Stage, Arc<File>) {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(content).expect("it is written");
    let file = Arc::new(file);
    (Stage::new(Setting { beside: vec![files(&file)], ..Setting::default() }), file)
}

/// Bytes that the kernel sent from files, as the metrics say.
async fn from_files(stage: &Stage) -> usize {
    let said = stage.curl(&[], "http", "/metrics").await;
    let line = "entrepot_server_sent_from_files_bytes_total{listener=\"test\"} ";
    let number = said.lines().find_map(|said| said.strip_prefix(line)).expect("it is counted");
    number.parse().expect("a number")
}

/// Asks for a range and reads the head of the answer.
async fn ask(stream: &mut TcpStream, offset: usize, len: usize) {
    let request = format!("GET /files/{offset}/{len} HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it is sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head"));
    }
    let head = String::from_utf8(head).expect("text");
    assert!(head.starts_with("HTTP/1.1 200") && head.contains(&format!("content-length: {len}\r\n")), "{head}");
}

async fn take(stream: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).await.expect("all bytes");
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn any_range_arrives_and_the_kernel_sends_it() {
    let content = content(9 * MIB);
    let (stage, _) = stage(&content);
    let mut stream = TcpStream::connect(stage.address).await.expect("it connects");
    let mut long = 0;
    for len in [0, 1, 4095, 64 << 10, (64 << 10) + 1, 256 << 10, MIB - 1, MIB, MIB + 1, 3 * MIB + 7, 8 * MIB] {
        for offset in [0, 1, 4096, 4097, MIB - 1] {
            // One after the other on one connection: what is left of one answer would be seen in the next.
            ask(&mut stream, offset, len).await;
            assert!(take(&mut stream, len).await == content[offset..offset + len], "{len} at {offset}");
            long += if len > 64 << 10 { len } else { 0 };
        }
    }
    assert_eq!(from_files(&stage).await, long);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_encrypted_or_multiplexed_is_read() {
    let content = content(3 * MIB);
    let (stage, file) = stage(&content);
    let done = stage.try_curl(&["--http2-prior-knowledge"], "http", "/files/5/3000000").await;
    assert!(done.stdout == content[5..3_000_005]);
    assert_eq!(from_files(&stage).await, 0);
    let directory = tempfile::tempdir().expect("a directory");
    let pair = Pair::quick(directory.path(), "server", "localhost");
    let certificate = Pem::File(pair.certificate);
    let material = Material { certificate, key: Some(Pem::File(pair.key)), clients: None };
    let tls = Some(Arc::new(Tls::open(material).expect("it loads")));
    let secure = Stage::new(Setting { tls, beside: vec![files(&file)], ..Setting::default() });
    for version in ["--http1.1", "--http2"] {
        let done = secure.try_curl(&["-k", version], "https", "/files/5/3000000").await;
        assert!(done.stdout == content[5..3_000_005], "{version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_gets_all_of_a_file_whose_name_is_gone() {
    let content = content(16 * MIB);
    let mut named = tempfile::NamedTempFile::new().expect("a file");
    named.write_all(&content).expect("it is written");
    let file = Arc::new(named.reopen().expect("it is there"));
    let stage = Stage::new(Setting { beside: vec![files(&file)], ..Setting::default() });
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("it is set");
    let mut stream = socket.connect(stage.address).await.expect("it connects");
    ask(&mut stream, 0, content.len()).await;
    let mut bytes = take(&mut stream, 10_000).await;
    named.close().expect("it is unlinked");
    for size in [1, 100, 5000, 70_000, 3 * MIB] {
        bytes.extend(take(&mut stream, size).await);
        tokio::task::yield_now().await;
    }
    bytes.extend(take(&mut stream, content.len() - bytes.len()).await);
    assert!(bytes == content);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_connection_leaves_nothing_behind() {
    let content = content(32 * MIB);
    let (stage, file) = stage(&content);
    let before = Arc::strong_count(&file);
    for _ in 0..20 {
        let mut stream = TcpStream::connect(stage.address).await.expect("it connects");
        ask(&mut stream, 0, content.len()).await;
        take(&mut stream, 100_000).await;
    }
    until("nobody has the file any more", async || Arc::strong_count(&file) == before).await;
    let said = stage.curl(&[], "http", "/metrics").await;
    assert!(said.contains("{listener=\"test\",speech=\"http\",code=\"cut\"} 20"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_get_their_own_bytes() {
    let content = Arc::new(content(8 * MIB));
    let (stage, _) = stage(&content);
    let mut readers = JoinSet::new();
    for reader in 0..50 {
        let (address, content) = (stage.address, Arc::clone(&content));
        readers.spawn(async move {
            let mut stream = TcpStream::connect(address).await.expect("it connects");
            for turn in 0..4 {
                let (offset, len) = (reader * 4099 + turn, 5 * MIB + reader * 1000);
                ask(&mut stream, offset, len).await;
                assert!(take(&mut stream, len).await == content[offset..offset + len]);
            }
        });
    }
    readers.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_not_in_the_cache_are_read() {
    let content = content(9 * MIB);
    // Where the tests are built is a disk; the directory for temporary files may be memory.
    let mut file = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).expect("a file");
    file.write_all(&content).expect("it is written");
    file.sync_all().expect("it is on the disk");
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("it is forgotten");
    let stage = Stage::new(Setting { beside: vec![files(&Arc::new(file))], ..Setting::default() });
    let mut stream = TcpStream::connect(stage.address).await.expect("it connects");
    ask(&mut stream, 3, 8 * MIB).await;
    assert!(take(&mut stream, 8 * MIB).await == content[3..8 * MIB + 3]);
    let sent = from_files(&stage).await;
    assert!(sent < 8 * MIB, "{sent} came from the cache");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_readers_share_a_budget_of_memory_and_all_get_on() {
    let content = content(8 * MIB);
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(&content).expect("it is written");
    let limits = Limits { in_flight: 2 * MIB, ..Limits::default() };
    let stage = Stage::new(Setting { limits, beside: vec![files(&Arc::new(file))], ..Setting::default() });
    let in_flight = async || -> usize {
        let said = stage.curl(&[], "http", "/metrics").await;
        let number = said.lines().find_map(|said| said.strip_prefix("entrepot_server_in_flight_bytes "));
        number.expect("it is counted").parse().expect("a number")
    };
    // A curl whose output nobody takes stops reading once the pipe is full.
    let mut readers = Vec::new();
    for _ in 0..20 {
        let mut curl = Command::new("curl");
        curl.args(["-s", "--noproxy", "*", "--http2-prior-knowledge", &stage.url("http", "/files/0/8388608")]);
        let mut child = curl.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("curl is installed");
        let mut output = child.stdout.take().expect("a pipe");
        let mut bytes = vec![output.read_u8().await.expect("each gets on, whatever the others hold")];
        bytes.reserve(content.len());
        readers.push((child, output, bytes));
    }
    // Without a budget this would be some 2 MiB for each.
    let most = 2 * MIB + readers.len() * (64 << 10);
    let now = in_flight().await;
    assert!(now <= most && now > MIB, "{now}");
    let reading = futures::future::join_all(readers.iter_mut().map(async |(_, output, bytes)| {
        output.read_to_end(bytes).await.expect("it reads");
        assert!(*bytes == content);
    }));
    let mut reading = std::pin::pin!(reading);
    loop {
        let now = in_flight();
        match futures::future::select(reading, std::pin::pin!(now)).await {
            Either::Left(_) => break,
            Either::Right((now, rest)) => {
                assert!(now <= most, "{now}");
                reading = rest;
            }
        }
    }
    until("all is given back", async || in_flight().await == 0).await;
}

#[tokio::test]
async fn what_is_not_whole_has_no_clean_end() {
    let (stage, _) = stage(b"abc");
    for path in ["/files/0/4", "/files/0/5000000", "/torn", "/chunks"] {
        for (version, codes) in [("--http1.1", [18, 56, 52]), ("--http2-prior-knowledge", [92, 18, 56])] {
            let done = stage.try_curl(&[version], "http", path).await;
            let code = done.status.code().expect("it ends by itself");
            assert!(codes.contains(&code), "{path} {version}: {code}");
            assert!(b"abc".starts_with(&done.stdout));
        }
    }
}
