//! The access log writes what it was given, loses nothing that it accepted, and cannot be made to forge a line.

use std::sync::{Mutex, mpsc::Sender};

use super::*;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Says that it was asked to write, then stands still until the sender of `go` is dropped.
struct Stuck {
    asked: Sender<()>,
    go: Receiver<()>,
}

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.asked.send(());
        let _ = self.go.recv();
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn record(path: &str) -> AccessRecord {
    AccessRecord {
        time_unix_ms: 1_709_210_096_007,
        request_id: "r1".into(),
        listener: "public".into(),
        route: Some("iris".into()),
        caller: None,
        subject: None,
        method: http::Method::POST,
        path: path.into(),
        status: 401,
        code: Some("caller_unknown"),
        bytes_in: 1,
        bytes_out: 2,
        duration_us: 3,
        upstream: None,
    }
}

fn written(json: bool, records: &[AccessRecord]) -> String {
    let lines = Lines::default();
    let (sender, handle) = AccessLog::start(json, Box::new(lines.clone()), 1024).unwrap();
    for record in records {
        sender.send(record.clone());
    }
    assert_eq!(handle.dropped(), 0);
    assert!(handle.join(Duration::from_secs(60)));
    let bytes = lines.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn joining_writes_all_that_was_accepted_though_senders_live() {
    let records = vec![record("/a"); 500];
    assert_eq!(written(true, &records).lines().count(), 500);
}

#[test]
fn a_text_line_reads_from_left_to_right() {
    assert_eq!(
        written(false, &[record("/score")]),
        "2024-02-29T12:34:56.007Z 401 POST /score listener=public route=iris code=caller_unknown in=1 out=2 us=3 id=r1\n"
    );
}

#[test]
fn a_json_line_has_every_field() {
    let line: serde_json::Value = serde_json::from_str(&written(true, &[record("/score")])).unwrap();
    assert_eq!((line["method"].as_str(), line["route"].as_str()), (Some("POST"), Some("iris")));
    assert_eq!((line["time_unix_ms"].as_u64(), line["status"].as_u64()), (Some(1_709_210_096_007), Some(401)));
    assert!(line["caller"].is_null());
}

#[test]
fn no_path_forges_a_line_or_a_field() {
    let evil = "/a\r\n2024 200 GET /b status=200 \u{1b}[2J\u{202e}\u{0}\u{85}\u{2028}";
    for json in [true, false] {
        let text = written(json, &[record(evil)]);
        assert_eq!(text.lines().count(), 1, "{text:?}");
        assert!(!text.trim_end().chars().any(char::is_control), "{text:?}");
        assert!(!text.contains(['\u{202e}', '\u{2028}']), "{text:?}");
    }
    assert!(!written(false, &[record(evil)]).contains(" status=200"));
}

#[test]
fn a_full_queue_drops_and_counts_and_a_stuck_writer_does_not_hold_the_end() {
    let (asked, was_asked) = channel();
    let (go, wait) = channel::<()>();
    let (sender, handle) = AccessLog::start(true, Box::new(Stuck { asked, go: wait }), 2).unwrap();
    sender.send(record("/first"));
    was_asked.recv().unwrap(); // the thread now stands in its writer
    for _ in 0..5 {
        sender.send(record("/more"));
    }
    assert_eq!(handle.dropped(), 3);
    assert!(!handle.join(Duration::from_millis(20)));
    drop(go);
}
