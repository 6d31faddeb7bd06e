//! Blobs that nobody leases lose their row, then their bytes (law 4).

use model::{Change, Digest, Location, Outcome, Result, Time};

use crate::hub::Hub;

/// Blobs of one change.
const BATCH: usize = 500;

impl Hub {
    /// Buries what the last reaps left bare.
    pub(crate) async fn bury_bare(&self) -> Result<()> {
        let bare = std::mem::take(&mut *self.bare());
        self.bury(bare).await
    }

    /// Removes rows and bytes of these blobs, as far as still nobody leases them.
    pub(crate) async fn bury(&self, bare: Vec<Digest>) -> Result<()> {
        for batch in bare.chunks(BATCH) {
            let marked: Vec<(Digest, i64)> = batch.iter().map(|digest| (*digest, self.mark())).collect();
            let dooms = marked.iter().map(|(digest, mark)| Change::Doom { digest: *digest, mark: *mark });
            self.catalog().apply(dooms.collect()).await?;
            let forgets = marked.iter().map(|(digest, mark)| Change::Forget { digest: *digest, mark: *mark });
            let outcomes = self.catalog().apply(forgets.collect()).await?;
            let gone: Vec<Location> = outcomes
                .into_iter()
                .filter_map(|outcome| if let Outcome::Forgot(at) = outcome { at } else { None })
                .collect();
            self.store().remove(&gone).await?;
        }
        Ok(())
    }

    /// Buries all that nobody leases: what a crash left between a reap and its burial.
    pub(crate) async fn bury_all(&self) -> Result<()> {
        loop {
            let bare = self.catalog().bare(BATCH).await?;
            if bare.is_empty() {
                return Ok(());
            }
            self.bury(bare.clone()).await?;
            if self.catalog().bare(BATCH).await? == bare {
                // Somebody holds on to them just now; the next sweep comes soon.
                return Ok(());
            }
        }
    }

    /// Records that bytes are damaged: from now on the blob is absent until somebody brings it again.
    pub(crate) async fn lose(&self, digest: Digest, at: Option<Location>) -> Result<()> {
        let hub = self.clone();
        self.to_the_end("lose a blob", async move { hub.lose_marked(digest, at).await }).await
    }

    /// What an upstream has too is promised again instead of lost.
    async fn forgo(&self, digest: Digest) -> Result<()> {
        let spaces: Vec<_> = self.spaces().collect();
        let changes = spaces.iter().map(|space| Change::Demote { space: space.id, digest }).collect();
        for (space, outcome) in spaces.into_iter().zip(self.catalog().apply(changes).await?) {
            space.settle(0, &outcome);
        }
        Ok(())
    }

    async fn lose_marked(&self, digest: Digest, at: Option<Location>) -> Result<()> {
        tracing::error!(%digest, "the bytes of a blob are damaged or gone: it is absent until it is brought again");
        let marks: Vec<_> = self.spaces().map(|space| space.presence.mark(vec![digest])).collect();
        let outcome = self.catalog().apply(vec![Change::Lose { digest, at, now: Time::now() }]).await?.pop();
        if outcome == Some(Outcome::Done) {
            self.forgo(digest).await?;
        }
        drop(marks);
        if outcome == Some(Outcome::Done) {
            self.metrics().lost.inc();
            self.refresh_lost().await?;
            if let Some(at) = at {
                // The row no longer points there (law 4); a blob that comes again gets a fresh location.
                self.store().remove(&[at]).await?;
            }
        }
        Ok(())
    }
}
