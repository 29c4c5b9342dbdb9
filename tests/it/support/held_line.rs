//! A line from one node to mongod on which everything can be held up for a while, so that its writes come later than another node's.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// The line; it ends with the test's runtime.
pub struct HeldLine {
    port: u16,
    hold: watch::Sender<bool>,
    waiting: Arc<Mutex<Vec<u8>>>,
}

impl HeldLine {
    /// To the deployment at this URI, which must have one host.
    pub async fn to(uri: &str) -> Self {
        let host = uri.strip_prefix("mongodb://").and_then(|rest| rest.split('/').next()).expect("one host");
        let mongod: SocketAddr = host.parse().expect("an address in numbers");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let (hold, held) = watch::channel(false);
        let waiting = Arc::default();
        let line = Self { port, hold, waiting: Arc::clone(&waiting) };
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(mongod).await.expect("mongod runs");
                let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
                tokio::spawn(pass(from_near, to_far, held.clone(), Arc::clone(&waiting)));
                tokio::spawn(pass(from_far, to_near, held.clone(), Arc::default()));
            }
        });
        line
    }

    /// The URI with this line in place of the host.
    pub fn uri(&self, uri: &str) -> String {
        let (_, rest) = uri.strip_prefix("mongodb://").and_then(|rest| rest.split_once('/')).expect("one host");
        format!("mongodb://127.0.0.1:{}/{rest}", self.port)
    }

    /// Nothing passes from now on.
    pub fn hold(&self) {
        self.hold.send_replace(true);
    }

    /// Waits until something with this text is held up on its way to mongod.
    pub async fn holds(&self, text: &str) {
        let held = async {
            while !self.waiting.lock().expect("not poisoned").windows(text.len()).any(|window| window == text.as_bytes()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), held).await.unwrap_or_else(|_| panic!("{text} is not on its way"));
    }

    /// Everything passes again, what was held first.
    pub fn let_go(&self) {
        self.hold.send_replace(false);
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut held: watch::Receiver<bool>, waiting: Arc<Mutex<Vec<u8>>>) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if *held.borrow_and_update() {
            waiting.lock().expect("not poisoned").extend_from_slice(&bytes[..count]);
        }
        if held.wait_for(|held| !held).await.is_err() || to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
