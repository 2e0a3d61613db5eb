//! The two tables that indices point into: what everybody knows, and what was said before (RFC 7541 section 2.3 and appendix A).

use std::collections::VecDeque;

/// What everybody knows, from index 1.
pub(super) static STATIC: [(&[u8], &[u8]); 61] = [
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
];

/// What stands in its line beside name and value, bytes.
const SIGNS: usize = 4;
/// What an entry costs beside its name and value (RFC 7541 section 4.1).
const OVERHEAD: usize = 32;

/// A field that was said before.
#[derive(Debug)]
pub(super) struct Entry {
    /// The line that HTTP/1.1 would have: `name: value` and its end.
    pub(super) line: Box<[u8]>,
    name: usize,
    /// Whether name and value are what a field may have; found out once.
    pub(super) sound: bool,
}

impl Entry {
    /// Its name and value.
    pub(super) fn parts(&self) -> (&[u8], &[u8]) {
        let (name, rest) = self.line.split_at_checked(self.name).unwrap_or_default();
        (name, rest.get(2..rest.len().saturating_sub(2)).unwrap_or_default())
    }

    const fn size(&self) -> usize {
        self.line.len() - SIGNS + OVERHEAD
    }
}

/// What was said before, the last first. Kept as it was for each new field but the oldest, which go where there is no room.
#[derive(Debug)]
pub(super) struct Said {
    entries: VecDeque<Entry>,
    size: usize,
    most: usize,
}

impl Said {
    pub(super) const fn new(most: usize) -> Self {
        Self { entries: VecDeque::new(), size: 0, most }
    }

    /// From 0, the last that was said.
    pub(super) fn get(&self, at: usize) -> Option<&Entry> {
        self.entries.get(at)
    }

    /// Sets how large it may be, bytes.
    pub(super) fn resize(&mut self, most: usize) {
        self.most = most;
        self.make_room(0);
        if self.entries.is_empty() {
            self.entries = VecDeque::new();
        }
    }

    /// Adds a field; one that is larger than the whole leaves it empty (RFC 7541 section 4.4).
    pub(super) fn add(&mut self, name: &[u8], value: &[u8], sound: bool) {
        let size = name.len() + value.len() + OVERHEAD;
        self.make_room(size);
        if size <= self.most {
            let entry = Entry { line: [name, b": ", value, b"\r\n"].concat().into(), name: name.len(), sound };
            self.size += entry.size();
            self.entries.push_front(entry);
        }
    }

    fn make_room(&mut self, size: usize) {
        while self.size + size > self.most {
            let Some(oldest) = self.entries.pop_back() else { break };
            self.size -= oldest.size();
        }
    }
}
