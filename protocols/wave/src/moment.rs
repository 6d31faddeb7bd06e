//! Moments and durations as Wave's clients read them.

use std::time::Duration;

use jiff::Timestamp;
use model::Time;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// A duration that is written as a number of seconds with nine decimals, such as `123.914989000`. The command line
/// client takes a number with a dot for seconds, and one without for nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds(pub Duration);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = format!("{}.{:09}", self.0.as_secs(), self.0.subsec_nanos());
        let number = RawValue::from_string(text).map_err(serde::ser::Error::custom)?;
        number.serialize(serializer)
    }
}

/// A moment as ISO 8601 in UTC with milliseconds: `2026-01-02T12:00:00.000Z`. Moments before 1970 are 1970, and those
/// beyond the year 9999 its end.
#[must_use]
pub fn instant(at: Time) -> String {
    let at = Timestamp::from_microsecond(at.0.max(0)).unwrap_or(Timestamp::MAX);
    format!("{at:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_dot() {
        let text = |duration| serde_json::to_string(&Seconds(duration)).expect("a number");
        assert_eq!(text(Duration::from_secs(5)), "5.000000000");
        assert_eq!(text(Duration::from_nanos(123_914_989_000)), "123.914989000");
        assert_eq!(text(Duration::ZERO), "0.000000000");
    }

    #[test]
    fn moments_are_in_utc() {
        let text = |seconds: i64| instant(Time(seconds * 1_000_000));
        assert_eq!(text(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(1_767_355_200), "2026-01-02T12:00:00.000Z");
        assert_eq!(text(951_782_399), "2000-02-28T23:59:59.000Z");
        assert_eq!(text(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(text(4_107_542_400), "2100-03-01T00:00:00.000Z");
        assert_eq!(text(1_735_603_200), "2024-12-31T00:00:00.000Z");
        assert_eq!(instant(Time(1_999_999)), "1970-01-01T00:00:01.999Z");
        assert_eq!(instant(Time(-5)), "1970-01-01T00:00:00.000Z");
    }
}
