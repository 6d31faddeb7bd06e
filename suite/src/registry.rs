//! A registry on 127.0.0.1 that answers as it should, or misbehaves as it is told: an upstream for tests.
//!
//! It is written on plain sockets and threads, because most of what it does wrong no HTTP library lets one do. It ends
//! with its value. Programs can use it as well as tests: it is a process's neighbour on a port.

mod content;
mod fault;
mod login;
mod wire;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use content::{Image, digest};
pub use fault::Fault;
pub use login::Login;
pub use wire::Asked;

/// A running registry.
#[derive(Debug)]
pub struct Registry {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    inner: Mutex<Inner>,
    /// Told when the registry ends: what hangs or drips wakes up.
    ending: Condvar,
    ended: AtomicBool,
}

#[derive(Debug, Default)]
struct Inner {
    /// Bytes and media types, by repository and digest.
    manifests: BTreeMap<(String, String), (String, Vec<u8>)>,
    /// Digests, by repository and tag.
    tags: BTreeMap<(String, String), String>,
    /// Bytes, by repository and digest.
    blobs: BTreeMap<(String, String), Arc<[u8]>>,
    login: Login,
    faults: Vec<Rule>,
    asked: Vec<Asked>,
    /// Tokens that are good.
    tokens: Vec<String>,
    made: u64,
    headers: Vec<(String, String)>,
    /// Most tags of one page.
    page: Option<usize>,
}

#[derive(Debug)]
struct Rule {
    /// What a request's line begins with, such as `GET /v2/a/blobs/`.
    line: String,
    fault: Fault,
    left: usize,
}

impl State {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the registry ends, or this time has passed; true when it has ended.
    fn ends_within(&self, time: Duration) -> bool {
        let inner = self.inner();
        let going = |_: &mut Inner| !self.ended.load(Ordering::SeqCst);
        let waited = self.ending.wait_timeout_while(inner, time, going);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.ended.load(Ordering::SeqCst)
    }
}

impl Registry {
    /// A registry without content that asks nobody who they are, on a port of its own.
    ///
    /// # Panics
    /// When there is no port.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (inner, ending, ended) = (Mutex::default(), Condvar::new(), AtomicBool::new(false));
        let state = Arc::new(State { inner, ending, ended });
        let serving = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.ended.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let state = serving.clone();
                std::thread::spawn(move || wire::serve(&state, stream));
            }
        });
        Self { address, state }
    }

    /// Its host and port, as in image names.
    #[must_use]
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// `http://` and its host, and this path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The next requests whose lines (`GET /v2/a/blobs/…`) begin so are answered wrongly so, this many times.
    pub fn fail(&self, line: &str, fault: Fault, times: usize) {
        self.state.inner().faults.push(Rule { line: line.into(), fault, left: times });
    }

    /// Behaves from now on.
    pub fn heal(&self) {
        self.state.inner().faults.clear();
    }

    /// Wants to know who asks.
    pub fn login(&self, login: Login) {
        self.state.inner().login = login;
    }

    /// Refuses all tokens that it has given out.
    pub fn revoke(&self) {
        self.state.inner().tokens.clear();
    }

    /// Lists at most so many tags at a time.
    pub fn page(&self, most: usize) {
        self.state.inner().page = Some(most);
    }

    /// Sends this header with each answer.
    pub fn header(&self, name: &str, value: &str) {
        self.state.inner().headers.push((name.into(), value.into()));
    }

    /// What it was asked so far, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.state.inner().asked.clone()
    }

    /// How many requests began so.
    #[must_use]
    pub fn count(&self, line: &str) -> usize {
        self.state.inner().asked.iter().filter(|asked| asked.line().starts_with(line)).count()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        {
            let _inner = self.state.inner();
            self.state.ended.store(true, Ordering::SeqCst);
            self.state.ending.notify_all();
        }
        // Wakes the one that accepts.
        let _ = TcpStream::connect(self.address);
    }
}
