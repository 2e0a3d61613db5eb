//! The access log: one line for a request that was answered, written by a thread of its own.
//!
//! Workers call [`AccessSender::send`], which never waits: when the queue is full the record is dropped and counted.
//! Whatever a caller sent is escaped, so that no request can forge a line. No query, header or body is ever in a record.

use std::{
    fmt::{self, Write as _},
    io::{self, BufWriter, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, channel, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use serde::{Serialize, Serializer};

use super::utc::Utc;

/// What is written about one request.
#[derive(Debug, Clone, Serialize)]
pub struct AccessRecord {
    /// When it was answered, in milliseconds since 1970.
    pub time_unix_ms: u64,
    /// What the caller was told as `x-request-id`.
    pub request_id: String,
    /// Name of the listener.
    #[serde(serialize_with = "name")]
    pub listener: Arc<str>,
    /// Name of the route, where one matched.
    #[serde(serialize_with = "optional_name")]
    pub route: Option<Arc<str>>,
    /// Name of the caller, where one was let in.
    #[serde(serialize_with = "optional_name")]
    pub caller: Option<Arc<str>>,
    /// What its credential says of it: a key's name, whom a token is about, a certificate's name.
    #[serde(serialize_with = "optional_name", skip_serializing_if = "Option::is_none")]
    pub subject: Option<Arc<str>>,
    /// Method.
    #[serde(serialize_with = "method")]
    pub method: http::Method,
    /// Path as it was asked for, without the query.
    pub path: String,
    /// Status that was answered.
    pub status: u16,
    /// Code of an answer of our own.
    pub code: Option<&'static str>,
    /// Bytes of the request body.
    pub bytes_in: u64,
    /// Bytes of the response body.
    pub bytes_out: u64,
    /// From the request head to the end of the answer, in microseconds.
    pub duration_us: u64,
    /// Address of the upstream, where one was asked.
    pub upstream: Option<String>,
}

/// Where the access log begins.
#[derive(Debug)]
pub struct AccessLog;

impl AccessLog {
    /// Starts the thread that writes to `writer`; `capacity` records may wait for it.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(
        json: bool,
        writer: Box<dyn Write + Send>,
        capacity: usize,
    ) -> io::Result<(AccessSender, AccessHandle)> {
        let (queue, records) = sync_channel(capacity);
        let (ended, has_ended) = channel();
        let dropped = Arc::new(AtomicU64::new(0));
        let mut writing = Writing { json, out: BufWriter::new(writer), line: String::new(), dropped: dropped.clone() };
        let thread = std::thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            writing.run(&records);
            // Nobody listens when the handle was dropped without a join.
            let _ = ended.send(());
        })?;
        let sender = AccessSender { queue, dropped };
        let handle = AccessHandle { sender: sender.clone(), has_ended, thread };
        Ok((sender, handle))
    }
}

/// Puts records into the queue. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AccessSender {
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

impl AccessSender {
    /// Queues a record, or drops and counts it when the queue is full or closed. Never waits.
    pub fn send(&self, record: AccessRecord) {
        if self.queue.try_send(Message::Record(Box::new(record))).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Records that were lost, since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

/// Ends the log and counts what it lost.
#[derive(Debug)]
pub struct AccessHandle {
    sender: AccessSender,
    has_ended: Receiver<()>,
    thread: JoinHandle<()>,
}

/// How often a full queue is tried again while the log ends.
const TRY_AGAIN: Duration = Duration::from_millis(10);

impl AccessHandle {
    /// Records that were lost, since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.sender.dropped.load(Relaxed)
    }

    /// Writes and flushes what was queued before this call, and ends the thread. `false`: the writer stood still for
    /// longer than `patience`, and the rest is left behind.
    #[must_use]
    pub fn join(self, patience: Duration) -> bool {
        let tries = patience.as_millis() / TRY_AGAIN.as_millis();
        for _ in 0..=tries {
            match self.sender.queue.try_send(Message::End) {
                Ok(()) => return self.has_ended.recv_timeout(patience).is_ok() && self.thread.join().is_ok(),
                Err(TrySendError::Disconnected(_)) => return self.thread.join().is_ok(),
                Err(TrySendError::Full(_)) => match self.has_ended.recv_timeout(TRY_AGAIN) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return self.thread.join().is_ok(),
                },
            }
        }
        false
    }
}

