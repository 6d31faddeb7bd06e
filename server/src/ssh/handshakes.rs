//! Connections that nobody has proved himself on yet: a bounded number at once, the rest in a queue.
//!
//! OpenSSH's `MaxStartups` drops connections at random once ten are under way, and a build farm that starts in one
//! second loses some of its builders. Here they wait for their turn. So that those who never finish do not hold up
//! the others, the one that takes longest gives up its place when somebody waits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// Places. A handshake costs about two milliseconds of a processor and 100 KiB.
const PLACES: usize = 64;
/// How long a place is safe while others wait: ten round trips on the worst line that people work over.
const SAFE: Duration = Duration::from_secs(3);

/// The places of one listener.
#[derive(Debug)]
pub(super) struct Handshakes {
    places: Arc<Semaphore>,
    /// How long a place is safe.
    safe: Duration,
    /// Who has a place, by their number, and so from the oldest on. Held for a few instructions only.
    taken: Mutex<BTreeMap<u64, (Instant, CancellationToken)>>,
    number: std::sync::atomic::AtomicU64,
}

/// A place. Dropping it lets the next one in.
#[derive(Debug)]
pub(super) struct Place {
    handshakes: Arc<Handshakes>,
    number: u64,
    _permit: OwnedSemaphorePermit,
    /// Cancelled when somebody who waits gets this place.
    pub(super) lost: CancellationToken,
}

impl Handshakes {
    pub(super) fn new() -> Arc<Self> {
        Self::with(PLACES, SAFE)
    }

    fn with(places: usize, safe: Duration) -> Arc<Self> {
        Arc::new(Self {
            places: Arc::new(Semaphore::new(places)),
            safe,
            taken: Mutex::default(),
            number: std::sync::atomic::AtomicU64::new(0),
        })
    }

    fn taken<T>(&self, work: impl FnOnce(&mut BTreeMap<u64, (Instant, CancellationToken)>) -> T) -> T {
        work(&mut self.taken.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for a place; `None` never happens while the listener is there.
    pub(super) async fn enter(self: &Arc<Self>) -> Option<Place> {
        let mut waiting = std::pin::pin!(Arc::clone(&self.places).acquire_owned());
        let permit = loop {
            // The semaphore is fair: the one that waits longest is next.
            let turn = self.displace();
            match timeout(turn, waiting.as_mut()).await {
                Ok(permit) => break permit.ok()?,
                Err(_) => continue,
            }
        };
        let number = self.number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let lost = CancellationToken::new();
        self.taken(|taken| taken.insert(number, (Instant::now(), lost.clone())));
        Some(Place { handshakes: Arc::clone(self), number, _permit: permit, lost })
    }

    /// Takes the place of the one that has it longest, if it is not safe any more and all are taken. Returns how long
    /// to wait before the next try.
    fn displace(&self) -> Duration {
        if self.places.available_permits() > 0 {
            return self.safe;
        }
        self.taken(|taken| {
            let oldest = taken.iter().find(|(_, (_, lost))| !lost.is_cancelled());
            let Some((begun, lost)) = oldest.map(|(_, found)| found) else { return self.safe };
            let age = begun.elapsed();
            if age >= self.safe {
                lost.cancel();
                self.safe
            } else {
                self.safe - age
            }
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.handshakes.taken(|taken| taken.remove(&self.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn those_who_wait_get_the_place_of_the_slowest() {
        let handshakes = Handshakes::with(2, Duration::from_millis(300));
        let first = handshakes.enter().await.expect("a place");
        let second = handshakes.enter().await.expect("a place");
        let mut third = std::pin::pin!(handshakes.enter());
        assert!(futures::poll!(third.as_mut()).is_pending());
        assert!(!first.lost.is_cancelled(), "it is still safe");
        tokio::select! {
            _ = third.as_mut() => panic!("there is no place yet"),
            () = first.lost.cancelled() => {}
        }
        assert!(!second.lost.is_cancelled(), "one place is enough");
        drop(first);
        let third = third.await.expect("a place");
        assert!(!third.lost.is_cancelled());
    }

    #[tokio::test]
    async fn nobody_loses_a_place_that_nobody_wants() {
        let handshakes = Handshakes::with(2, Duration::ZERO);
        let first = handshakes.enter().await.expect("a place");
        let _second = handshakes.enter().await.expect("a place");
        assert!(!first.lost.is_cancelled());
        let mut third = std::pin::pin!(handshakes.enter());
        assert!(futures::poll!(third.as_mut()).is_pending());
        assert!(first.lost.is_cancelled());
    }
}
