//! The wall clock stamps rows, and it can jump. After a jump nothing is as idle as it looks.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::Time;

pub(crate) struct Clock {
    began: (Instant, Time),
    /// How far the wall clock has gone ahead of the monotonic one, in microseconds, and when it last jumped.
    seen: Mutex<(i64, Option<Instant>)>,
}

impl Default for Clock {
    fn default() -> Self {
        Self { began: (Instant::now(), Time::now()), seen: Mutex::default() }
    }
}

impl Clock {
    /// True when the wall clock jumped by more than `grace` less than `grace` ago. Without a grace the order of
    /// stamps is all that counts, and nothing is to be waited for.
    pub(crate) fn jumped(&self, grace: Duration) -> bool {
        self.jumped_at(grace, Instant::now(), Time::now())
    }

    fn jumped_at(&self, grace: Duration, now: Instant, wall: Time) -> bool {
        if grace.is_zero() {
            return false;
        }
        let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let drift = (wall.0 - self.began.1.0).saturating_sub(micros(now - self.began.0));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if drift.saturating_sub(seen.0).unsigned_abs() > micros(grace).unsigned_abs() {
            *seen = (drift, Some(now));
        }
        seen.1.is_some_and(|at| now - at < grace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_jump_nothing_is_idle_until_the_grace_has_passed() {
        let clock = Clock::default();
        let (began, wall) = clock.began;
        let hour = Duration::from_secs(3600);
        let after = |time: Duration, ahead: Duration| (began + time, wall.plus(time + ahead));
        let ask = |(now, wall)| clock.jumped_at(hour, now, wall);
        assert!(!ask(after(hour, Duration::ZERO)));
        assert!(ask(after(hour, 2 * hour)), "two hours ahead at once");
        assert!(ask(after(hour + hour / 2, 2 * hour)), "half an hour later");
        assert!(!ask(after(2 * hour, 2 * hour)), "an hour later");
        assert!(!clock.jumped_at(Duration::ZERO, began, wall.plus(hour)));
    }
}
