//! A value that is fetched by one, however many want it, and kept for a time.

use std::sync::{Arc, Mutex, PoisonError};

use model::Result;
use tokio::sync::OnceCell;
use tokio::time::Instant;

type Cell<T> = Arc<OnceCell<(T, Instant)>>;

/// The lock protects which cell is the current one; nobody waits while holding it.
#[derive(Debug)]
pub(crate) struct Kept<T>(Mutex<Cell<T>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone + PartialEq> Kept<T> {
    /// The value, fetched where there is none or where it has ended. An error is told to all who wait, and not kept.
    pub(crate) async fn get(&self, fetch: impl Future<Output = Result<(T, Instant)>>) -> Result<T> {
        let cell = {
            let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if current.get().is_some_and(|(_, until)| *until <= Instant::now()) {
                *current = Cell::default();
            }
            current.clone()
        };
        cell.get_or_try_init(|| fetch).await.map(|(value, _)| value.clone())
    }

    /// Forgets a value, unless somebody has replaced it already.
    pub(crate) fn forget(&self, is: impl FnOnce(&T) -> bool) {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if current.get().is_some_and(|(value, _)| is(value)) {
            *current = Cell::default();
        }
    }
}
