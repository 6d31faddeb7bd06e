//! How an upload waits for its next part, rests, goes on resting where it did, or vanishes.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use model::{Change, Error, Result, Time, UploadRow};

use super::{Stand, Upload};
use crate::hub::Hub;

/// Uploads that wait in memory: some hundred bytes each, and at most a piece. More of them rest at once.
const WAITING: usize = 4096;
/// How long they wait. Clients that are alive send the next part within milliseconds.
const WAIT: Duration = Duration::from_secs(20);

impl Upload {
    /// Gives it up: it rests nowhere any more, and its bytes are gone.
    ///
    /// # Errors
    /// When the catalog or the store fails.
    pub async fn abandon(mut self) -> Result<()> {
        let hub = self.namespace.hub.clone();
        let work = async move {
            self.stand = Stand::Over;
            let gone = self.vanish().await;
            self.left();
            gone
        };
        hub.to_the_end("give an upload up", work).await
    }

    /// Lets it wait for its next part: in memory for a short while, then it rests. What it has taken since it last
    /// rested is lost in a crash.
    ///
    /// # Errors
    /// As [`Upload::park`].
    pub async fn pause(self) -> Result<()> {
        let Some(id) = self.id.clone() else { return self.park().await };
        let space = Arc::clone(&self.namespace.space);
        if self.stand != Stand::Whole || space.waiting().len() >= WAITING {
            return self.park().await;
        }
        space.waiting().insert(id, (Instant::now(), self));
        Ok(())
    }

    /// Lets it rest under its id; durable on return. It rests also when the caller goes in between, as it does when
    /// a client has vanished.
    ///
    /// # Errors
    /// `Malformed` when its claim has no id.
    pub async fn park(mut self) -> Result<()> {
        if self.id.is_none() {
            return Err(Error::malformed("this upload has no id to rest under"));
        }
        let hub = self.namespace.hub.clone();
        hub.to_the_end("park an upload", async move { self.rest().await }).await
    }

    async fn rest(&mut self) -> Result<()> {
        let Some(id) = self.id.clone() else { return Ok(()) };
        if self.stand != Stand::Whole {
            return Err(Error::broken("the upload failed before and cannot rest"));
        }
        self.stand = Stand::Unsure;
        let piece = self.gathered.split().freeze();
        self.write(piece).await?;
        if let Some(stage) = &mut self.stage {
            stage.sync().await?;
        }
        let hub = self.namespace.hub.clone();
        let until = Time::now().plus(hub.settings().parked);
        let space = &self.namespace.space;
        let row = UploadRow { space: space.id, id: id.clone(), stage: self.at, offset: self.offset, until };
        hub.catalog().apply(vec![Change::Park(row)]).await?;
        if let Some(mut reserved) = self.reserved.take() {
            // What was announced and did not come is nobody's any more.
            reserved.shrink(self.offset);
            space.parked().insert(id, reserved);
        }
        self.end(Err(Error::upstream("the upload rests")));
        Ok(())
    }
}

impl Hub {
    /// Parks the uploads that have waited for long, or all.
    pub(crate) async fn rest_waiting(&self, all: bool) {
        let spaces: Vec<_> = self.spaces().cloned().collect();
        for space in spaces {
            let over = |at: &Instant| all || at.elapsed() >= WAIT;
            let late: Vec<Upload> =
                space.waiting().extract_if(|_, (at, _)| over(at)).map(|(_, (_, upload))| upload).collect();
            for upload in late {
                if let Err(error) = upload.park().await {
                    tracing::warn!(%error, "an upload that waited for its client could not be parked");
                }
            }
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let hub = self.namespace.hub.clone();
        let gone = Self {
            namespace: self.namespace.clone(),
            claim: std::mem::take(&mut self.claim),
            id: self.id.take(),
            at: self.at,
            hash: std::mem::take(&mut self.hash),
            offset: self.offset,
            gathered: std::mem::take(&mut self.gathered),
            stage: self.stage.take(),
            reserved: self.reserved.take(),
            progress: Arc::clone(&self.progress),
            source: self.source.take(),
            rests: self.rests,
            stand: self.stand,
            done: true,
        };
        hub.clone().spawn("end an upload", gone.leave());
    }
}

impl Upload {
    /// What becomes of an upload that nobody ends: it rests, or goes on to rest where it did before, or its bytes go.
    async fn leave(mut self) {
        // What is being written must not land in what somebody else goes on with.
        if let Some(stage) = &mut self.stage
            && stage.flush().await.is_err()
            && self.stand == Stand::Whole
        {
            self.stand = Stand::Unsure;
        }
        if self.stand == Stand::Whole && self.id.is_some() && (self.offset > 0 || self.rests) {
            match self.rest().await {
                Ok(()) => return self.left(),
                Err(error) => tracing::warn!(%error, "an upload could not be parked"),
            }
        }
        if self.stand == Stand::Unsure && self.rests {
            self.stay();
        } else if let Err(error) = self.vanish().await {
            tracing::warn!(%error, "a broken upload was not removed; the next start removes it");
        }
        self.left();
    }

    /// The row and what is durable of its bytes are as they were.
    fn stay(&mut self) {
        if let (Some(id), Some(reserved)) = (self.id.clone(), self.reserved.take()) {
            self.namespace.space.parked().insert(id, reserved);
        }
        self.end(Err(Error::upstream("the upload was broken off")));
    }

    /// Its row and its bytes go, the row first.
    async fn vanish(&mut self) -> Result<()> {
        let forgotten = self.forget_id().await;
        self.end(Err(Error::upstream("the upload was broken off")));
        drop(self.stage.take());
        forgotten?;
        self.namespace.hub.store().discard(self.at).await
    }

    /// Room may have become free.
    fn left(&mut self) {
        drop(self.reserved.take());
        self.namespace.space.changes.fetch_add(1, Relaxed);
    }
}
