//! A hub with a configuration, in front of a registry of the suite.

use std::time::Duration;

use suite::clients::{Hub, free_port, until};
use suite::registry::{Image, Registry, digest};
use tempfile::TempDir;

use crate::client::{Reply, get};

/// Short times, so that what hangs is noticed within a test.
const PACE: &str = "[pace]\nconnect_seconds = 2\nhead_seconds = 0.6\nread_seconds = 0.6\ndocument_seconds = 2\n\
     patience_seconds = 2\nrate = 1000\nrate_seconds = 0.6\ntag_seconds = 0.3\nabsent_seconds = 0.2\n\
     failed_seconds = 0.2\n";

/// A hub and its data.
pub(crate) struct Stage {
    data: TempDir,
    port: u16,
    hub: Option<Hub>,
}

impl Stage {
    /// A hub for which this registry is an upstream.
    pub(crate) fn before(registry: &Registry) -> Self {
        Self::with(&entry(&registry.host(), "private = true\n"))
    }

    /// A hub with these lines of configuration.
    pub(crate) fn with(lines: &str) -> Self {
        Self::configured(&format!("{PACE}{lines}"))
    }

    /// The same with the times that people have: a hundred clients on one machine make it slow.
    pub(crate) fn patiently_before(registry: &Registry) -> Self {
        Self::configured(&entry(&registry.host(), "private = true\n"))
    }

    fn configured(text: &str) -> Self {
        let data = tempfile::tempdir().expect("a directory");
        std::fs::write(data.path().join("config.toml"), text).expect("written");
        let mut stage = Self { data, port: free_port(), hub: None };
        stage.start();
        stage
    }

    fn start(&mut self) {
        let data = self.data.path().join("data");
        let options =
            format!("--config {} --log-level info,upstream=trace", self.data.path().join("config.toml").display());
        self.hub = Some(Hub::serve_at(self.port, &data, &options));
    }

    /// Ends it and starts it anew on the same data.
    pub(crate) fn restart(&mut self) {
        self.hub().stop();
        self.hub = None;
        self.start();
    }

    /// Starts it after it was stopped.
    pub(crate) fn restart_stopped(&mut self) {
        self.hub = None;
        self.start();
    }

    pub(crate) fn hub(&mut self) -> &mut Hub {
        self.hub.as_mut().expect("it runs")
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Most resident memory so far, in MiB.
    pub(crate) fn peak(&mut self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.hub().id())).expect("it lives");
        let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("Linux tells VmHWM");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") >> 10
    }

    /// The file of a blob, where it has one.
    pub(crate) fn file(&self, bytes: &[u8]) -> Option<std::path::PathBuf> {
        let digest = digest(bytes);
        let hex = digest.trim_start_matches("sha256:");
        let shard = std::fs::read_dir(self.data.path().join("data/blobs").join(&hex[..2])).ok()?;
        let mut files = shard.map(|entry| entry.expect("it reads").path());
        files.find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(hex)))
    }
}

/// An upstream, with these lines.
pub(crate) fn entry(host: &str, lines: &str) -> String {
    format!("[[upstream]]\nhost = \"{host}\"\nproxy = \"none\"\n{lines}")
}

/// Bytes that look like nothing else.
pub(crate) fn bytes(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|at| ((at * 31 + at / 251 * 7 + seed * 13) % 251) as u8).collect()
}

/// The path of something in a copy.
pub(crate) fn path(registry: &str, repository: &str, rest: &str) -> String {
    format!("/v2/{registry}/{repository}/{rest}")
}

/// What a body must be, or an error in the form of registries.
fn right(reply: Reply, wanted: &[u8], what: &str) -> Result<(), String> {
    if reply.status != 200 {
        let (code, message) = reply.error();
        assert!(!code.is_empty() && message.len() > 15, "{what}: {} says what is wrong: {message:?}", reply.status);
        assert!(reply.status != 500, "{what}: nothing is wrong in the hub: {message}");
        return Err(format!("{} {code}: {message}", reply.status));
    }
    if !reply.whole {
        return Err("broken off".into());
    }
    assert!(reply.body == wanted, "{what}: {} bytes ended cleanly and are not right", reply.body.len());
    Ok(())
}

/// Pulls an image as clients do, sequentially.
///
/// # Errors
/// What went wrong, as far as the client is told.
///
/// # Panics
/// When anything ends well that is not right.
pub(crate) fn pull(port: u16, registry: &str, repository: &str, target: &str, image: &Image) -> Result<(), String> {
    let what = format!("{repository}:{target}");
    let manifest = get(port, &path(registry, repository, &format!("manifests/{target}")));
    if manifest.status == 200 {
        assert_eq!(manifest.header("docker-content-digest"), Some(&*image.digest), "{what}");
    }
    right(manifest, &image.manifest, &what)?;
    for blob in [&image.config].into_iter().chain(&image.layers) {
        right(get(port, &path(registry, repository, &format!("blobs/{}", digest(blob)))), blob, &what)?;
    }
    Ok(())
}

/// Pulls until it is right.
pub(crate) fn pulls_again(port: u16, registry: &str, repository: &str, target: &str, image: &Image) {
    let mut last = String::new();
    // An upstream that limits us and does not say for how long is left alone for half a minute.
    until(&format!("{repository}:{target} is pulled again"), Duration::from_secs(60), || {
        match pull(port, registry, repository, target, image) {
            Ok(()) => true,
            Err(error) => {
                if error != last {
                    println!("{repository}: {error}");
                    last = error;
                }
                false
            }
        }
    });
}
