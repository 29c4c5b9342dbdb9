//! A TCP proxy in front of mongod that loses the answer to one command: the command is carried out, and nobody learns of it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A proxy; it ends with the test's runtime.
pub struct Proxy {
    port: u16,
    state: Arc<Mutex<State>>,
    down: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    /// The command and collection whose next answer is lost; from then on the line is dead.
    swallow: Option<(&'static str, &'static str)>,
    /// Answers to these are not let through; the request they belong to.
    lost: Option<i32>,
}

impl Proxy {
    /// In front of the deployment at this URI, which must have one host.
    pub async fn start(uri: &str) -> Self {
        let host = uri.strip_prefix("mongodb://").and_then(|rest| rest.split('/').next()).expect("one host").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let (down, is_down) = watch::channel(false);
        let proxy = Self { port, state: Arc::default(), down: down.clone() };
        let state = Arc::clone(&proxy.state);
        let mongod: SocketAddr = host.parse().expect("an address in numbers");
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *is_down.borrow() {
                    continue;
                }
                let server = TcpStream::connect(mongod).await.expect("mongod runs");
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(forward(from_client, to_server, Arc::clone(&state), down.clone(), true));
                tokio::spawn(forward(from_server, to_client, Arc::clone(&state), down.clone(), false));
            }
        });
        proxy
    }

    /// The URI with this proxy in place of the host, and little patience.
    pub fn uri(&self, uri: &str) -> String {
        let (_, rest) = uri.strip_prefix("mongodb://").and_then(|rest| rest.split_once('/')).expect("one host");
        format!("mongodb://127.0.0.1:{}/{rest}&serverSelectionTimeoutMS=300&heartbeatFrequencyMS=500", self.port)
    }

    /// Lets the next such command through, loses its answer, and is dead from then on until [`Proxy::heal`].
    pub fn swallow(&self, command: &'static str, collection: &'static str) {
        self.state.lock().expect("not poisoned").swallow = Some((command, collection));
    }

    /// Waits until the answer was lost.
    pub async fn swallowed(&self) {
        let mut down = self.down.subscribe();
        let waited = tokio::time::timeout(Duration::from_secs(10), down.wait_for(|down| *down)).await;
        waited.expect("the command comes").expect("the proxy lives");
    }

    /// Takes connections again.
    pub fn heal(&self) {
        self.state.lock().expect("not poisoned").lost = None;
        self.down.send_replace(false);
    }
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: Arc<Mutex<State>>, down: watch::Sender<bool>, asks: bool) {
    let mut is_down = down.subscribe();
    let pump = async {
        loop {
            let mut message = vec![0; 16];
            from.read_exact(&mut message).await.ok()?;
            let number = |at: usize, m: &[u8]| i32::from_le_bytes([m[at], m[at + 1], m[at + 2], m[at + 3]]);
            let length = usize::try_from(number(0, &message)).ok()?;
            message.resize(length, 0);
            from.read_exact(&mut message[16..]).await.ok()?;
            let is_lost = {
                let mut state = state.lock().expect("not poisoned");
                if asks {
                    let meant = state.swallow.is_some_and(|(command, collection)| is_command(&message, command, collection));
                    if meant {
                        (state.swallow, state.lost) = (None, Some(number(4, &message)));
                    }
                    false
                } else {
                    state.lost == Some(number(8, &message))
                }
            };
            if is_lost {
                down.send_replace(true);
                return Some(());
            }
            to.write_all(&message).await.ok()?;
        }
    };
    tokio::select! {
        _ = pump => {}
        _ = is_down.wait_for(|down| *down) => {}
    }
}

/// Whether the first field of the command is its name with this collection: `\x02insert\0<length>directmessages\0`.
fn is_command(message: &[u8], command: &str, collection: &str) -> bool {
    let mut start = vec![2];
    start.extend_from_slice(command.as_bytes());
    start.push(0);
    start.extend_from_slice(&i32::try_from(collection.len() + 1).expect("short").to_le_bytes());
    start.extend_from_slice(collection.as_bytes());
    start.push(0);
    message.windows(start.len()).any(|window| window == start)
}