#[derive(Debug)]
enum Message {
    /// Boxed: the queue is allocated whole at the start, and a pointer a place is enough.
    Record(Box<AccessRecord>),
    End,
}

/// What the thread owns.
struct Writing {
    json: bool,
    out: BufWriter<Box<dyn Write + Send>>,
    /// Reused for every line.
    line: String,
    dropped: Arc<AtomicU64>,
}

impl Writing {
    /// Ends at [`Message::End`], or when every sender is gone.
    fn run(&mut self, records: &Receiver<Message>) {
        loop {
            let message = match records.try_recv() {
                Ok(message) => message,
                Err(TryRecvError::Disconnected) => break,
                // Nothing more for now: let people see what there is.
                Err(TryRecvError::Empty) => {
                    self.flush();
                    let Ok(message) = records.recv() else { break };
                    message
                }
            };
            match message {
                Message::Record(record) => self.write(&record),
                Message::End => break,
            }
        }
        self.flush();
    }

    fn write(&mut self, record: &AccessRecord) {
        self.line.clear();
        let formatted = if self.json { json_line(record, &mut self.line) } else { text_line(record, &mut self.line) };
        if formatted.is_err() || self.out.write_all(self.line.as_bytes()).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// A reader that is gone is not worth a request; the loss shows in the count of the next write.
    fn flush(&mut self) {
        drop(self.out.flush());
    }
}

/// serde_json escapes ASCII controls. The rest of what cannot be seen (DEL, other controls, separators, what turns text
/// around) occurs in strings alone, so it may be escaped in the finished line.
fn json_line(record: &AccessRecord, line: &mut String) -> fmt::Result {
    let json = serde_json::to_string(record).map_err(|_not_reachable_for_plain_fields| fmt::Error)?;
    for c in json.chars() {
        if matches!(c, ' '..='~') || c.escape_debug().len() == 1 {
            line.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(line, "\\u{unit:04x}")?;
            }
        }
    }
    line.push('\n');
    Ok(())
}

/// `2026-01-02T03:04:05.678Z 200 POST /score listener=… route=… …`
fn text_line(record: &AccessRecord, line: &mut String) -> fmt::Result {
    let moment = Utc(record.time_unix_ms);
    write!(line, "{moment} {} {} {}", record.status, record.method, Escaped(&record.path))?;
    write!(line, " listener={}", Escaped(&record.listener))?;
    let names = [&record.route, &record.caller, &record.subject].map(Option::as_deref);
    let words = ["route", "caller", "subject"].into_iter().zip(names);
    let ends = [("code", record.code), ("upstream", record.upstream.as_deref())];
    for (key, value) in words.into_iter().chain(ends) {
        if let Some(value) = value {
            write!(line, " {key}={}", Escaped(value))?;
        }
    }
    write!(line, " in={} out={} us={}", record.bytes_in, record.bytes_out, record.duration_us)?;
    writeln!(line, " id={}", Escaped(&record.request_id))
}

/// Spaces and `=` separate fields, so a value shows them escaped, and whatever cannot be seen with them.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                ' ' => f.write_str("\\u{20}")?,
                '=' => f.write_str("\\u{3d}")?,
                '"' | '\'' => f.write_char(c)?,
                _ => write!(f, "{}", c.escape_debug())?,
            }
        }
        Ok(())
    }
}

fn name<S: Serializer>(value: &Arc<str>, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(value)
}

#[expect(clippy::ref_option, reason = "the signature serde asks for")]
fn optional_name<S: Serializer>(value: &Option<Arc<str>>, out: S) -> Result<S::Ok, S::Error> {
    value.as_deref().serialize(out)
}

fn method<S: Serializer>(value: &http::Method, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(value.as_str())
}

#[cfg(test)]
mod tests;
