//! Quantities as people write them: `30s`, `64KiB`, `2027-01-01T00:00:00Z`, a digest in hex.
//!
//! Each is a [`Syntax`](super::text::Syntax) of its own. No arithmetic here can overflow, whatever is written.

use std::time::Duration;

use super::text::{Complaint, Syntax};
use crate::digest::unhex;

/// A time that passes, above zero.
pub(crate) struct Span(pub(crate) Duration);

impl Syntax for Span {
    const FORMAT: &'static str = "span";
    const EXPECTED: &'static str = "a duration above zero, such as `250ms`, `30s`, `5m`, `1h` or `30d`";

    fn parse(text: &str) -> Result<Self, Complaint> {
        match duration(text)? {
            Duration::ZERO => Err(Complaint::default()),
            duration => Ok(Self(duration)),
        }
    }
}

/// A time that passes, or none at all.
pub(crate) struct Pause(pub(crate) Duration);

impl Syntax for Pause {
    const FORMAT: &'static str = "pause";
    const EXPECTED: &'static str = "a duration such as `0s`, `250ms`, `30s`, `5m` or `1h`";

    fn parse(text: &str) -> Result<Self, Complaint> {
        duration(text).map(Self)
    }
}

fn duration(text: &str) -> Result<Duration, Complaint> {
    // Far above any use, far below where adding it to a clock could overflow.
    const LONGEST: Duration = Duration::from_secs(365 * 86_400);
    let (count, unit) = count_and_unit(text)?;
    let unit = match unit {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        "h" => Duration::from_secs(3_600),
        "d" => Duration::from_secs(86_400),
        _ => return Err(Complaint::hint("units are `ms`, `s`, `m`, `h` and `d`")),
    };
    u32::try_from(count)
        .ok()
        .and_then(|count| unit.checked_mul(count))
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(|| Complaint::hint("at most 365d"))
}

/// A number of bytes.
pub(crate) struct Size(pub(crate) u64);

impl Syntax for Size {
    const FORMAT: &'static str = "size";
    const EXPECTED: &'static str = "a size such as `64KiB`, `10MiB`, `1GiB` or a number of bytes";
    const OR_NUMBER: bool = true;

    fn parse(text: &str) -> Result<Self, Complaint> {
        let (count, unit) = count_and_unit(text)?;
        let shift = match unit {
            "" | "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            _ => return Err(Complaint::hint("units are `KiB`, `MiB` and `GiB`")),
        };
        count
            .checked_mul(1 << shift)
            .filter(|bytes| *bytes <= i64::MAX as u64)
            .map(Self)
            .ok_or_else(|| Complaint::hint("that is more than any machine holds"))
    }
}

fn count_and_unit(text: &str) -> Result<(u64, &str), Complaint> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (count, unit) = text.split_at(digits);
    match count.parse() {
        Ok(count) => Ok((count, unit)),
        Err(_) => Err(Complaint::hint("write a whole number and a unit, with nothing between")),
    }
}

/// A moment, in Unix seconds.
pub(crate) struct Timestamp(pub(crate) u64);

impl Syntax for Timestamp {
    const FORMAT: &'static str = "date-time";
    const EXPECTED: &'static str = "a time such as `2027-01-01T00:00:00Z`";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let hint = || Complaint::hint("RFC 3339: date, `T`, time with seconds, and `Z` or an offset such as `+02:00`");
        moment(text).map(Self).ok_or_else(hint)
    }
}

/// RFC 3339, 5.6; `None` also for what is before 1970.
fn moment(text: &str) -> Option<u64> {
    let (date, rest) = (text.get(..10)?, text.get(10..)?);
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (time, rest) = (rest.get(..8)?, rest.get(8..)?);
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => rest,
    };

    let [year, month, day] = fields(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = fields(time, ':', [2, 2, 2])?;
    let real = (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day);
    // 60: a leap second.
    if !real || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let local = days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    u64::try_from(local - offset(zone)?).ok()
}

/// Numbers of fixed width with a separator between.
fn fields(text: &str, separator: char, widths: [usize; 3]) -> Option<[i64; 3]> {
    let mut parts = text.split(separator);
    let mut next = |width: usize| {
        let part = parts.next().filter(|part| part.len() == width && part.bytes().all(|byte| byte.is_ascii_digit()))?;
        part.parse().ok()
    };
    let [first, second, third] = widths;
    let fields = [next(first)?, next(second)?, next(third)?];
    parts.next().is_none().then_some(fields)
}

/// Seconds that a zone is ahead of UTC.
fn offset(zone: &str) -> Option<i64> {
    if matches!(zone, "Z" | "z") {
        return Some(0);
    }
    let sign = match zone.get(..1)? {
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    let [hours, minutes, _] = fields(&format!("{}:00", zone.get(1..)?), ':', [2, 2, 2])?;
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3_600 + minutes * 60))
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days of the proleptic Gregorian calendar, counted from March so that the leap day comes last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

/// So many in a time, at most a million in a second.
pub(crate) struct Frequency {
    pub(crate) count: u64,
    pub(crate) seconds: u64,
}

