//! The real binary as a child process, watched from outside, and clients that can be rude to it.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bazel_remote_apis::build::bazel::remote::execution::v2 as re;
use bazel_remote_apis::google::bytestream::byte_stream_client::ByteStreamClient;
use bazel_remote_apis::google::bytestream::{QueryWriteStatusRequest, ReadRequest, WriteRequest};
use re::content_addressable_storage_client::ContentAddressableStorageClient;
use sha2::{Digest as _, Sha256};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

/// How long a condition may take on a busy machine before the test says what never came.
const PATIENCE: Duration = Duration::from_secs(20);
/// Below Linux's range for outgoing connections, so that no client of ours sits on the port of a restarted server.
const PORTS: std::ops::Range<u16> = 20_000..30_000;

/// Bytes of one block of [`noise`].
const BLOCK: usize = 4 << 10;

/// Waits for a condition.
///
/// # Panics
/// When it does not come true in time.
pub async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is().await {
        assert!(Instant::now() < end, "it never came: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// `target/debug/entrepot`, beside this test.
fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("this test is a file");
    let path = test.ancestors().nth(2).expect("it lies in target/debug/deps").join("entrepot");
    assert!(path.exists(), "build it first: cargo build -p entrepot");
    path
}

fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % u32::from(PORTS.end - PORTS.start)).expect("it is below 10,000");
    let port = || PORTS.start + (first + NEXT.fetch_add(1, Relaxed)) % (PORTS.end - PORTS.start);
    std::iter::repeat_with(port).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a free port")
}

/// A running `entrepot serve` on a directory of its own; killed when dropped, also by a panic.
#[derive(Debug)]
pub struct Served {
    dir: tempfile::TempDir,
    quota: &'static str,
    port: u16,
    child: Child,
}

impl Served {
    /// Starts one and waits until it answers.
    pub async fn start(quota: &'static str) -> Self {
        let (dir, port) = (tempfile::tempdir().expect("a directory"), free_port());
        let child = launch(dir.path(), port, quota);
        let served = Self { dir, quota, port, child };
        served.answers().await;
        served
    }

    /// `kill -9`, and a new process on the same directory.
    pub async fn restart(&mut self) {
        self.kill();
        self.child = launch(self.dir.path(), self.port, self.quota);
        self.answers().await;
    }

    fn kill(&mut self) {
        // Either fails only when it is dead already.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    async fn answers(&self) {
        until("the server answers", async || match Peer::try_connect(self.address()).await {
            Some(peer) => peer.missing(vec![]).await.is_ok(),
            None => false,
        })
        .await;
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// A new connection to it.
    pub async fn peer(&self) -> Peer {
        Peer::try_connect(self.address()).await.expect("it accepts connections")
    }

    /// Private resident memory in MiB.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the server lives");
        let line = status.lines().find(|line| line.starts_with("RssAnon")).expect("Linux tells RssAnon");
        let kib = line.split_whitespace().nth(1).expect("a number").parse::<u64>();
        kib.expect("a number") >> 10
    }

    /// Open sockets and files of blobs. The catalog's files do not count: it opens readers when it needs them.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        let all = fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("the server lives");
        let links = all.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        let counts = |link: &str| link.starts_with("socket:") || link.contains("/blobs/") || link.contains("/staging/");
        links.filter(|link| counts(&link.to_string_lossy())).count()
    }

    /// What it has open while nobody is connected: one fewer than with a client that then leaves, or less.
    pub async fn idle(&self) -> usize {
        let peer = self.peer().await;
        assert_eq!(peer.missing(vec![]).await, Ok(vec![]));
        let connected = self.descriptors();
        drop(peer);
        until("a client is gone", async || self.descriptors() < connected).await;
        self.descriptors()
    }

    /// Waits until it has no more open than it had.
    pub async fn settles(&self, descriptors: usize) {
        until("the descriptors are closed", async || self.descriptors() <= descriptors).await;
    }

    /// How many files lie in staging.
    #[must_use]
    pub fn staged(&self) -> usize {
        fs::read_dir(self.dir.path().join("staging")).expect("it has one").count()
    }

    /// The file of a stored blob.
    #[must_use]
    pub fn file(&self, digest: &re::Digest) -> PathBuf {
        let shard = self.dir.path().join("blobs").join(&digest.hash[..2]);
        let mut all = fs::read_dir(shard).expect("a shard").map(|entry| entry.expect("it reads").path());
        let is = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&digest.hash));
        all.find(is).expect("the blob has a file")
    }

    /// What `entrepot fsck` says.
    #[must_use]
    pub fn fsck(&self) -> String {
        let done = Command::new(binary()).arg("fsck").arg("--data").arg(self.dir.path()).output().expect("it runs");
        format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr))
    }

    /// What it wrote to its log.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).expect("it has one")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.kill();
    }
}

fn launch(dir: &Path, port: u16, quota: &str) -> Child {
    let log = File::options().create(true).append(true).open(dir.join("log")).expect("a log");
    let listen = format!("127.0.0.1:{port}");
    Command::new(binary())
        .args(["serve", "--listen", &listen, "--quota", quota, "--log-level", "warn", "--data"])
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .spawn()
        .expect("it starts")
}

