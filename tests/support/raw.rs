//! Bytes in, bytes out: an HTTP/1.1 peer that keeps to no rule but its script. Used as client and as upstream.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

use super::{gate::CALLER_KEY, in_time};

/// A POST of team-a, head only: `fields` are whole lines, each with its line end.
pub fn post_head(path: &str, fields: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: gate.test\r\nauthorization: Bearer {CALLER_KEY}\r\n{fields}\r\n")
}

/// A GET of team-a.
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: gate.test\r\nauthorization: Bearer {CALLER_KEY}\r\n\r\n")
}

/// One end of a byte stream, with what was read of it and not yet taken.
pub struct Raw<S = TcpStream> {
    pub stream: S,
    buffer: Vec<u8>,
}

/// A message of HTTP/1.1 as it came: head and body.
#[derive(Debug, Clone)]
pub struct Message {
    pub head: String,
    pub body: Vec<u8>,
}

impl Message {
    /// The status of a response.
    pub fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// The one value of a field; none where it is missing.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields(name);
        let value = values.next();
        assert!(values.next().is_none(), "{name} twice in {:?}", self.head);
        value
    }

    pub fn fields<'m>(&'m self, name: &str) -> impl Iterator<Item = &'m str> {
        let name = name.to_owned();
        self.head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .filter(move |(n, _)| n.eq_ignore_ascii_case(&name))
            .map(|(_, v)| v.trim())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The code of an answer of the gate's own.
    pub fn code(&self) -> String {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["error"]["code"].as_str().unwrap_or("none").to_owned()
    }
}

impl Raw {
    pub async fn connect(address: SocketAddr) -> Self {
        Self::over(in_time("connect", TcpStream::connect(address)).await.unwrap())
    }

    /// Closes with a reset instead of a FIN.
    pub fn reset(self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    pub fn over(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// Writes; that the other side may be gone is for the test to find out by reading.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.try_send(bytes).await;
    }

    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        in_time("write", self.stream.write_all(bytes.as_ref())).await?;
        self.stream.flush().await
    }

    /// Closes this side's direction.
    pub async fn finish(&mut self) {
        let _ = in_time("shutdown", self.stream.shutdown()).await;
    }

    /// Up to and with `mark`; none where the stream ends before it.
    pub async fn until(&mut self, mark: &str) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.buffer.windows(mark.len()).position(|w| w == mark.as_bytes()) {
                return Some(self.buffer.drain(..at + mark.len()).collect());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// This many bytes; none where the stream ends before.
    pub async fn exactly(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < count {
            if !self.more().await {
                return None;
            }
        }
        Some(self.buffer.drain(..count).collect())
    }

    /// Everything up to the end of the stream, however it ends.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.buffer)
    }

    /// Whether the other side closes without another byte.
    pub async fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && !self.more().await
    }

    /// Reads on; whether the end is a reset and not a FIN.
    pub async fn ends_by_reset(&mut self) -> bool {
        loop {
            match in_time("read", self.stream.read_buf(&mut self.buffer)).await {
                Ok(0) => return false,
                Ok(_) => {}
                Err(_) => return true,
            }
        }
    }

    /// Whatever is there, at least a byte; empty at the end.
    pub async fn some(&mut self) -> Vec<u8> {
        if self.buffer.is_empty() {
            self.more().await;
        }
        std::mem::take(&mut self.buffer)
    }

    async fn more(&mut self) -> bool {
        matches!(in_time("read", self.stream.read_buf(&mut self.buffer)).await, Ok(read) if read > 0)
    }

    /// The next head, informational responses included.
    pub async fn head(&mut self) -> Option<String> {
        Some(String::from_utf8(self.until("\r\n\r\n").await?).unwrap())
    }

    /// The next message with its body; none where the stream ends before it is complete. `bodyless`: a response to HEAD.
    pub async fn message(&mut self, bodyless: bool) -> Option<Message> {
        let mut message = Message { head: self.head().await?, body: Vec::new() };
        let is_response = message.head.starts_with("HTTP/");
        if bodyless || (is_response && matches!(message.status(), 100..200 | 204 | 304)) {
            return Some(message);
        }
        if message.field("transfer-encoding").is_some() {
            message.body = self.chunks().await?.0;
        } else if let Some(length) = message.field("content-length") {
            message.body = self.exactly(length.parse().unwrap()).await?;
        } else if is_response {
            message.body = self.rest().await;
        }
        Some(message)
    }

    /// A response that must come.
    pub async fn response(&mut self) -> Message {
        self.message(false).await.expect("a whole response")
    }

    /// A chunked body and its trailer section.
    pub async fn chunks(&mut self) -> Option<(Vec<u8>, String)> {
        let mut body = Vec::new();
        loop {
            let line = String::from_utf8(self.until("\r\n").await?).unwrap();
            let size = usize::from_str_radix(line.trim().split(';').next().unwrap(), 16).unwrap();
            if size == 0 {
                let mut trailers = String::new();
                loop {
                    let line = String::from_utf8(self.until("\r\n").await?).unwrap();
                    if line == "\r\n" {
                        return Some((body, trailers));
                    }
                    trailers.push_str(&line);
                }
            }
            body.extend(self.exactly(size).await?);
            self.until("\r\n").await?;
        }
    }
}