impl Syntax for Frequency {
    const FORMAT: &'static str = "frequency";
    const EXPECTED: &'static str = "a number of requests in a time, such as `100/s`, `30/m` or `5/h`";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let (count, seconds) = per(text, &[("s", 1), ("m", 60), ("h", 3_600)])?;
        if count > seconds * 1_000_000 {
            return Err(Complaint::hint("at most a million in a second"));
        }
        Ok(Self { count, seconds })
    }
}

/// So many in a day.
pub(crate) struct Daily(pub(crate) u64);

impl Syntax for Daily {
    const FORMAT: &'static str = "daily";
    const EXPECTED: &'static str = "a number of requests in a day, such as `100000/d`";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let (count, _) = per(text, &[("d", 86_400)])?;
        if count >= 1 << 40 { Err(Complaint::hint("that is more than any process answers")) } else { Ok(Self(count)) }
    }
}

fn per(text: &str, units: &[(&str, u64)]) -> Result<(u64, u64), Complaint> {
    let (count, unit) = text.split_once('/').ok_or_else(Complaint::default)?;
    let seconds = units.iter().find(|(name, _)| *name == unit).map(|(_, seconds)| *seconds);
    let plain = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
    let count: Option<u64> = count.parse().ok().filter(|count| plain && *count > 0);
    count
        .zip(seconds)
        .ok_or_else(|| Complaint::hint("write a whole number above zero, `/` and a unit, with nothing between"))
}

/// SHA-256 in hex.
pub(crate) struct Digest(pub(crate) [u8; 32]);

impl Syntax for Digest {
    const FORMAT: &'static str = "sha256";
    const EXPECTED: &'static str = "a SHA-256 digest of 64 hex digits";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let digest = unhex(text).ok_or_else(|| Complaint::hint("`scoregate keygen` prints a key and its digest"))?;
        Ok(Self(digest))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("250ms").unwrap(), Duration::from_millis(250));
        assert_eq!(duration("30d").unwrap(), Duration::from_secs(30 * 86_400));
        for wrong in
            ["", "30", "s", "-1s", "1.5s", "1 s", "1w", "366d", "99999999999999999999s", "18446744073709551615d"]
        {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert!(Span::parse("0s").is_err());
        assert!(Pause::parse("0s").is_ok());
    }

    #[test]
    fn sizes() {
        let bytes = |text| Size::parse(text).map(|size| size.0);
        assert_eq!(bytes("64KiB").unwrap(), 65_536);
        assert_eq!(bytes("1024").unwrap(), 1_024);
        for wrong in ["", "KiB", "64KB", "64k", "-1", "1.5MiB", "18446744073709551615GiB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn moments() {
        assert_eq!(moment("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(moment("2027-01-01T00:00:00Z"), Some(1_798_761_600));
        assert_eq!(moment("2027-01-01T02:00:00.5+02:00"), Some(1_798_761_600));
        assert_eq!(moment("2024-02-29T23:59:60Z"), Some(1_709_251_200));
        for wrong in [
            "",
            "2027-01-01",
            "2027-01-01T00:00:00",
            "2027-13-01T00:00:00Z",
            "2027-02-29T00:00:00Z",
            "2027-01-01T24:00:00Z",
            "1969-12-31T23:59:59Z",
            "2027-01-01T00:00:00+2:00",
            "2027-01-01T00:00:00é",
            "+027-01-01T00:00:00Z",
        ] {
            assert_eq!(moment(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn frequencies() {
        let read = |text| Frequency::parse(text).map(|it| (it.count, it.seconds));
        assert_eq!(read("100/s").unwrap(), (100, 1));
        assert_eq!(read("1000000/s").unwrap(), (1_000_000, 1));
        assert_eq!(read("5/h").unwrap(), (5, 3_600));
        assert_eq!(Daily::parse("100000/d").map(|daily| daily.0).unwrap(), 100_000);
        for wrong in ["", "100", "0/s", "1.5/s", "+1/s", "1/d", "1000001/s", "1 /s", "/s", "99999999999999999999/s"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        for wrong in ["1/s", "0/d", "1099511627776/d"] {
            assert!(Daily::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn digests() {
        assert_eq!(Digest::parse(&"aF".repeat(32)).map(|digest| digest.0).unwrap(), [0xaf; 32]);
        for wrong in ["", "af", &"g0".repeat(32), &"é".repeat(32)] {
            assert!(Digest::parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_is_read(count in 0_u32..365, bytes in 0_u64..(1 << 33)) {
            for (unit, seconds) in [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)] {
                prop_assert_eq!(duration(&format!("{count}{unit}")).unwrap().as_secs(), u64::from(count) * seconds);
            }
            for (unit, shift) in [("", 0), ("KiB", 10), ("MiB", 20), ("GiB", 30)] {
                prop_assert_eq!(Size::parse(&format!("{bytes}{unit}")).unwrap().0, bytes << shift);
            }
        }

        #[test]
        fn every_day_follows_the_one_before(day in 0_i64..100_000) {
            // Walks the calendar by the lengths of its months and compares.
            let (mut year, mut month, mut rest) = (1970, 1, day);
            while rest >= days_of(year, month) {
                rest -= days_of(year, month);
                (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
            }
            prop_assert_eq!(days_since_1970(year, month, rest + 1), day);
        }

        #[test]
        fn no_text_makes_them_panic(text in "\\PC{0,40}") {
            let _ = (Span::parse(&text), Size::parse(&text), Timestamp::parse(&text), Digest::parse(&text));
        }
    }
}
