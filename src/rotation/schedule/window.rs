//! Windows: `Sun 02:00-04:00 UTC`, `Mon-Fri,Sun 23:00-01:00 Europe/Berlin`, several with `;` between.

use std::str::FromStr;

use jiff::{
    Timestamp,
    civil::{Date, Weekday},
    tz::TimeZone,
};

/// Times of the week, in time zones with their own summer times.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    spans: Vec<Span>,
}

/// One part of a window.
#[derive(Debug, Clone, PartialEq)]
struct Span {
    days: Days,
    /// Minutes since midnight.
    from: u16,
    /// Minutes since the same midnight; above a day where it ends on the next.
    to: u16,
    zone: TimeZone,
}

/// Days of the week, a bit each, Monday first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Days(u8);

/// One time that a window is open, Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Occurrence {
    /// From.
    pub from: u64,
    /// To, exclusive.
    pub to: u64,
}

/// What is wrong with a window as it was written. `Display` says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// No such day.
    #[error(
        "`{0}` is no day: write `Mon`, `Tue`, `Wed`, `Thu`, `Fri`, `Sat` or `Sun`, a range `Mon-Fri` or a list `Sun,Wed`"
    )]
    Day(String),
    /// No such times.
    #[error("`{0}` is no span of time: write begin and end as `02:00-04:00`, 24 hours, with two digits each")]
    Times(String),
    /// Nothing in it.
    #[error("`{0}` has no length: a whole day is `00:00-24:00`")]
    Empty(String),
    /// No such zone.
    #[error("`{0}` is no time zone: write `UTC` or a name such as `Europe/Berlin` (of the IANA database)")]
    Zone(String),
    /// Other words.
    #[error("`{0}` is no window: write days, times and a time zone, such as `Sun 02:00-04:00 UTC`")]
    Shape(String),
}

const DAY: u16 = 24 * 60;

impl FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        Ok(Self { spans: text.split(';').map(span).collect::<Result<_, _>>()? })
    }
}

impl Window {
    /// The length of the longest part, seconds. A part that a clock change stretches counts an hour or two more.
    #[must_use]
    pub fn longest(&self) -> u64 {
        let minutes = self.spans.iter().map(|span| u64::from(span.to - span.from)).max().unwrap_or(0);
        (minutes + 120) * 60
    }

    /// The times in the eight days after `after` that are not over then, in order.
    #[must_use]
    pub fn occurrences(&self, after: u64) -> Vec<Occurrence> {
        let mut found: Vec<Occurrence> = self.spans.iter().flat_map(|span| span.occurrences(after)).collect();
        found.sort_unstable();
        found
    }

    /// Whether it is open at a moment.
    #[must_use]
    pub fn is_open(&self, at: u64) -> bool {
        self.occurrences(at).first().is_some_and(|occurrence| occurrence.from <= at)
    }
}

impl Span {
    fn occurrences(&self, after: u64) -> Vec<Occurrence> {
        let moment = i64::try_from(after).ok().and_then(|after| Timestamp::from_second(after).ok());
        let Some(moment) = moment else { return Vec::new() };
        // What began yesterday may not be over.
        let mut day = self.zone.to_datetime(moment).date().yesterday().ok();
        let mut found = Vec::new();
        for _ in 0..10 {
            let Some(date) = day else { break };
            day = date.tomorrow().ok();
            if self.days.contains(date.weekday())
                && let Some(occurrence) = self.on(date)
                && occurrence.to > after
            {
                found.push(occurrence);
            }
        }
        found
    }

    /// As it is on one day. A time that a clock change leaves out lies later by as much; of one that comes twice the first is
    /// meant.
    fn on(&self, date: Date) -> Option<Occurrence> {
        let at = |minutes: u16| {
            let date = if minutes >= DAY { date.tomorrow().ok()? } else { date };
            let (hour, minute) = (minutes % DAY / 60, minutes % 60);
            let local = date.at(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, 0, 0);
            u64::try_from(self.zone.to_timestamp(local).ok()?.as_second()).ok()
        };
        let occurrence = Occurrence { from: at(self.from)?, to: at(self.to)? };
        (occurrence.from < occurrence.to).then_some(occurrence)
    }
}

impl Days {
    const ALL: Self = Self(0b111_1111);

    fn contains(self, day: Weekday) -> bool {
        self.0 & (1 << day.to_monday_zero_offset()) != 0
    }
}

/// What is quoted of a text: its beginning, with nothing that a terminal would act on.
fn shown(text: &str) -> String {
    text.chars().take(40).flat_map(char::escape_debug).collect()
}

fn span(text: &str) -> Result<Span, WindowError> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let is_times = |word: &str| word.starts_with(|c: char| c.is_ascii_digit());
    let (days_word, times_word, zone_word) = match words[..] {
        [times] => (None, times, None),
        [times, zone] if is_times(times) => (None, times, Some(zone)),
        [days, times] => (Some(days), times, None),
        [days, times, zone] => (Some(days), times, Some(zone)),
        _ => return Err(WindowError::Shape(shown(text.trim()))),
    };
    let (from, to) = times(times_word)?;
    Ok(Span {
        days: days_word.map_or(Ok(Days::ALL), days)?,
        from,
        to,
        zone: zone_word.map_or(Ok(TimeZone::UTC), zone)?,
    })
}

fn days(text: &str) -> Result<Days, WindowError> {
    let mut days = 0;
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut at, last) = (day(first)?, day(last)?);
        days |= 1 << at;
        while at != last {
            at = (at + 1) % 7;
            days |= 1 << at;
        }
    }
    Ok(Days(days))
}

/// Days since Monday. Also the whole name, in any case.
fn day(text: &str) -> Result<u8, WindowError> {
    const NAMES: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    let lower = text.to_ascii_lowercase();
    let known = |name: &&str| **name == lower || name.get(..3) == Some(&lower);
    let found = NAMES.iter().position(known).and_then(|at| u8::try_from(at).ok());
    found.ok_or_else(|| WindowError::Day(shown(text)))
}

fn times(text: &str) -> Result<(u16, u16), WindowError> {
    let wrong = || WindowError::Times(shown(text));
    let (from, to) = text.split_once('-').ok_or_else(wrong)?;
    let (from, to) = (minutes(from).ok_or_else(wrong)?, minutes(to).ok_or_else(wrong)?);
    if from == to || from == DAY {
        return Err(WindowError::Empty(shown(text)));
    }
    Ok((from, if to < from { to + DAY } else { to }))
}

fn minutes(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let two = |digits: &str| {
        let digits = Some(digits).filter(|digits| digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit()))?;
        digits.parse::<u16>().ok()
    };
    let (hour, minute) = (two(hour)?, two(minute)?);
    (hour < 24 && minute < 60 || (hour, minute) == (24, 0)).then_some(hour * 60 + minute)
}

fn zone(text: &str) -> Result<TimeZone, WindowError> {
    if text.eq_ignore_ascii_case("utc") || text == "Z" {
        return Ok(TimeZone::UTC);
    }
    TimeZone::get(text).map_err(|_unknown| WindowError::Zone(shown(text)))
}
