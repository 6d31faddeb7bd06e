//! What is promised is fetched when somebody reads it: once however many ask, and each gets the bytes as they arrive.
//!
//! The last byte is held back until the whole was found right, so that nobody's stream ends cleanly with wrong bytes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{StreamExt, TryStreamExt};
use model::{Blob, Body, Digest, Error, Meaning, Name, Result, Span};

use crate::follow::Progress;
use crate::hub::Hub;
use crate::namespace::Namespace;
use crate::rights::Granted;
use crate::space::Space;
use crate::upload::Claim;

/// Fetches under way, by what they fetch.
#[derive(Default)]
pub(crate) struct Fetches(Mutex<HashMap<Digest, Arc<Progress>>>);

impl Fetches {
    /// Protects the map; never held across an await.
    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Arc<Progress>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hub {
    /// The bytes of a promised blob as they arrive. Returns once there are some, or it is known why there are none.
    pub(crate) async fn bring(&self, space: &Arc<Space>, blob: Blob, span: Span, from: Vec<Name>) -> Result<Body> {
        let progress = {
            let mut fetches = space.fetches.lock();
            match fetches.get(&blob.digest) {
                Some(progress) => Arc::clone(progress),
                None => {
                    let progress = Progress::new(0);
                    fetches.insert(blob.digest, Arc::clone(&progress));
                    let (hub, space, watched) = (self.clone(), Arc::clone(space), Arc::clone(&progress));
                    self.spawn("fetch a blob", async move { hub.fetch(&space, blob, from, watched).await });
                    progress
                }
            }
        };
        progress.body(span).await
    }

    async fn fetch(&self, space: &Arc<Space>, blob: Blob, from: Vec<Name>, progress: Arc<Progress>) {
        let done = self.fetch_from(space, blob, from, &progress).await;
        if let Err(error) = &done {
            tracing::warn!(digest = %blob.digest, %error, "a promised blob did not come");
        }
        self.metrics().fetched(done.as_ref().map(|()| blob.size));
        // After its lease is held: whoever finds neither asks the catalog again.
        space.fetches.lock().remove(&blob.digest);
        progress.finish(done);
    }

    async fn fetch_from(
        &self,
        space: &Arc<Space>,
        blob: Blob,
        from: Vec<Name>,
        progress: &Arc<Progress>,
    ) -> Result<()> {
        let mut failure = Error::absent(format!("no upstream has blob {} any more", blob.digest));
        for name in from {
            let Some(upstream) = self.upstream(&name) else { continue };
            match upstream.fetch(&name, blob).await {
                Ok(Some(body)) => return self.store_fetched(space, blob, (body, name), progress).await,
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
        progress: &Arc<Progress>,
    ) -> Result<()> {
        let own = Namespace::new(self.clone(), Arc::clone(space), Granted::own());
        let claim = Claim { size: Some(blob.size), digest: Some(blob.digest), live: true, ..Claim::default() };
        let mut upload = own.begin(claim, Arc::clone(progress), Some(source.to_string())).await?;
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
