//! Times by the calendar, and what must hold at any of them.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use proptest::prelude::*;

use super::*;

const DAY: u64 = 86_400;

fn unix(text: &str) -> u64 {
    u64::try_from(text.parse::<Timestamp>().unwrap().as_second()).unwrap()
}

fn show(unix: u64) -> String {
    Timestamp::from_second(i64::try_from(unix).unwrap()).unwrap().to_string()
}

fn window(text: &str) -> Window {
    text.parse().unwrap()
}

fn weekly(every_days: u64, text: &str) -> Schedule {
    Schedule { every: Duration::from_secs(every_days * DAY), window: Some(window(text)) }
}

fn past(last: &str) -> Past {
    Past { last: unix(last), not_before: 0, owed: Owed::Nothing }
}

fn first(text: &str, after: &str) -> (String, String) {
    let occurrence = window(text).occurrences(unix(after))[0];
    (show(occurrence.from), show(occurrence.to))
}

#[test]
fn windows_as_people_write_them() {
    for (text, after, from, to) in [
        ("Sun 02:00-04:00 UTC", "2027-01-01T00:00:00Z", "2027-01-03T02:00:00Z", "2027-01-03T04:00:00Z"),
        ("sunday 02:00-04:00", "2027-01-03T03:59:59Z", "2027-01-03T02:00:00Z", "2027-01-03T04:00:00Z"),
        ("Sun 02:00-04:00 UTC", "2027-01-03T04:00:00Z", "2027-01-10T02:00:00Z", "2027-01-10T04:00:00Z"),
        ("Tue,Fri 02:00-04:00 UTC", "2027-01-03T00:00:00Z", "2027-01-05T02:00:00Z", "2027-01-05T04:00:00Z"),
        ("Fri-Mon 02:00-04:00 UTC", "2027-01-05T00:00:00Z", "2027-01-08T02:00:00Z", "2027-01-08T04:00:00Z"),
        ("02:00-04:00", "2027-01-05T12:00:00Z", "2027-01-06T02:00:00Z", "2027-01-06T04:00:00Z"),
        ("00:00-24:00 UTC", "2027-01-05T12:00:00Z", "2027-01-05T00:00:00Z", "2027-01-06T00:00:00Z"),
        ("Sat 23:00-01:00 UTC", "2027-01-03T00:30:00Z", "2027-01-02T23:00:00Z", "2027-01-03T01:00:00Z"),
        ("Mon 02:00-04:00 Asia/Tokyo", "2027-01-03T00:00:00Z", "2027-01-03T17:00:00Z", "2027-01-03T19:00:00Z"),
        ("Sat 01:00-02:00; Sun 05:00-06:00", "2027-01-02T12:00:00Z", "2027-01-03T05:00:00Z", "2027-01-03T06:00:00Z"),
    ] {
        assert_eq!(first(text, after), (from.to_owned(), to.to_owned()), "{text} after {after}");
    }
}

#[test]
fn summer_time_moves_a_window_and_never_loses_it() {
    // 02:00 does not exist on this night in Berlin, and is there twice on that one.
    for (after, from, to) in [
        ("2027-03-21T04:00:00Z", "2027-03-28T01:00:00Z", "2027-03-28T02:00:00Z"),
        ("2027-03-28T12:00:00Z", "2027-04-04T00:00:00Z", "2027-04-04T02:00:00Z"),
        ("2027-10-30T12:00:00Z", "2027-10-31T00:00:00Z", "2027-10-31T03:00:00Z"),
        ("2027-11-01T12:00:00Z", "2027-11-07T01:00:00Z", "2027-11-07T03:00:00Z"),
    ] {
        assert_eq!(first("Sun 02:00-04:00 Europe/Berlin", after), (from.to_owned(), to.to_owned()));
    }
    // A window that lies wholly in the hour that is left out comes an hour later.
    let (from, to) = first("Sun 02:15-02:45 Europe/Berlin", "2027-03-27T00:00:00Z");
    assert_eq!((from.as_str(), to.as_str()), ("2027-03-28T01:15:00Z", "2027-03-28T01:45:00Z"));
}

