//! Uploads that others watch while they arrive.

use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use futures::stream;
use model::{Body, Error, Result, Span, View};
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

    fn view(&self) -> Option<Arc<dyn View>> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Follower {
    progress: Arc<Progress>,
    state: watch::Receiver<State>,
    at: u64,
}

impl Follower {
    /// The next bytes; `None` at the clean end.
    async fn next(&mut self) -> Result<Option<bytes::Bytes>> {
        loop {
            let state = self.state.borrow_and_update().clone();
            if state.readable > self.at
                && let Some(view) = self.progress.view()
            {
                let len = (state.readable - self.at).min(PIECE);
                let body = view.body(Span { offset: self.at, len })?;
                self.at += len;
                return collect(body, len).await.map(Some);
            }
            match state.end {
                Some(end) => return end.map(|()| None),
                None => {
                    self.state.changed().await.map_err(|_| Error::upstream("the upload was broken off"))?;
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
        let follower = Follower { progress, state, at: from };
        let chunks = stream::try_unfold(follower, |mut follower| async {
            Ok(follower.next().await?.map(|bytes| (bytes, follower)))
        });
        Ok(Body::Stream { size: None, chunks: chunks.boxed() })
    }
}
