//! The processes that are tormented: servers and mongods of our own, each ended by its own pid and no other way.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bson::{Document, doc};
use mongodb::Client;

/// What tokens are signed with.
pub const SECRET: &str = "a secret of the chaos runs";
/// How long a process may take to begin.
const BEGIN_WITHIN: Duration = Duration::from_secs(60);

/// A port nobody uses at this moment.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status();
    assert!(sent.is_ok_and(|status| status.success()), "{name} to our own process {pid}");
}

/// A samvad server that is started again and again on the same port.
pub struct Server {
    binary: PathBuf,
    folder: PathBuf,
    settings: Vec<(String, String)>,
    pub port: u16,
    child: Option<Child>,
}

impl Server {
    /// Not started yet. It works in `folder` and logs there.
    pub fn new(binary: &Path, folder: &Path, settings: Vec<(String, String)>) -> Self {
        Self { binary: binary.to_owned(), folder: folder.to_owned(), settings, port: free_port(), child: None }
    }

    /// Starts it and waits until it listens.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "one at a time");
        // A file limit is answered with an error, like a full disk, only where the signal about it is ignored.
        let mut command = Command::new("sh");
        command.arg("-c").arg("trap '' XFSZ; exec \"$0\"").arg(&self.binary);
        command.current_dir(&self.folder).env_clear().envs(self.settings.iter().cloned());
        let profile = [("JWT_SECRET", SECRET), ("RATE_PROFILE", "off"), ("RELATION_CHECK", "off"), ("RUST_LOG", "warn")];
        command.envs(profile).env("PORT", self.port.to_string()).env("DATA_DIR", &self.folder).env("MAX_CONNECTIONS", "30000");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the server starts");
        // Through a pipe: a file of the server's own would feel its file limit.
        let log = File::options().create(true).append(true).open(self.folder.join("server.log")).expect("a log");
        let errors = child.stderr.take().expect("piped");
        std::thread::spawn(move || copy_lines(errors, log));
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
        let listens = lines.any(|line| line.starts_with("Samvad listens on "));
        std::thread::spawn(move || lines.for_each(drop));
        assert!(listens, "the server does not listen; its log is {}", self.folder.join("server.log").display());
        self.child = Some(child);
    }

    /// Its pid while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it still ran");
            child.wait().expect("it is gone");
        }
    }

    /// SIGTERM; the exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        let mut child = self.child.take()?;
        signal(child.id(), "TERM");
        child.wait().expect("it ends").code()
    }

    /// Lets no file of the server grow beyond so many bytes; `None` takes the limit away.
    pub fn limit_files(&self, bytes: Option<u64>) {
        let limit = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
        let pid = self.pid().expect("it runs").to_string();
        let set = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={limit}:unlimited")]).status();
        assert!(set.is_ok_and(|status| status.success()), "prlimit on our own server");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn copy_lines(from: impl std::io::Read, mut to: File) {
    for line in BufReader::new(from).lines().map_while(Result::ok) {
        let _ = writeln!(to, "{line}");
    }
}

/// A redis-server that keeps nothing; it stays on its port.
pub struct Redis {
    port: u16,
    child: Option<Child>,
}

impl Redis {
    /// Starts one on a free port.
    pub fn start() -> Self {
        let mut redis = Self { port: free_port(), child: None };
        redis.start_again();
        redis
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Starts it where it was, empty, and waits until it listens.
    pub fn start_again(&mut self) {
        let mut command = Command::new("redis-server");
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        self.child = Some(child.expect("redis-server is on the PATH: scripts/test installs it"));
        let deadline = Instant::now() + BEGIN_WITHIN;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "redis-server does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it still ran");
            child.wait().expect("it is gone");
        }
    }

    /// SIGSTOP: it keeps its connections and says nothing.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// SIGCONT.
    pub fn go_on(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        signal(self.child.as_ref().expect("it runs").id(), name);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A mongod.
pub struct Mongod {
    binary: PathBuf,
    folder: PathBuf,
    pub port: u16,
    child: Option<Child>,
    paused: bool,
}

impl Mongod {
    fn new(binary: &Path, folder: PathBuf) -> Self {
        Self { binary: binary.to_owned(), folder, port: free_port(), child: None, paused: false }
    }

    /// Starts it; it may take a moment until it answers.
    pub fn start(&mut self) {
        if self.child.is_some() {
            return;
        }
        let data = self.folder.join("data");
        fs::create_dir_all(&data).expect("a folder");
        let log = File::options().create(true).append(true).open(self.folder.join("log")).expect("a log");
        let port = self.port.to_string();
        let child = Command::new(&self.binary)
            .args(["--replSet", "rs0", "--bind_ip", "127.0.0.1", "--port", &port, "--nounixsocket", "--dbpath"])
            .arg(&data)
            .args(["--wiredTigerCacheSizeGB", "0.3", "--oplogSize", "256", "--setParameter", "diagnosticDataCollectionEnabled=false"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("mongod starts");
        self.child = Some(child);
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it still ran");
            child.wait().expect("it is gone");
        }
        self.paused = false;
    }

    /// SIGSTOP: it keeps its connections and says nothing.
    pub fn pause(&mut self) {
        if let Some(child) = &self.child {
            signal(child.id(), "STOP");
            self.paused = true;
        }
    }

    /// SIGCONT.
    pub fn go_on(&mut self) {
        if let Some(child) = self.child.as_ref().filter(|_| self.paused) {
            signal(child.id(), "CONT");
        }
        self.paused = false;
    }
}

impl Drop for Mongod {
    fn drop(&mut self) {
        self.kill();
    }
}

/// One mongod or a replica set of three.
pub struct Database {
    pub members: Vec<Mongod>,
    pub uri: String,
}

impl Database {
    /// Starts so many members in `folder` and waits for a primary.
    pub async fn start(binary: &Path, folder: &Path, members: usize) -> Self {
        for n in 0..members {
            // Of an earlier run, whose ports were others.
            let _ = fs::remove_dir_all(folder.join(format!("mongod{n}")));
        }
        let mut members: Vec<Mongod> = (0..members).map(|n| Mongod::new(binary, folder.join(format!("mongod{n}")))).collect();
        members.iter_mut().for_each(Mongod::start);
        let hosts: Vec<String> = members.iter().map(|m| format!("127.0.0.1:{}", m.port)).collect();
        let config: Vec<Document> = (0_i32..).zip(&hosts).map(|(id, host)| doc! { "_id": id, "host": host }).collect();
        // Elections in seconds, so that a round does not mostly wait for one; a real set takes ten.
        let settings = doc! { "electionTimeoutMillis": 2000, "heartbeatIntervalMillis": 500 };
        let initiate = doc! { "replSetInitiate": { "_id": "rs0", "members": config, "settings": settings } };
        let first = Client::with_uri_str(format!("mongodb://{}/?directConnection=true", hosts[0])).await.expect("a usable URI");
        let deadline = Instant::now() + BEGIN_WITHIN;
        while let Err(e) = first.database("admin").run_command(initiate.clone()).await {
            assert!(Instant::now() < deadline, "mongod does not begin: {e}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let database = Self { members, uri: format!("mongodb://{}/?replicaSet=rs0", hosts.join(",")) };
        database.wait().await;
        database
    }

    /// The member that takes writes now.
    pub async fn primary(&self) -> Option<usize> {
        let client = Client::with_uri_str(format!("{}&serverSelectionTimeoutMS=3000", self.uri)).await.ok()?;
        let hello = client.database("admin").run_command(doc! { "hello": 1 }).await.ok()?;
        let me = hello.get_str("me").ok()?;
        self.members.iter().position(|m| me.ends_with(&format!(":{}", m.port)))
    }

    /// Waits until there is a primary.
    pub async fn wait(&self) {
        let deadline = Instant::now() + BEGIN_WITHIN;
        while self.primary().await.is_none() {
            assert!(Instant::now() < deadline, "no primary after a minute");
        }
    }

    /// Starts what is dead and lets go on what is paused.
    pub fn revive(&mut self) {
        for member in &mut self.members {
            member.go_on();
            member.start();
        }
    }
}
