//! How long an upstream may take: bounds for each step, and a least rate, so that nothing hangs and nothing drips.

use std::time::Duration;

use model::{Error, Result};
use serde::{Deserialize, Serialize};

/// Bounds in time. Registries answer within a second or two; the defaults are for bad days.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pace {
    /// Seconds for looking up, connecting and the TLS handshake.
    pub connect_seconds: f64,
    /// Seconds from a request to the head of its answer.
    pub head_seconds: f64,
    /// Seconds between two pieces of a body.
    pub read_seconds: f64,
    /// Seconds for a whole manifest, token or other document.
    pub document_seconds: f64,
    /// Seconds that all attempts at one question share.
    pub patience_seconds: f64,
    /// Least bytes in a second, over `rate_seconds` of waiting.
    pub rate: u64,
    /// Over how many seconds of waiting the rate is looked at.
    pub rate_seconds: f64,
    /// Seconds for which it is not asked again where a tag points.
    pub tag_seconds: f64,
    /// Seconds for which it is believed that something is not there.
    pub absent_seconds: f64,
    /// Seconds for which an upstream that failed is left alone with the same question.
    pub failed_seconds: f64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            connect_seconds: 10.0,
            head_seconds: 30.0,
            read_seconds: 30.0,
            document_seconds: 60.0,
            patience_seconds: 8.0,
            rate: 1024,
            rate_seconds: 60.0,
            // Registries count such questions less than pulls or not at all, and a minute is what people wait for.
            tag_seconds: 60.0,
            absent_seconds: 30.0,
            failed_seconds: 15.0,
        }
    }
}

fn time(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs(1))
}

impl Pace {
    /// Refuses times that are none.
    ///
    /// # Errors
    /// `Malformed` for negative, endless or huge times.
    pub(crate) fn check(&self) -> Result<()> {
        let times = [
            self.connect_seconds,
            self.head_seconds,
            self.read_seconds,
            self.document_seconds,
            self.patience_seconds,
            self.rate_seconds,
            self.tag_seconds,
            self.absent_seconds,
            self.failed_seconds,
        ];
        // A day is longer than anybody waits.
        if times.iter().any(|time| !(0.001..=86_400.0).contains(time)) {
            return Err(Error::malformed("times of upstreams are between 0.001 and 86400 seconds"));
        }
        Ok(())
    }

    /// How long it is believed that something is not there.
    #[must_use]
    pub fn absent(&self) -> Duration {
        time(self.absent_seconds)
    }

    /// How long an upstream that failed is left alone with the same question.
    #[must_use]
    pub fn failed(&self) -> Duration {
        time(self.failed_seconds)
    }

    pub(crate) fn tag(&self) -> Duration {
        time(self.tag_seconds)
    }

    pub(crate) fn connect(&self) -> Duration {
        time(self.connect_seconds)
    }

    pub(crate) fn head(&self) -> Duration {
        time(self.head_seconds)
    }

    pub(crate) fn read(&self) -> Duration {
        time(self.read_seconds)
    }

    pub(crate) fn document(&self) -> Duration {
        time(self.document_seconds)
    }

    pub(crate) fn patience(&self) -> Duration {
        time(self.patience_seconds)
    }

    /// Measures a body.
    pub(crate) fn meter(&self) -> Meter {
        Meter { window: time(self.rate_seconds), rate: self.rate, waited: Duration::ZERO, bytes: 0 }
    }
}

/// Whether a body comes fast enough. Only the time that we wait for the upstream counts, not that in which nobody
/// wants the next piece.
#[derive(Debug)]
pub(crate) struct Meter {
    window: Duration,
    rate: u64,
    waited: Duration,
    bytes: u64,
}

impl Meter {
    /// Notes that these bytes came after this wait; false when they drip.
    pub(crate) fn came(&mut self, waited: Duration, bytes: usize) -> bool {
        self.waited += waited;
        self.bytes += bytes as u64;
        if self.waited < self.window {
            return true;
        }
        let enough = self.bytes as f64 >= self.rate as f64 * self.waited.as_secs_f64();
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_drips_is_noticed_and_what_flows_is_not() {
        let second = Duration::from_secs(1);
        let mut meter = Pace::default().meter();
        assert!((0..59).all(|_| meter.came(second, 1)));
        assert!(!meter.came(second, 1));
        assert!((0..600).all(|_| meter.came(second, 2000)));
        assert!(Pace { head_seconds: f64::NAN, ..Pace::default() }.check().is_err());
        assert!(Pace::default().check().is_ok());
    }
}
