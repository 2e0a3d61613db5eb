//! Hostile upstreams: every connection is run by a script of the test's, bytes or HTTP/2 frames.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use tokio::net::{TcpListener, TcpStream};

use super::raw::{Message, Raw};

/// An upstream of which each connection runs a script.
pub struct Hostile {
    pub address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
    /// Requests that were read to their end.
    pub whole: Arc<Mutex<Vec<Message>>>,
}

/// One connection of a hostile upstream.
pub struct Turn {
    /// The how manieth connection it is, from 0.
    pub number: usize,
    pub raw: Raw,
    whole: Arc<Mutex<Vec<Message>>>,
}

impl Turn {
    /// The next request, whole, and noted; none where the connection ends before.
    pub async fn request(&mut self) -> Option<Message> {
        let request = self.raw.message(false).await?;
        self.whole.lock().unwrap().push(request.clone());
        Some(request)
    }

    /// Answers 200 with a small body.
    pub async fn ok(&mut self, body: &str) {
        self.raw.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
    }
}

impl Hostile {
    pub async fn start<F>(script: impl Fn(Turn) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let whole = Arc::<Mutex<Vec<Message>>>::default();
        let noted = Arc::clone(&whole);
        let mut hostile =
            Self::accept(move |number, tcp| script(Turn { number, raw: Raw::over(tcp), whole: Arc::clone(&noted) }))
                .await;
        hostile.whole = whole;
        hostile
    }

    /// Each connection as a socket.
    pub async fn accept<F>(script: impl Fn(usize, TcpStream) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let hostile = Self { address, accepted: Arc::default(), ended: Arc::default(), whole: Arc::default() };
        let (accepted, ended) = (Arc::clone(&hostile.accepted), Arc::clone(&hostile.ended));
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tcp.set_nodelay(true).unwrap();
                let turn = script(accepted.fetch_add(1, SeqCst), tcp);
                let ended = Arc::clone(&ended);
                tokio::spawn(async move {
                    turn.await;
                    ended.fetch_add(1, SeqCst);
                });
            }
        });
        hostile
    }

    /// Answers every request with the same bytes, over as many connections as it takes.
    pub async fn answering(bytes: &'static str) -> Self {
        Self::start(move |mut turn| async move {
            while turn.request().await.is_some() {
                turn.raw.send(bytes).await;
            }
        })
        .await
    }

    /// Answers the first request of each connection with these bytes and closes.
    pub async fn answering_once(bytes: &'static str) -> Self {
        Self::start(move |mut turn| async move {
            turn.request().await;
            turn.raw.send(bytes).await;
        })
        .await
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.accepted.load(SeqCst)
    }

    /// Connections whose script has ended.
    pub fn ended(&self) -> usize {
        self.ended.load(SeqCst)
    }

    /// How many requests were read whole.
    pub fn requests(&self) -> usize {
        self.whole.lock().unwrap().len()
    }
}