/// One connection of a client.
#[derive(Clone, Debug)]
pub struct Peer(Channel);

impl Peer {
    async fn try_connect(address: SocketAddr) -> Option<Self> {
        let endpoint = Endpoint::new(format!("http://{address}")).expect("an address");
        endpoint.connect().await.ok().map(Self)
    }

    /// The storage.
    #[must_use]
    pub fn cas(&self) -> ContentAddressableStorageClient<Channel> {
        let most = 64 << 20;
        let client = ContentAddressableStorageClient::new(self.0.clone());
        client.max_decoding_message_size(most).max_encoding_message_size(most)
    }

    /// The streams.
    #[must_use]
    pub fn streams(&self) -> ByteStreamClient<Channel> {
        ByteStreamClient::new(self.0.clone()).max_decoding_message_size(16 << 20)
    }

    /// FindMissingBlobs.
    ///
    /// # Errors
    /// The code of the server.
    pub async fn missing(&self, blob_digests: Vec<re::Digest>) -> Result<Vec<re::Digest>, Code> {
        let request = re::FindMissingBlobsRequest { blob_digests, ..Default::default() };
        let answer = self.cas().find_missing_blobs(request).await.map_err(|status| status.code())?;
        Ok(answer.into_inner().missing_blob_digests)
    }

    /// BatchUpdateBlobs with one blob.
    ///
    /// # Errors
    /// The code of the call, or of the blob.
    pub async fn put(&self, digest: re::Digest, data: Vec<u8>) -> Result<(), Code> {
        let one = re::batch_update_blobs_request::Request { digest: Some(digest), data, ..Default::default() };
        let request = re::BatchUpdateBlobsRequest { requests: vec![one], ..Default::default() };
        let answer = self.cas().batch_update_blobs(request).await.map_err(|status| status.code())?.into_inner();
        let code = answer.responses.first().and_then(|one| one.status.as_ref()).map_or(0, |status| status.code);
        if code == 0 { Ok(()) } else { Err(code.into()) }
    }

    /// ByteStream.Read, to a clean end.
    ///
    /// # Errors
    /// The code of the server.
    pub async fn read(&self, digest: &re::Digest, read_offset: i64, read_limit: i64) -> Result<Vec<u8>, Code> {
        let resource_name = format!("blobs/{}/{}", digest.hash, digest.size_bytes);
        let request = ReadRequest { resource_name, read_offset, read_limit };
        let mut messages = self.streams().read(request).await.map_err(|status| status.code())?.into_inner();
        let mut data = Vec::new();
        while let Some(message) = messages.message().await.map_err(|status| status.code())? {
            data.extend(message.data);
        }
        Ok(data)
    }

    /// ByteStream.Write of these messages.
    ///
    /// # Errors
    /// The code of the server.
    pub async fn write(&self, messages: Vec<WriteRequest>) -> Result<i64, Code> {
        let answer = self.streams().write(futures::stream::iter(messages)).await.map_err(|status| status.code())?;
        Ok(answer.into_inner().committed_size)
    }

    /// QueryWriteStatus.
    ///
    /// # Errors
    /// The code of the server.
    pub async fn status(&self, name: &str) -> Result<(i64, bool), Code> {
        let request = QueryWriteStatusRequest { resource_name: name.into() };
        let answer = self.streams().query_write_status(request).await.map_err(|status| status.code())?.into_inner();
        Ok((answer.committed_size, answer.complete))
    }
}

/// The digest of these bytes.
#[must_use]
pub fn digest(bytes: &[u8]) -> re::Digest {
    let hash = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    re::Digest { hash, size_bytes: signed(bytes.len()) }
}

/// Bytes that no other seed gives: one random block again and again, each with its number, because an unoptimized
/// build makes too few random bytes in a second.
#[must_use]
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    let block: Vec<u8> = words.take(BLOCK / 8).flatten().collect();
    let mut all = Vec::with_capacity(len + BLOCK);
    for number in 0..len.div_ceil(BLOCK) as u64 {
        all.extend_from_slice(&number.to_le_bytes());
        all.extend_from_slice(&block[8..]);
    }
    all.truncate(len);
    all
}

/// The name under which a digest is written.
#[must_use]
pub fn target(digest: &re::Digest) -> String {
    format!("uploads/u/blobs/{}/{}", digest.hash, digest.size_bytes)
}

/// One message of a write.
#[must_use]
pub fn message(name: &str, offset: usize, data: &[u8], finish_write: bool) -> WriteRequest {
    WriteRequest { resource_name: name.into(), write_offset: signed(offset), finish_write, data: data.to_vec() }
}

/// Messages that write `data` from an offset to its end.
#[must_use]
pub fn messages(data: &[u8], from: usize) -> Vec<WriteRequest> {
    let name = target(&digest(data));
    let starts = (from..data.len()).step_by(1 << 20);
    let piece = |at: usize| at..data.len().min(at + (1 << 20));
    starts.map(|at| message(&name, at, &data[piece(at)], piece(at).end == data.len())).collect()
}

/// A length as the protocol has it.
#[must_use]
pub fn signed(len: usize) -> i64 {
    i64::try_from(len).expect("no length is above 2^63")
}
