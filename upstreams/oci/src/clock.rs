//! Dates as token endpoints write them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds of a day.
const DAY: i64 = 86_400;

/// The days from 1970-01-01 to a date of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Counted from March, so that the leap day is a year's last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leaps + (month * 153 + 2) / 5 + day - 1 - 719_468
}

/// A moment as RFC 3339 writes it, in whole seconds. `None` for anything else, and for years before 1970.
pub(crate) fn rfc3339(text: &str) -> Option<SystemTime> {
    let number = |from: usize, to: usize| -> Option<i64> {
        let part = text.get(from..to)?;
        part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())?
    };
    let mark = |at: usize, marks: &[u8]| text.as_bytes().get(at).is_some_and(|mark| marks.contains(mark));
    if !(mark(4, b"-") && mark(7, b"-") && mark(10, b"Tt ") && mark(13, b":") && mark(16, b":")) {
        return None;
    }
    let (month, day) = (number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let zone = text.get(19..)?.trim_start_matches(|found: char| found == '.' || found.is_ascii_digit());
    let offset = match zone.as_bytes() {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] if [h1, h2, m1, m2].iter().all(|digit| digit.is_ascii_digit()) => {
            let two = |high: &u8, low: &u8| i64::from(high - b'0') * 10 + i64::from(low - b'0');
            (two(h1, h2) * 60 + two(m1, m2)) * 60 * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    let seconds = days(number(0, 4)?, month, day) * DAY + hour * 3600 + minute * 60 + second - offset;
    UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?))
}

/// A moment as `YYYYMMDDTHHMMSSZ`, which AWS signs.
pub(crate) fn basic(at: SystemTime) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (of_day, mut day) = (seconds % 86_400, i64::try_from(seconds / 86_400).unwrap_or_default() + 719_468);
    let era = day.div_euclid(146_097);
    day -= era * 146_097;
    let year_of_era = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let date = of_year - (153 * from_march + 2) / 5 + 1;
    format!("{year:04}{month:02}{date:02}T{:02}{:02}{:02}Z", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_are_read_as_they_are_written() {
        let seconds =
            |text: &str| rfc3339(text).and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map(|since| since.as_secs());
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(seconds("2009-11-10T23:00:00Z"), Some(1_257_894_000));
        assert_eq!(seconds("2024-02-29T12:00:00.123456789+02:00"), Some(1_709_200_800));
        for wrong in
            ["", "2009", "2009-13-10T23:00:00Z", "2009-11-10T23:00:00", "2009-11-10T23:00:00+1:00", "é009-11-10T"]
        {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
        assert_eq!(basic(UNIX_EPOCH + Duration::from_secs(1_440_938_160)), "20150830T123600Z");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(seconds in 0u64..253_402_300_799) {
            let at = UNIX_EPOCH + Duration::from_secs(seconds);
            let text = basic(at);
            let (date, time) = text.split_at(8);
            let long = format!("{}-{}-{}T{}:{}:{}Z", &date[..4], &date[4..6], &date[6..], &time[1..3], &time[3..5], &time[5..7]);
            prop_assert_eq!(rfc3339(&long), Some(at));
        }

        #[test]
        fn any_text_is_a_date_or_none(text: String) {
            let _ = rfc3339(&text);
        }
    }
}
