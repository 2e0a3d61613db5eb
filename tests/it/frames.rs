//! HTTP/2 by the frame: what no client library would send, and what none would show.

use scoregate::config::model::UpstreamProtocol;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{
    client::{Client, full, get},
    eventually,
    fault::Hostile,
    gate::{self, CALLER_KEY, TestGate},
    in_time,
    upstream::Upstream,
};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[a, b, c, kind, flags][..], &stream.to_be_bytes(), payload].concat()
}

fn opened() -> Vec<u8> {
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, &[])].concat()
}

/// A field that is not kept in the table, of a name that everybody knows (RFC 7541 section 6.2.2).
fn known(index: u8, value: &str) -> Vec<u8> {
    let index = if index < 15 { vec![index] } else { vec![15, index - 15] };
    [&index, &[u8::try_from(value.len()).unwrap()][..], value.as_bytes()].concat()
}

/// A request's block: POST or GET of team-a.
fn block(method: &str, path: &str) -> Vec<u8> {
    let authorization = format!("Bearer {CALLER_KEY}");
    let fields = [known(2, method), known(4, path), known(1, "gate.test"), known(23, &authorization)];
    [&[0x87][..], &fields.concat()].concat()
}

/// SETTINGS with what the other side may send on a stream.
fn windows(size: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&[0, 4][..], &size.to_be_bytes()].concat())
}

/// GETs of team-a on so many streams, from 1.
fn gets(count: u32) -> Vec<Vec<u8>> {
    (0..count).map(|at| frame(HEADERS, END_HEADERS | END_STREAM, 1 + 2 * at, &block("GET", "/score"))).collect()
}

/// Answers everything with so many bytes.
async fn large(size: usize) -> Upstream {
    Upstream::streaming(move |request, notes| async move {
        notes.read(request).await;
        http::Response::new(full(vec![b'x'; size]))
    })
    .await
}

/// A client that reads frames and answers none.
struct Frames(TcpStream);

impl Frames {
    async fn connect(gate: &TestGate) -> Self {
        let mut stream = TcpStream::connect(gate.address("public")).await.unwrap();
        stream.write_all(&opened()).await.unwrap();
        Self(stream)
    }

    async fn send(&mut self, frames: &[Vec<u8>]) {
        in_time("room for frames", self.0.write_all(&frames.concat())).await.unwrap();
    }

    /// Kind, flags, stream and payload of the next frame.
    async fn next(&mut self) -> (u8, u8, u32, Vec<u8>) {
        let mut header = [0; 9];
        in_time("a frame", self.0.read_exact(&mut header)).await.unwrap();
        let [a, b, c, kind, flags, stream @ ..] = header;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        in_time("a payload", self.0.read_exact(&mut payload)).await.unwrap();
        (kind, flags, u32::from_be_bytes(stream), payload)
    }

    /// The next frame of a kind; those of others are passed over.
    async fn next_of(&mut self, wanted: u8) -> (u8, u32, Vec<u8>) {
        loop {
            let (kind, flags, stream, payload) = self.next().await;
            if kind == wanted {
                return (flags, stream, payload);
            }
        }
    }
}

/// Uniformly distributed bits, the same in every run (xorshift64, Marsaglia 2003).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        (0..self.below(most + 1)).map(|_| (self.below(256)) as u8).collect()
    }

    /// A frame, sound more often than not.
    fn frame(&mut self, begun: &mut u32) -> Vec<u8> {
        let some = (self.below(u64::from(*begun) + 4)) as u32;
        match self.below(14) {
            0..=3 => {
                *begun += 2;
                let method = ["GET", "POST", "CONNECT", "G T"][self.below(4).min(3) as usize];
                let flags = END_HEADERS | self.below(2) as u8;
                frame(HEADERS, flags, *begun - 2, &block(method, "/score"))
            }
            4 | 5 => frame(DATA, self.below(2) as u8, some, &self.bytes(300)),
            6 => frame(RESET, 0, some, &8_u32.to_be_bytes()),
            7 => frame(WINDOW_UPDATE, 0, some, &(self.below(1 << 31) as u32).to_be_bytes()),
            8 => {
                frame(SETTINGS, 0, 0, &[&4_u16.to_be_bytes()[..], &(self.below(70_000) as u32).to_be_bytes()].concat())
            }
            9 => frame(6, self.below(2) as u8, 0, b"12345678"),
            10 => frame(2, 0, some, &[0, 0, 0, 1, 7]),
            11 => frame(HEADERS, END_STREAM | END_HEADERS, some, &known(25, "trailers")),
            12 => frame(11 + self.below(5) as u8, self.below(256) as u8, some, &self.bytes(40)),
            _ => {
                let kind = self.below(10) as u8;
                let flags = self.below(256) as u8;
                frame(kind, flags, some, &self.bytes(40))
            }
        }
    }
}