#[test]
fn what_is_no_window_says_what_to_write() {
    for (text, error) in [
        ("", "`` is no window: write days, times and a time zone, such as `Sun 02:00-04:00 UTC`"),
        ("Sun", "`Sun` is no span of time: write begin and end as `02:00-04:00`, 24 hours, with two digits each"),
        (
            "Son 02:00-04:00",
            "`Son` is no day: write `Mon`, `Tue`, `Wed`, `Thu`, `Fri`, `Sat` or `Sun`, a range `Mon-Fri` or a list `Sun,Wed`",
        ),
        (
            "Sun 2:00-4:00",
            "`2:00-4:00` is no span of time: write begin and end as `02:00-04:00`, 24 hours, with two digits each",
        ),
        (
            "Sun 02:00-25:00",
            "`02:00-25:00` is no span of time: write begin and end as `02:00-04:00`, 24 hours, with two digits each",
        ),
        ("Sun 02:00-02:00", "`02:00-02:00` has no length: a whole day is `00:00-24:00`"),
        (
            "Sun 02:00-04:00 Europe/Berln",
            "`Europe/Berln` is no time zone: write `UTC` or a name such as `Europe/Berlin` (of the IANA database)",
        ),
        (
            "Sun 02:00 - 04:00 UTC",
            "`Sun 02:00 - 04:00 UTC` is no window: write days, times and a time zone, such as `Sun 02:00-04:00 UTC`",
        ),
        ("Sun 02:00-04:00;", "`` is no window: write days, times and a time zone, such as `Sun 02:00-04:00 UTC`"),
    ] {
        assert_eq!(text.parse::<Window>().unwrap_err().to_string(), error, "{text}");
    }
}

#[test]
fn a_missed_window_is_made_up_in_the_next_once() {
    let schedule = weekly(30, "Sun 02:00-04:00 UTC");
    let last = past("2027-01-03T02:10:00Z");
    // Due on the 2nd of February; the first window after that is on the 7th.
    let next = |last: &Past, now: &str| {
        let attempt = schedule.next(last, unix(now), 0).unwrap();
        let until = attempt.until.unwrap();
        // A quarter of the window at most is jitter.
        assert!((until - 7_200..=until - 5_400).contains(&attempt.at));
        show(until)
    };
    assert_eq!(next(&last, "2027-01-04T00:00:00Z"), "2027-02-07T04:00:00Z");
    // The process was down in that one, and in those after it.
    assert_eq!(next(&last, "2027-03-01T00:00:00Z"), "2027-03-07T04:00:00Z");
    // It came up in the midst of one.
    let attempt = schedule.next(&last, unix("2027-03-07T03:30:00Z"), 0).unwrap();
    assert_eq!(show(attempt.at), "2027-03-07T03:30:00Z");
    // Once.
    assert_eq!(next(&past("2027-03-07T03:35:00Z"), "2027-03-07T03:36:00Z"), "2027-04-11T04:00:00Z");
}

#[test]
fn a_weekly_rotation_does_not_slip_out_of_its_window() {
    let schedule = weekly(7, "Sun 02:00-04:00 UTC");
    let mut last = past("2027-01-03T03:50:00Z");
    for week in 1..=20 {
        let attempt = schedule.next(&last, last.last + 60, 7).unwrap();
        let begin = unix("2027-01-03T02:00:00Z") + week * 7 * DAY;
        assert!((begin..begin + 2_400).contains(&attempt.at), "{}", show(attempt.at));
        // It takes a while.
        last.last = attempt.at + 600;
    }
}

#[test]
fn the_second_slot_comes_in_the_same_window_if_the_gap_allows_and_else_in_the_next() {
    let schedule = weekly(30, "Sun 02:00-04:00 UTC");
    let done = unix("2027-01-03T02:10:00Z");
    for (gap, at) in [(3_600, "2027-01-03T03:10:00Z"), (7_200, "2027-01-10T02:00:00Z")] {
        let owed = Past { last: done, not_before: done + gap, owed: Owed::Slot };
        assert_eq!(show(schedule.next(&owed, done + 1, 0).unwrap().at), at);
    }
}

