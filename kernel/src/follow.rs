//! Uploads that others watch while they arrive.

use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use futures::stream;
use model::{Body, Chunks, Error, Result, Span, View};
use tokio::sync::watch;

use crate::namespace::Namespace;
use crate::read::collect;
use crate::rights::Rights;

/// Bytes that a follower takes at a time.
const PIECE: u64 = 256 << 10;

/// How far an upload is.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// Bytes that were taken.
    pub(crate) offset: u64,
    /// Bytes that followers can read.
    pub(crate) readable: u64,
    /// Set at the end: what became of it.
    pub(crate) end: Option<Result<()>>,
}

/// An upload that somebody writes now.
pub(crate) struct Progress {
    pub(crate) state: watch::Sender<State>,
    view: Mutex<Option<Arc<dyn View>>>,
}

impl Progress {
    pub(crate) fn new(offset: u64) -> Arc<Self> {
        let state = watch::Sender::new(State { offset, readable: 0, end: None });
        Arc::new(Self { state, view: Mutex::new(None) })
    }

    pub(crate) fn set_view(&self, view: Arc<dyn View>) {
        *self.view.lock().unwrap_or_else(PoisonError::into_inner) = Some(view);
    }

    /// The end, unless it was told already.
    pub(crate) fn finish(&self, end: Result<()>) {
        self.state.send_if_modified(|state| {
            let first = state.end.is_none();
            state.end.get_or_insert(end);
            first
        });
    }

    /// A part of what is being fetched, once there is some of it or it is known why there is none. Its last byte
    /// comes only when the whole was found right.
    pub(crate) async fn body(self: &Arc<Self>, span: Span) -> Result<Body> {
        let mut state = self.state.subscribe();
        let begun = state.wait_for(|state| state.readable > span.offset || state.end.is_some()).await;
        if let Some(Err(error)) = &begun.map_err(|_| broken_off())?.end {
            return Err(error.clone());
        }
        let follower = Follower { progress: Arc::clone(self), state, at: span.offset, until: Some(span.end()) };
        Ok(Body::Stream { size: Some(span.len), chunks: follower.chunks() })
    }

    fn view(&self) -> Option<Arc<dyn View>> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Follower {
    progress: Arc<Progress>,
    state: watch::Receiver<State>,
    at: u64,
    /// Where to end; `None` to go on as long as the upload does.
    until: Option<u64>,
}

fn broken_off() -> Error {
    Error::upstream("the upload was broken off")
}

impl Follower {
    fn chunks(self) -> Chunks {
        stream::try_unfold(self, |mut follower| async { Ok(follower.next().await?.map(|bytes| (bytes, follower))) })
            .boxed()
    }

    /// Up to where bytes may go out now.
    fn ready(&self, state: &State) -> u64 {
        match (self.until, &state.end) {
            (None, _) => state.readable,
            (Some(until), Some(Ok(()))) => until,
            (Some(until), _) => state.readable.min(until.saturating_sub(1)),
        }
    }

    /// The next bytes; `None` at the clean end.
    async fn next(&mut self) -> Result<Option<bytes::Bytes>> {
        loop {
            let state = self.state.borrow_and_update().clone();
            let ready = self.ready(&state);
            if ready > self.at
                && let Some(view) = self.progress.view()
            {
                let len = (ready - self.at).min(PIECE);
                let body = view.body(Span { offset: self.at, len })?;
                self.at += len;
                return collect(body, len).await.map(Some);
            }
            match state.end {
                Some(end) => return end.map(|()| None),
                None => {
                    self.state.changed().await.map_err(|_| broken_off())?;
                }
            }
        }
    }
}

impl Namespace {
    /// The bytes of an upload that is under way, from `from` on, as they arrive. The stream ends cleanly only
    /// when the upload was committed.
    ///
    /// # Errors
    /// `Absent` when nobody writes such an upload now.
    pub async fn follow(&self, id: &str, from: u64) -> Result<Body> {
        self.granted.assert(Rights::READ)?;
        let progress = self.space.uploads().get(id).cloned();
        let progress = progress.ok_or_else(|| Error::absent("nobody writes such an upload now"))?;
        let state = progress.state.subscribe();
        let follower = Follower { progress, state, at: from, until: None };
        Ok(Body::Stream { size: None, chunks: follower.chunks() })
    }
}
