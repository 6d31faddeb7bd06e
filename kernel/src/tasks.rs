//! Work that outlives its request: parks, discards, sweeps. `close` waits for all of it.

use std::future::Future;
use std::time::Duration;

use model::{Error, Result};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// How long `close` waits for work that has begun.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks(TaskTracker);

impl Tasks {
    pub(crate) fn spawn(&self, what: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(work.instrument(tracing::info_span!("task", what)));
    }

    /// As `spawn`, for one who waits for it: it goes on when nobody does any more.
    pub(crate) async fn to_the_end<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.0.spawn(work).await.map_err(|cause| Error::broken(what).because(cause))?
    }

    pub(crate) async fn finish(&self) {
        self.0.close();
        if tokio::time::timeout(PATIENCE, self.0.wait()).await.is_err() {
            tracing::warn!(left = self.0.len(), "stopped before all background work had ended");
        }
        self.0.reopen();
    }
}