#[test]
fn without_a_window_any_time_is_right() {
    let schedule = Schedule { every: Duration::from_secs(30 * DAY), window: None };
    let last = past("2027-01-03T02:10:00Z");
    let attempts: Vec<Attempt> = (0..50).filter_map(|seed| schedule.next(&last, last.last + 5, seed << 58)).collect();
    assert!(attempts.iter().all(|attempt| attempt.until.is_none()));
    assert!(attempts.iter().all(|attempt| (30 * DAY..=30 * DAY + 3_600).contains(&(attempt.at - last.last))));
    assert!(attempts.iter().any(|attempt| attempt.at != attempts[0].at), "not all services at once");
    let late = last.last + 90 * DAY;
    assert_eq!(schedule.next(&last, late, 0).unwrap().at, late);
}

fn any_window() -> impl Strategy<Value = String> {
    let days = prop::sample::subsequence(vec!["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun", "Fri-Mon"], 0..4);
    let zones =
        prop::sample::select(vec!["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Africa/Cairo"]);
    (days, 0_u16..24 * 60, 1_u16..24 * 60, zones).prop_map(|(days, from, length, zone)| {
        let to = (from + length) % (24 * 60);
        let days = if days.is_empty() { String::new() } else { format!("{} ", days.join(",")) };
        format!("{days}{:02}:{:02}-{:02}:{:02} {zone}", from / 60, from % 60, to / 60, to % 60)
    })
}

proptest! {
    #[test]
    fn an_attempt_lies_in_a_window_is_due_and_stays_the_same(
        text in any_window(),
        every in 1_u64..60,
        last in 1_700_000_000_u64..1_900_000_000,
        later in 0_u64..200 * DAY,
        gap in 0_u64..10 * DAY,
        seed: u64,
    ) {
        let schedule = Schedule { every: Duration::from_secs(every * DAY), window: Some(text.parse().unwrap()) };
        let window = schedule.window.clone().unwrap();
        let past = Past { last, not_before: last + gap, owed: Owed::Nothing };
        let now = last + later;
        let attempt = schedule.next(&past, now, seed).unwrap();
        prop_assert!(attempt.at >= now && attempt.at >= past.not_before);
        prop_assert!(window.is_open(attempt.at), "{} is outside of {text}", show(attempt.at));
        prop_assert!(attempt.until.unwrap() > attempt.at);
        prop_assert!(!window.is_open(attempt.until.unwrap()) || text.contains(','), "the window goes on");
        // Not sooner than `every`, less the length of a window.
        prop_assert!(attempt.at + window.longest() >= last + every * DAY);
        // Nor more than a week later than it could be: every week has a window.
        let could = now.max(past.not_before).max(last + every * DAY);
        prop_assert!(attempt.at <= could + 8 * DAY, "{} although due {}", show(attempt.at), show(could));
        // Asked again, it says the same until that moment comes.
        let between = now + (attempt.at - now) / 2;
        prop_assert_eq!(schedule.next(&past, between, seed).unwrap(), attempt);
    }

    #[test]
    fn occurrences_are_what_the_clock_on_the_wall_says(text in any_window(), at in 1_700_000_000_u64..1_900_000_000) {
        let window: Window = text.parse().unwrap();
        let (times, zone) = {
            let mut words = text.split_whitespace().rev();
            (words.next().unwrap(), words.next().unwrap())
        };
        let (zone, times) = (TimeZone::get(times).unwrap(), zone);
        for occurrence in window.occurrences(at) {
            prop_assert!(occurrence.to > at && occurrence.from < occurrence.to);
            let local: DateTime = zone.to_datetime(Timestamp::from_second(i64::try_from(occurrence.from).unwrap()).unwrap());
            let written = &times[..5];
            let shown = format!("{:02}:{:02}", local.hour(), local.minute());
            // Where the clock leaves a time out, it lies later by as much as is left out.
            let minutes = |text: &str| text[..2].parse::<i32>().unwrap() * 60 + text[3..].parse::<i32>().unwrap();
            let off = (minutes(&shown) - minutes(written)).rem_euclid(24 * 60);
            prop_assert!(off == 0 || off == 30 || off == 60, "{shown} for {written}");
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,40}") {
        let _ = text.parse::<Window>();
    }
}
