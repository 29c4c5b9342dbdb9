//! A real Redis of the test's own, and a line to it that can be cut.

use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// A running redis-server; it keeps nothing, and ends with this.
pub struct Redis {
    child: Child,
    port: u16,
    arguments: Vec<String>,
}

impl Redis {
    /// Starts one on a free port.
    pub fn start() -> Self {
        let port = free_port();
        Self::with(port, vec!["--port".into(), port.to_string()])
    }

    /// Starts one that listens on this port because these arguments say so.
    pub fn with(port: u16, arguments: Vec<String>) -> Self {
        Self { child: run(port, &arguments), port, arguments }
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// SIGKILL, to this pid alone.
    pub fn kill(&mut self) {
        self.child.kill().expect("it still ran");
        self.child.wait().expect("it is gone");
    }

    /// Starts it again in the same place, with nothing in it.
    pub fn start_again(&mut self) {
        self.child = run(self.port, &self.arguments);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Free a moment ago; should somebody else be faster, redis-server ends and the test says so.
pub fn free_port() -> u16 {
    StdListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound").port()
}

fn run(port: u16, arguments: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    command.args(arguments).args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    let child = command.stdout(Stdio::null()).spawn();
    let mut child = child.expect("redis-server is on the PATH: run scripts/test, or apt-get install redis-server");
    let give_up = Instant::now() + Duration::from_secs(20);
    while StdStream::connect(("127.0.0.1", port)).is_err() {
        assert!(child.try_wait().expect("asked").is_none(), "redis-server ended at once");
        assert!(Instant::now() < give_up, "redis-server does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

/// A line to Redis that can be cut.
pub struct Line {
    address: SocketAddr,
    cut: Arc<AtomicBool>,
    changed: Arc<Notify>,
}

impl Line {
    /// A whole one.
    pub async fn to(redis: &Redis) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (cut, changed, port) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()), redis.port);
        let (is_cut, when_cut) = (Arc::clone(&cut), Arc::clone(&changed));
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                if !is_cut.load(Ordering::SeqCst) {
                    tokio::spawn(carry(near, port, Arc::clone(&when_cut)));
                }
            }
        });
        Self { address, cut, changed }
    }

    /// Where its near end is.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Ends all connections over it, and every new one at once.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Whole again.
    pub fn mend(&self) {
        self.cut.store(false, Ordering::SeqCst);
    }
}

async fn carry(mut near: TcpStream, port: u16, cut: Arc<Notify>) {
    let cut = cut.notified();
    let Ok(mut far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
        () = cut => {}
    }
}