#[tokio::test]
async fn whatever_frames_come_everybody_else_is_served() {
    let upstream = Upstream::echo().await;
    let gate = TestGate::start(gate::config(upstream.address));
    for seed in 1..=150 {
        let mut dice = Dice(u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15));
        let mut begun = 1;
        let frames: Vec<u8> = (0..60).flat_map(|_| dice.frame(&mut begun)).collect();
        let mut stream = TcpStream::connect(gate.address("public")).await.unwrap();
        let (mut read, mut write) = stream.split();
        let size = 1 + dice.below(600) as usize;
        let mut scrap = Vec::new();
        let write = async {
            write.write_all(&opened()).await?;
            for piece in frames.chunks(size) {
                write.write_all(piece).await?;
            }
            write.shutdown().await
        };
        // Whether it is ended before all was sent is the gate's affair.
        let (_sent, _read) = in_time("an end", async { tokio::join!(write, read.read_to_end(&mut scrap)) }).await;
        if seed % 25 == 0 {
            for mut caller in Client::both(gate.address("public")).await {
                assert_eq!(caller.send(get("/score")).await.status(), 200, "seed {seed}, over {}", caller.name());
            }
        }
    }
    eventually("nothing is left", || {
        gate.metric("connections{listener=\"public\"}") == 0.0 && gate.metric("in_flight{endpoint=\"iris\"}") == 0.0
    })
    .await;
}

#[tokio::test]
async fn bodies_that_nobody_reads_leave_the_connection_s_window_as_it_was() {
    let upstream = Upstream::echo().await;
    let gate = TestGate::start(gate::config(upstream.address));
    let mut caller = Frames::connect(&gate).await;
    let mut window = 65_535;
    let (mut stream, piece) = (1, vec![b'x'; 16_000]);
    // Four times the window in all.
    for _ in 0..100 {
        while window < 3 * 16_000 {
            let (_, of, more) = caller.next_of(WINDOW_UPDATE).await;
            if of == 0 {
                window += i64::from(u32::from_be_bytes(more.try_into().unwrap()));
            }
        }
        let data = frame(DATA, 0, stream, &piece);
        let reset = frame(RESET, 0, stream, &8_u32.to_be_bytes());
        let head = frame(HEADERS, END_HEADERS, stream, &block("POST", "/score"));
        // At once, so that it is over before its task has begun, and with a pause.
        caller.send(&[head, data.clone(), data.clone(), data]).await;
        if stream % 4 == 1 {
            tokio::task::yield_now().await;
        }
        caller.send(&[reset]).await;
        window -= 3 * 16_000;
        stream += 2;
    }
    caller.send(&[frame(HEADERS, END_HEADERS | END_STREAM, stream, &block("GET", "/score"))]).await;
    assert_eq!(caller.next_of(HEADERS).await.1, stream);
}

#[tokio::test]
async fn what_the_upstream_says_ahead_is_heard_before_its_answer() {
    let upstream = Hostile::start(|mut turn| async move {
        turn.raw.message(false).await;
        turn.raw.send("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n").await;
        turn.raw.rest().await;
    })
    .await;
    let gate = TestGate::start(gate::config(upstream.address));
    let mut caller = Frames::connect(&gate).await;
    caller.send(&[frame(HEADERS, END_HEADERS | END_STREAM, 1, &block("GET", "/score"))]).await;
    let (flags, _, ahead) = caller.next_of(HEADERS).await;
    assert_eq!((flags, &ahead[..6]), (END_HEADERS, &b"\x20\x08\x03103"[..]), "no table, then the status");
    let (flags, _, answer) = caller.next_of(HEADERS).await;
    assert_eq!((flags, answer[0]), (END_HEADERS | END_STREAM, 0x89), "204, and no body");
}

