//! No token ever comes out: not in an answer, not in a log line, whatever is asked and however it fails.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use crate::support::{Answer, Ask, CANARY, setting};

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

#[tokio::test]
async fn neither_a_written_nor_a_made_token_is_ever_shown() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    // For the whole process: a subscriber of one thread misses events whose call sites another thread came upon first.
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let written = setting().start().await;
    let mut made = setting();
    made.admin.token = None;
    let token_file = made.state_dir.path.join("admin.token");
    let made = made.start().await;
    let made_token = std::fs::read_to_string(token_file).unwrap().trim_end().to_owned();

    let mut answers: Vec<Answer> = Vec::new();
    for (running, token) in [(&written, CANARY), (&made, made_token.as_str())] {
        for path in ["/livez", "/readyz?verbose", "/metrics", "/status", "/config", "/reload?drained", "/drain", "/no"]
        {
            for method in ["GET", "POST", "PUT", "DELETE"] {
                answers.push(running.ask_tcp(Ask::new(method, path).token(token)).await);
                answers.push(running.ask_tcp(Ask::new(method, path).token(&format!("{token}x"))).await);
                answers.push(running.ask_health(Ask::new(method, path).token(token)).await);
            }
        }
        answers.push(running.ask_tcp(Ask::new("GET", "/config").token(token).header("origin", "null")).await);
        answers.push(running.ask_tcp(Ask::new("GET", "/config").token(token).header("host", "evil")).await);
        answers.push(running.ask_tcp(Ask::new("PUT", "/log-level").token(token).json("{")).await);
    }
    assert!(!format!("{:?}", written.handle).contains(CANARY));
    written.handle.stop().await;
    made.handle.stop().await;

    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("made an admin token") && log.contains("a reload was asked for"), "{log}");
    for secret in [CANARY, &made_token] {
        assert!(!log.contains(secret), "{log}");
        for answer in &answers {
            assert!(!format!("{answer:?}").contains(secret), "{answer:?}");
        }
    }
}
