//! How much at once, and how long.

use std::time::Duration;

/// Limits of the server as a whole. A count that is reached makes others wait or be refused politely; it never
/// makes the server fall over.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections open at once, over all listeners; more wait in the kernel's queue.
    pub connections: usize,
    /// Requests in progress at once, over all listeners; more are refused with 503 or `UNAVAILABLE`.
    pub requests: usize,
    /// Bytes of files that are in memory on their way out, over all listeners. Beyond it each answer that needs them
    /// goes on in small pieces (64 KiB), one at a time.
    pub in_flight: usize,
    /// Streams in progress at once on one HTTP/2 connection; a client queues the rest itself.
    pub streams: u32,
    /// Time for a TLS handshake, and for the first bytes of a connection.
    pub handshake: Duration,
    /// Time to wait for the head of an HTTP/1.1 request, and so for the next one on an idle connection.
    pub head: Duration,
    /// Time that running requests get to finish when the server drains; then they are cut.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Half of the 8192 open files that our systemd units ask for; the rest is for blobs.
            connections: 4096,
            // In the worst case each has 64 KiB beyond `in_flight`, and an upload's chunks of 256 KiB: about 2 GiB.
            requests: 4096,
            // A stream of HTTP/2 with a slow reader has about 3 MiB, so that this is enough for 80 of them at full
            // speed, and on small machines leaves the rest to the page cache, where the files are anyway.
            in_flight: 256 << 20,
            // Bazel opens up to 100 calls on a connection and casd far fewer.
            streams: 256,
            // Ten round trips on the worst line that people work over.
            handshake: Duration::from_secs(10),
            // Clients reuse connections within a minute or not at all.
            head: Duration::from_secs(60),
            // systemd kills after 90 s and Kubernetes after 30 s: stay below both.
            drain: Duration::from_secs(25),
        }
    }
}