#[tokio::test]
async fn streams_take_turns() {
    let upstream = large(16 << 20).await;
    let gate = TestGate::start(gate::config(upstream.address));
    let mut caller = Frames::connect(&gate).await;
    caller.send(&[windows(0), frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes())]).await;
    caller.send(&gets(4)).await;
    // Each has something to send before any may.
    for _ in 0..4 {
        caller.next_of(HEADERS).await;
    }
    caller.send(&[windows(1 << 30)]).await;
    let (mut read, mut ended) = ([0_usize; 4], 0);
    while ended < 4 {
        let (flags, stream, data) = caller.next_of(DATA).await;
        read[(stream as usize - 1) / 2] += data.len();
        if flags & END_STREAM != 0 {
            ended += 1;
            // Of 16 MiB each, more than what kernels hold; the others are on their way when the first is through.
            assert!(ended > 1 || read.iter().all(|read| *read > 256 << 10), "{read:?}");
        }
    }
    assert_eq!(read, [16 << 20; 4]);
}

#[tokio::test]
async fn who_waits_for_a_100_gets_it_once_its_body_is_wanted() {
    let upstream = Upstream::echo().await;
    let gate = TestGate::start(gate::config(upstream.address));
    let mut caller = Frames::connect(&gate).await;
    let expecting = [block("POST", "/score"), known(35, "100-continue")].concat();
    caller.send(&[frame(HEADERS, END_HEADERS, 1, &expecting)]).await;
    let (flags, _, ahead) = caller.next_of(HEADERS).await;
    assert_eq!((flags, &ahead[..]), (END_HEADERS, &b"\x20\x08\x03100"[..]));
    caller.send(&[frame(DATA, END_STREAM, 1, b"data")]).await;
    let (_, _, answer) = caller.next_of(HEADERS).await;
    assert_eq!(answer[0], 0x88);
    assert_eq!(caller.next_of(DATA).await.2, b"data");
    // Nobody asks for the body of a request that is refused.
    let refused = [block("POST", "/score"), known(35, "100-continue"), known(28, "99999999999")].concat();
    caller.send(&[frame(HEADERS, END_HEADERS, 3, &refused)]).await;
    assert_eq!(&caller.next_of(HEADERS).await.2[..5], b"\x08\x03413");
}

#[tokio::test]
async fn a_body_that_is_reset_is_never_passed_on_as_whole() {
    let upstream = Upstream::echo().await;
    let mut config = gate::config(upstream.address);
    config.endpoints[0].connect.protocol = UpstreamProtocol::H2c;
    let gate = TestGate::start(config);
    let mut caller = Frames::connect(&gate).await;
    for stream in (1..80).step_by(2) {
        let data = |flags, data: &[u8]| frame(DATA, flags, stream, data);
        caller.send(&[frame(HEADERS, END_HEADERS, stream, &block("POST", "/score")), data(0, b"part1")]).await;
        if stream % 4 == 1 {
            eventually("under way", || gate.metric("in_flight{endpoint=\"iris\"}") > 0.0).await;
        }
        let reset = frame(RESET, 0, stream, &8_u32.to_be_bytes());
        caller.send(&[data(0, b"part2"), data(END_STREAM, b"part3"), reset]).await;
    }
    caller.send(&[frame(HEADERS, END_HEADERS | END_STREAM, 81, &block("GET", "/score"))]).await;
    assert_eq!(caller.next_of(HEADERS).await.1, 81);
    eventually("nothing is left", || gate.metric("in_flight{endpoint=\"iris\"}") == 0.0).await;
    for seen in upstream.seen() {
        assert!(seen.method == "GET" || seen.body == "part1part2part3", "{:?}", seen.body);
    }
}

