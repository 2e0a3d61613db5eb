//! Log output: events of `tracing` as JSON or text lines, written by a thread of their own.
//!
//! `run` calls [`start`] once; the admin side changes the level through [`LogControl`]. It must never block the thread
//! that logs, and never show what libraries say about bytes on the wire unless somebody asked for `trace`.

use std::io::{IsTerminal, Write};

use anyhow::Context;
use tracing::{Level, Subscriber, level_filters::LevelFilter};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    Registry,
    filter::Targets,
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

/// Lines held for a slow reader: about 4 MiB of typical lines.
const BUFFERED_LINES: usize = 16_384;

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line, for programs.
    Json,
}

/// Changes the level while the process runs, and counts lost lines. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LogControl {
    filter: reload::Handle<Targets, Registry>,
    dropped: ErrorCounter,
}

impl LogControl {
    /// Shows events of this level and above from now on.
    pub fn set_level(&self, level: Level) {
        // It fails only when the subscriber is gone, and then there is no log to change.
        drop(self.filter.reload(targets(level)));
    }

    /// Lines that found the queue full, since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        u64::try_from(self.dropped.dropped_lines()).unwrap_or(u64::MAX)
    }
}

/// Writes what is still queued when it is dropped. Keep it until the last line was logged.
#[derive(Debug)]
pub struct LogGuard(#[expect(dead_code, reason = "held for its Drop, which flushes")] WorkerGuard);

/// Sends the events of the whole process to standard error.
///
/// # Errors
/// When a subscriber was installed before.
pub fn start(level: Level, format: Format) -> anyhow::Result<(LogControl, LogGuard)> {
    let colour = std::io::stderr().is_terminal() && colour_allowed(std::env::var_os("NO_COLOR").as_deref());
    let (writer, guard) = queue(std::io::stderr());
    let dropped = writer.error_counter();
    let (subscriber, filter) = subscriber(level, format, colour, writer);
    subscriber.try_init().context("cannot start the log: something in this process has already started one")?;
    Ok((LogControl { filter, dropped }, LogGuard(guard)))
}

/// The level of this name, in lower case as in the configuration.
#[must_use]
pub fn level_named(name: &str) -> Option<Level> {
    LEVELS.iter().find(|(known, _)| *known == name).map(|(_, level)| *level)
}

/// Every level, by the name a user types.
pub const LEVELS: [(&str, Level); 5] = [
    ("error", Level::ERROR),
    ("warn", Level::WARN),
    ("info", Level::INFO),
    ("debug", Level::DEBUG),
    ("trace", Level::TRACE),
];

/// Lossy: a reader that stands still costs lines, not requests.
fn queue(writer: impl Write + Send + 'static) -> (tracing_appender::non_blocking::NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default().lossy(true).buffered_lines_limit(BUFFERED_LINES).thread_name("log").finish(writer)
}

fn subscriber<W>(
    level: Level,
    format: Format,
    colour: bool,
    writer: W,
) -> (impl Subscriber + Send + Sync, reload::Handle<Targets, Registry>)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(targets(level));
    let lines = fmt::layer().with_writer(writer).with_ansi(colour && format == Format::Text);
    let lines: Box<dyn tracing_subscriber::Layer<_> + Send + Sync> = match format {
        Format::Text => Box::new(lines),
        Format::Json => Box::new(lines.json().flatten_event(true).with_current_span(false)),
    };
    (Registry::default().with(filter).with(lines), handle)
}

/// Our own events at `level`. Libraries log heads and handshakes at debug, where secrets may travel: they stay at info
/// until `trace` is asked for by name.
fn targets(level: Level) -> Targets {
    let libraries = if level == Level::TRACE { level } else { level.min(Level::INFO) };
    Targets::new().with_default(LevelFilter::from_level(libraries)).with_target("scoregate", level)
}

/// <https://no-color.org>: set and not empty means no colour.
fn colour_allowed(no_color: Option<&std::ffi::OsStr>) -> bool {
    no_color.is_none_or(std::ffi::OsStr::is_empty)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn logged(level: Level, format: Format, log: impl FnOnce(&reload::Handle<Targets, Registry>)) -> String {
        let lines = Lines::default();
        let copy = lines.clone();
        let (subscriber, filter) = subscriber(level, format, false, move || copy.clone());
        tracing::subscriber::with_default(subscriber, || log(&filter));
        lines.text()
    }

    #[test]
    fn libraries_are_quiet_at_debug_and_heard_at_trace() {
        let speak = |_: &_| {
            tracing::debug!(target: "hyper::proto", "of the library");
            tracing::debug!(target: "scoregate::run", "of our own");
        };
        let at_debug = logged(Level::DEBUG, Format::Text, speak);
        assert!(at_debug.contains("of our own") && !at_debug.contains("of the library"), "{at_debug}");
        assert!(logged(Level::TRACE, Format::Text, speak).contains("of the library"));
        assert_eq!(logged(Level::WARN, Format::Text, |_| tracing::info!(target: "hyper", "quiet")), "");
    }

    #[test]
    fn the_level_changes_while_it_runs() {
        let text = logged(Level::INFO, Format::Text, |filter| {
            tracing::debug!(target: "scoregate", "before");
            filter.reload(targets(Level::DEBUG)).unwrap();
            tracing::debug!(target: "scoregate", "after");
        });
        assert!(text.contains("after") && !text.contains("before"), "{text}");
    }

    #[test]
    fn json_is_one_object_a_line_without_colour() {
        let text = logged(Level::INFO, Format::Json, |_| tracing::info!(target: "scoregate", name = "a\nb", "said"));
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!((line["message"].as_str(), line["name"].as_str()), (Some("said"), Some("a\nb")));
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn no_color_counts_when_it_is_not_empty() {
        assert!(colour_allowed(None));
        assert!(colour_allowed(Some("".as_ref())));
        assert!(!colour_allowed(Some("1".as_ref())));
    }

    #[test]
    fn levels_go_by_their_lower_case_names_alone() {
        assert_eq!(level_named("debug"), Some(Level::DEBUG));
        assert_eq!(level_named("DEBUG"), None);
        assert_eq!(level_named("4"), None);
    }
}
