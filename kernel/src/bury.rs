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
            let dooms = batch.iter().map(|digest| Change::Doom { digest: *digest }).collect();
            let outcomes = self.catalog().apply(dooms).await?;
            let doomed: Vec<(Digest, Option<Location>)> = batch
                .iter()
                .zip(outcomes)
                .filter_map(|(digest, outcome)| match outcome {
                    Outcome::Doomed(at) => Some((*digest, at)),
                    _ => None,
                })
                .collect();
            let forgets = doomed.iter().map(|(digest, at)| Change::Forget { digest: *digest, at: *at }).collect();
            let outcomes = self.catalog().apply(forgets).await?;
            let gone: Vec<Location> = doomed
                .iter()
                .zip(outcomes)
                .filter(|(_, outcome)| *outcome == Outcome::Done)
                .filter_map(|((_, at), _)| *at)
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
        tracing::error!(%digest, "the bytes of a blob are damaged or gone: it is absent until it is brought again");
        let outcome = self.catalog().apply(vec![Change::Lose { digest, at, now: Time::now() }]).await?.pop();
        if outcome == Some(Outcome::Done) {
            self.metrics().lost.inc();
            for space in self.spaces() {
                space.presence.drop_entry(&digest);
            }
            self.refresh_lost().await?;
            if let Some(at) = at {
                // The row no longer points there (law 4); a blob that comes again gets a fresh location.
                self.store().remove(&[at]).await?;
            }
        }
        Ok(())
    }
}
