//! When to look after something happened: not while it is still happening, and not never.
//!
//! Kept by `watch`. Pure: told what happened and when, it says when to look.

use std::{collections::HashSet, path::PathBuf, time::Duration};

use super::inotify::{Happening, Noticed};
use crate::clock::Moment;

/// Nothing has happened for so long: whoever changes several files has changed them all.
const QUIET: Duration = Duration::from_millis(100);
/// It never falls quiet: look all the same.
const RESTLESS: Duration = Duration::from_secs(1);
/// A file is being written and not closed: half a file is worth waiting for, but not for ever.
const WRITING: Duration = Duration::from_secs(5);

/// What has happened since the last look.
#[derive(Debug, Default)]
pub(super) struct Settling {
    /// The first and the last time that something happened.
    span: Option<(Moment, Moment)>,
    /// Files that were written to and not closed yet.
    open: HashSet<PathBuf>,
}

impl Settling {
    pub(super) fn note(&mut self, noticed: Vec<Noticed>, now: Moment) {
        let first = self.span.map_or(now, |(first, _)| first);
        self.span = Some((first, now));
        for Noticed { what, entry } in noticed {
            match what {
                Happening::Writing => self.open.insert(entry),
                Happening::Changed => self.open.remove(&entry),
            };
        }
    }

    /// Something may have happened unseen.
    pub(super) fn stir(&mut self, now: Moment) {
        self.note(Vec::new(), now);
    }

    /// When to look, if anything has happened at all.
    pub(super) fn due(&self) -> Option<Moment> {
        let (first, last) = self.span?;
        if !self.open.is_empty() {
            return Some(first + WRITING);
        }
        Some((last + QUIET).min(first + RESTLESS).max(last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Moment {
        Moment::from_micros(millis * 1_000)
    }

    fn happens(what: Happening, name: &str) -> Vec<Noticed> {
        vec![Noticed { what, entry: PathBuf::from(name) }]
    }

    #[test]
    fn a_look_waits_for_quiet_but_not_for_ever() {
        let mut settling = Settling::default();
        assert_eq!(settling.due(), None);
        for millis in (0..3_000).step_by(50) {
            settling.note(happens(Happening::Changed, "/a"), at(millis));
            let due = settling.due().unwrap();
            assert!(due <= at(1_000).max(at(millis)), "at {millis}");
        }
        let mut settling = Settling::default();
        settling.note(happens(Happening::Changed, "/a"), at(0));
        settling.note(happens(Happening::Changed, "/b"), at(60));
        assert_eq!(settling.due(), Some(at(160)));
    }

    #[test]
    fn a_file_that_is_being_written_is_waited_for() {
        let mut settling = Settling::default();
        settling.note(happens(Happening::Writing, "/a"), at(0));
        settling.note(happens(Happening::Changed, "/b"), at(10));
        assert_eq!(settling.due(), Some(at(5_000)));
        settling.note(happens(Happening::Changed, "/a"), at(700));
        assert_eq!(settling.due(), Some(at(800)), "closed");
    }
}
