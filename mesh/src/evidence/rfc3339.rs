//! The one form of RFC 3339 time that instance documents use: `2026-03-01T12:00:00Z`, in UTC, to the second.
//!
//! Fractions, offsets, lower-case letters and leap seconds are refused rather than guessed. Years 1970 to 9999.

use keymesh_wire::time::Wall;

const MS_PER_DAY: u64 = 86_400_000;

/// The moment a text names, or nothing if it is not exactly `YYYY-MM-DDThh:mm:ssZ` with a real date and time.
pub fn parse(text: &str) -> Option<Wall> {
    let bytes: &[u8; 20] = text.as_bytes().try_into().ok()?;
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'Z')];
    if separators.iter().any(|(at, byte)| bytes[*at] != *byte) {
        return None;
    }
    let number = |from: usize, to: usize| {
        bytes[from..to]
            .iter()
            .try_fold(0u64, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u64::from(byte - b'0')))
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let real = year >= 1970 && (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    if !real || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days_before_year(year) + (1..month).map(|month| days_in(year, month)).sum::<u64>() + day - 1;
    Some(Wall(days * MS_PER_DAY + ((hour * 60 + minute) * 60 + second) * 1000))
}

/// The text of a moment, milliseconds cut off; moments past the year 9999 are shown as its last second.
pub fn format(moment: Wall) -> String {
    let last = days_before_year(10_000) * MS_PER_DAY - 1;
    let moment = moment.0.min(last);
    let (days, seconds) = (moment / MS_PER_DAY, moment % MS_PER_DAY / 1000);
    // The first guess is at most one year too late: no year is shorter than 365 days.
    let mut year = 1970 + days / 365;
    while days_before_year(year) > days {
        year -= 1;
    }
    let mut day = days - days_before_year(year);
    let mut month = 1;
    while day >= days_in(year, month) {
        day -= days_in(year, month);
        month += 1;
    }
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", day + 1)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_in(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to the first day of `year`, by the Gregorian rule.
fn days_before_year(year: u64) -> u64 {
    let leaps = |year: u64| year / 4 - year / 100 + year / 400;
    (year - 1970) * 365 + leaps(year - 1) - leaps(1969)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments_read_as_their_unix_time() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:34:56Z", 951_827_696),
            ("2021-09-03T21:25:44Z", 1_630_704_344),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
        ] {
            assert_eq!(parse(text), Some(Wall(seconds * 1000)), "{text}");
            assert_eq!(format(Wall(seconds * 1000 + 999)), text);
        }
        assert_eq!(format(Wall(u64::MAX)), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn every_other_form_is_refused() {
        for text in [
            "",
            "2021-09-03T21:25:44",
            "2021-09-03t21:25:44Z",
            "2021-09-03 21:25:44Z",
            "2021-09-03T21:25:44.5Z",
            "2021-09-03T21:25:44+00:00",
            "2021-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2021-13-01T00:00:00Z",
            "2021-00-01T00:00:00Z",
            "2021-01-00T00:00:00Z",
            "2021-09-03T24:00:00Z",
            "2021-09-03T21:60:00Z",
            "2016-12-31T23:59:60Z",
            "1969-12-31T23:59:59Z",
            "+021-09-03T21:25:44Z",
            "２021-09-03T21:25Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_formatted_reads_back(seconds in 0u64..253_402_300_800) {
            proptest::prop_assert_eq!(parse(&format(Wall(seconds * 1000))), Some(Wall(seconds * 1000)));
        }
    }
}
