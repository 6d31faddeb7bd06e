//! What is promised is fetched when somebody reads it: once however many ask, and each gets the bytes as they arrive.
//!
//! The last byte is held back until the whole was found right, so that nobody's stream ends cleanly with wrong bytes.
//! Where there is no room for it, what the upstream sends goes straight to whoever asked (`relay.rs`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{StreamExt, TryStreamExt};
use model::{Blob, Body, Digest, Error, Meaning, Name, Result, Span};

use crate::follow::Progress;
use crate::hub::Hub;
use crate::namespace::Namespace;
use crate::relay;
use crate::rights::Granted;
use crate::space::Space;
use crate::upload::Claim;

/// Fetches under way, by what they fetch.
#[derive(Default)]
pub(crate) struct Fetches(Mutex<Table>);

#[derive(Default)]
struct Table {
    running: HashMap<Digest, Arc<Fetching>>,
    /// How many have ended: a lease that was read before one did may say "promised" of what is here by now.
    ended: u64,
}

/// A fetch under way.
struct Fetching {
    progress: Arc<Progress>,
    /// What the upstream sends and there is no room for; the first who asks takes it.
    homeless: Mutex<Option<Body>>,
}

impl Fetches {
    /// To be asked before a lease is read, for [`Hub::bring`].
    pub(crate) fn ended(&self) -> u64 {
        self.lock().ended
    }

    /// Protects the table; never held across an await.
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hub {
    /// The bytes of a promised blob as they arrive. Returns once there are some, or it is known why there are none;
    /// `None` when a fetch has ended since the lease was read: read it again.
    pub(crate) async fn bring(
        &self,
        space: &Arc<Space>,
        (blob, span): (Blob, Span),
        from: Vec<Name>,
        ended: u64,
    ) -> Result<Option<Body>> {
        let fetching = {
            let mut fetches = space.fetches.lock();
            match fetches.running.get(&blob.digest) {
                Some(fetching) => Arc::clone(fetching),
                None if fetches.ended != ended => return Ok(None),
                None => {
                    let fetching = Arc::new(Fetching { progress: Progress::new(0), homeless: Mutex::default() });
                    fetches.running.insert(blob.digest, Arc::clone(&fetching));
                    let (hub, space, watched) = (self.clone(), Arc::clone(space), Arc::clone(&fetching));
                    let from = from.clone();
                    self.spawn("fetch a blob", async move { hub.fetch(&space, blob, &from, &watched).await });
                    fetching
                }
            }
        };
        match fetching.progress.body(span).await {
            Err(error) if has_no_room(&error) => {
                let sent = fetching.homeless.lock().unwrap_or_else(PoisonError::into_inner).take();
                let sent = match sent {
                    Some(body) => body,
                    None => self.ask_for(blob, &from).await?.0,
                };
                relay::body(self.clone(), sent, blob, span).map(Some)
            }
            begun => begun.map(Some),
        }
    }

    async fn fetch(&self, space: &Arc<Space>, blob: Blob, from: &[Name], fetching: &Fetching) {
        let progress = &fetching.progress;
        let done = tokio::select! {
            done = self.fetch_from(space, blob, from, fetching) => done,
            () = self.closing().cancelled() => Err(Error::busy("the hub is shutting down: try again")),
        };
        match &done {
            Ok(()) => self.metrics().fetched(Ok(blob.size)),
            Err(error) if has_no_room(error) => {
                tracing::warn!(digest = %blob.digest, %error, "no room for what an upstream sends: it is passed on");
            }
            Err(error) => {
                tracing::warn!(digest = %blob.digest, %error, "a promised blob did not come");
                self.metrics().fetched(Err(error));
            }
        }
        // After its lease is held: whoever finds neither asks the catalog again.
        {
            let mut fetches = space.fetches.lock();
            fetches.running.remove(&blob.digest);
            fetches.ended += 1;
        }
        progress.finish(done);
    }

    async fn fetch_from(&self, space: &Arc<Space>, blob: Blob, from: &[Name], fetching: &Fetching) -> Result<()> {
        let (body, source) = self.ask_for(blob, from).await?;
        self.store_fetched(space, blob, (body, source), fetching).await
    }

    /// The bytes from the first upstream that has them, and the name that it has them by.
    async fn ask_for(&self, blob: Blob, from: &[Name]) -> Result<(Body, Name)> {
        let mut failure = Error::absent(format!("no upstream has blob {} any more", blob.digest));
        for name in from {
            let Some(upstream) = self.upstream(name) else { continue };
            match upstream.fetch(name, blob).await {
                Ok(Some(body)) => return Ok((body, name.clone())),
                Ok(None) => {}
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn store_fetched(
        &self,
        space: &Arc<Space>,
        blob: Blob,
        (body, source): (Body, Name),
        fetching: &Fetching,
    ) -> Result<()> {
        let own = Namespace::new(self.clone(), Arc::clone(space), Granted::own());
        let claim = Claim { size: Some(blob.size), digest: Some(blob.digest), live: true, ..Claim::default() };
        let begun = own.begin(claim, Arc::clone(&fetching.progress), Some(source.to_string())).await;
        let mut upload = match begun {
            Err(error) if has_no_room(&error) => {
                *fetching.homeless.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
                return Err(error);
            }
            begun => begun?,
        };
        let wrong = |error: Error| match error.meaning() {
            Meaning::Mismatch => Error::upstream(format!("the upstream sent other bytes: {}", error.text())),
            _ => error,
        };
        let mut chunks = match body {
            Body::Bytes(bytes) => futures::stream::iter([Ok(bytes)]).boxed(),
            Body::Stream { chunks, .. } => chunks,
            Body::File { .. } => return Err(Error::broken("an upstream gave a file")),
        };
        while let Some(chunk) = chunks.try_next().await? {
            upload.append(chunk).await.map_err(wrong)?;
        }
        upload.commit().await.map_err(wrong)?;
        Ok(())
    }
}

/// True where it is our own room that lacks, and not the upstream's bytes.
fn has_no_room(error: &Error) -> bool {
    *error.meaning() == Meaning::Full
}