#[tokio::test]
async fn who_is_idle_and_told_to_go_goes_when_it_has_heard() {
    let upstream = Upstream::echo().await;
    let gate = TestGate::start(gate::config(upstream.address));
    let mut caller = Frames::connect(&gate).await;
    caller.send(&[frame(HEADERS, END_HEADERS | END_STREAM, 1, &block("GET", "/score"))]).await;
    caller.next_of(HEADERS).await;
    let inner = std::sync::Arc::clone(&gate.gate);
    let leaving = tokio::spawn(async move { inner.drain().await });
    let (_, _, first) = caller.next_of(GOAWAY).await;
    assert_eq!(first, [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0], "begin no more");
    let (_, _, asked) = caller.next_of(PING).await;
    caller.send(&[frame(PING, ACK, 0, &asked)]).await;
    let (_, _, last) = caller.next_of(GOAWAY).await;
    assert_eq!(last, [0, 0, 0, 1, 0, 0, 0, 0], "the last that was heard");
    assert_eq!(in_time("the end", caller.0.read(&mut [0])).await.unwrap(), 0);
    drop(caller);
    in_time("the gate's end", leaving).await.unwrap();
}

#[tokio::test]
async fn uploads_that_nobody_takes_leave_room_for_one_that_is() {
    let upstream = Hostile::start(|mut turn| async move { drop(turn.raw.rest().await) }).await;
    let mut config = gate::config(upstream.address);
    config.endpoints[0].concurrency = 1;
    let gate = TestGate::start(config);
    let mut caller = Frames::connect(&gate).await;
    let piece = vec![b'x'; 16_000];
    let (mut connection, mut streams) = (65_535_i64, [64_i64 << 10; 90]);
    // Those that wait for their turn have sent all that they may; the one that has its turn goes on.
    let waiting = (1..90).map(|at| (at, 4));
    for (at, pieces) in std::iter::once((0, 1)).chain(waiting).chain([(0, 32)]) {
        let stream = 1 + 2 * at as u32;
        if pieces < 32 {
            caller.send(&[frame(HEADERS, END_HEADERS, stream, &block("POST", "/score"))]).await;
        }
        let mut left = pieces;
        while left > 0 {
            if connection >= 16_000 && streams[at] >= 16_000 {
                caller.send(&[frame(DATA, 0, stream, &piece)]).await;
                (connection, streams[at], left) = (connection - 16_000, streams[at] - 16_000, left - 1);
                continue;
            }
            let (_, of, more) = caller.next_of(WINDOW_UPDATE).await;
            let more = i64::from(u32::from_be_bytes(more.try_into().unwrap()));
            if of == 0 {
                connection += more;
            } else {
                streams[(of as usize - 1) / 2] += more;
            }
        }
    }
}

#[tokio::test]
async fn nobody_is_left_behind_on_a_slow_wire() {
    let upstream = large(8 << 20).await;
    let gate = TestGate::start(gate::config(upstream.address));
    let mut caller = Frames::connect(&gate).await;
    caller.send(&[windows(1 << 30)]).await;
    caller.send(&gets(6)).await;
    // The connection's window begins with 65,535 bytes; once those are sent it opens by so much at a time.
    let (mut read, mut window) = ([0_usize; 6], 65_535);
    while read.iter().sum::<usize>() < 6 << 20 {
        if window == 0 {
            caller.send(&[frame(WINDOW_UPDATE, 0, 0, &40_000_u32.to_be_bytes())]).await;
            window = 40_000;
        }
        let (_, stream, data) = caller.next_of(DATA).await;
        window -= data.len();
        read[(stream as usize - 1) / 2] += data.len();
    }
    // Of 1 MiB each, had everybody had the same.
    assert!(read.iter().all(|read| *read > 768 << 10), "{read:?}");
}

#[tokio::test]
async fn a_frame_of_a_body_goes_on_before_it_is_whole() {
    let upstream = Hostile::start(|mut turn| async move {
        turn.raw.until("first of it").await.unwrap();
        turn.raw.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nseen").await;
        turn.raw.rest().await;
    })
    .await;
    let gate = TestGate::start(gate::config(upstream.address));
    let mut caller = Frames::connect(&gate).await;
    let whole = frame(DATA, END_STREAM, 1, &[b'x'; 1000]);
    caller.send(&[frame(HEADERS, END_HEADERS, 1, &block("POST", "/score")), whole[..9].to_vec()]).await;
    caller.send(&[b"first of it".to_vec()]).await;
    assert_eq!(caller.next_of(DATA).await.2, b"seen");
    // What is still to come of it is passed over; the connection goes on.
    caller.send(&[vec![b'x'; 989], frame(PING, 0, 0, b"after it")]).await;
    assert_eq!(caller.next_of(PING).await.2, b"after it");
}
