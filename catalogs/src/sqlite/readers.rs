//! The reading connections: a small pool; each query runs on a blocking thread.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use model::{Error, Result};
use rusqlite::Connection;
use tokio::sync::Semaphore;

pub(super) struct Readers {
    /// Protects the list of idle connections; held for a push or a pop.
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn open(file: &Path, count: usize) -> Result<Self> {
        let idle = (0..count).map(|_| super::connect(file, true)).collect::<Result<Vec<_>>>()?;
        Ok(Self { permits: Arc::new(Semaphore::new(idle.len())), idle: Arc::new(Mutex::new(idle)) })
    }

    pub(super) async fn run<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let gone = || Error::broken("the catalog is closed");
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| gone())?;
        let idle = Arc::clone(&self.idle);
        let answer = tokio::task::spawn_blocking(move || {
            let connection = idle.lock().unwrap_or_else(PoisonError::into_inner).pop().ok_or_else(gone)?;
            let answer = query(&connection);
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            drop(permit);
            answer
        });
        answer.await.map_err(|cause| Error::broken("a catalog query ended early").because(cause))?
    }
}
