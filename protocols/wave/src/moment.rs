//! Moments and durations as Wave's clients read them.

use std::time::Duration;

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

/// A moment as ISO 8601 in UTC with milliseconds: `2026-01-02T12:00:00.000Z`. Moments before 1970 are 1970.
#[must_use]
pub fn instant(at: Time) -> String {
    let millis = u64::try_from(at.0).unwrap_or(0) / 1000;
    let (days, in_day) = (millis / 86_400_000, millis % 86_400_000);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (in_day / 3_600_000, in_day / 60_000 % 60, in_day / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", in_day % 1000)
}

/// The date of a day since 1970, in the Gregorian calendar. Years begin in March here, so that the leap day is the
/// last one of its year, and months have a regular pattern of 153 days in five.
const fn date(days: u64) -> (u64, u64, u64) {
    // Days from 0000-03-01 to 1970-01-01; an era is 400 years.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = (era * 400 + year, if month < 10 { month + 3 } else { month - 9 });
    (if month <= 2 { year + 1 } else { year }, month, day)
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
