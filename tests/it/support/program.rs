//! The real program in a process of its own, ended by its pid.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use samvad::models::{Participant, ParticipantKind};

/// The secret these programs sign tokens with.
pub const SECRET: &str = "a secret of the crash tests";

/// A running program.
pub struct Program {
    child: Child,
    printed: Arc<Mutex<String>>,
    /// Where it listens, as `http://…`.
    pub url: String,
}

impl Program {
    /// Starts it on `folder`, or on a database (URI, name), with further settings.
    pub fn start(folder: &Path, mongo: Option<&(String, String)>, settings: &[(&str, &str)]) -> Self {
        Self::start_logging_to(Stdio::inherit(), folder, mongo, settings)
    }

    /// The same with its log lines written elsewhere.
    pub fn start_logging_to(log: Stdio, folder: &Path, mongo: Option<&(String, String)>, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_samvad"));
        command.current_dir(folder).env_clear();
        command
            .envs([("PORT", "0"), ("JWT_SECRET", SECRET), ("RUST_LOG", "warn"), ("RATE_PROFILE", "off"), ("RELATION_CHECK", "off")])
            .env("DATA_DIR", folder);
        command.envs(settings.iter().copied());
        if let Some((uri, database)) = mongo {
            command.envs([("MONGODB_URI", uri), ("MONGODB_DB", database)]);
        }
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let url = lines.find_map(|line| {
            let line = line.expect("text");
            let url = line.strip_prefix("Samvad listens on ")?.split(' ').next()?;
            Some(url.to_owned())
        });
        // What is printed later must not fill the pipe.
        let printed = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&printed);
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| *kept.lock().expect("not poisoned") += &line));
        Self { child, printed, url: url.expect("it prints where it listens") }
    }

    /// What it printed after the line that says where it listens.
    pub fn printed(&self) -> String {
        self.printed.lock().expect("not poisoned").clone()
    }

    /// Its resident memory.
    pub fn rss_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it still runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// SIGTERM, to this pid alone; it must end in order.
    pub fn end(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("it runs").success());
        assert!(self.child.wait().expect("it ends").success(), "an orderly end");
    }

    /// SIGKILL, to this pid alone.
    pub fn kill(mut self) {
        self.child.kill().expect("it still ran");
        self.child.wait().expect("it is gone");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // A test that failed leaves none behind; one that was killed is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A token these programs believe.
pub fn token(kind: ParticipantKind, id: &str) -> String {
    let person = Participant::new(kind, id).expect("legal");
    samvad::auth::Verifier::new(SECRET, None).mint(&person, None, Duration::from_secs(600)).expect("signs")
}

/// What a command of the program said, and whether it went well.
pub struct Said {
    /// Whether its exit code was 0.
    pub ok: bool,
    /// What it printed.
    pub out: String,
    /// What it complained of.
    pub err: String,
}

/// Runs a command of the program on `folder`, or on a database (URI, name).
pub fn command(arguments: &[&str], folder: &Path, mongo: Option<&(String, String)>, settings: &[(&str, &str)]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_samvad"));
    command.args(arguments).current_dir(folder).env_clear().env("JWT_SECRET", SECRET).env("DATA_DIR", folder);
    if let Some((uri, database)) = mongo {
        command.envs([("MONGODB_URI", uri), ("MONGODB_DB", database)]);
    }
    command.envs(settings.iter().copied());
    let output = command.output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Said { ok: output.status.success(), out: text(output.stdout), err: text(output.stderr) }
}

/// A folder and, where asked for, a database of its own: where a command and a server find the same store.
pub struct Place {
    /// The working folder and `DATA_DIR`.
    pub folder: tempfile::TempDir,
    /// URI and name.
    pub mongo: Option<(String, String)>,
}

impl Place {
    /// An empty embedded store.
    pub fn embedded() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), mongo: None }
    }

    /// An empty database.
    pub fn mongodb() -> Self {
        Self { mongo: Some((super::stores::mongo_uri(), super::stores::fresh_database())), ..Self::embedded() }
    }

    /// Runs a command.
    pub fn command(&self, arguments: &[&str]) -> Said {
        command(arguments, self.folder.path(), self.mongo.as_ref(), &[])
    }

    /// Runs a command that goes well; what it printed.
    pub fn done(&self, arguments: &[&str]) -> String {
        let said = self.command(arguments);
        assert!(said.ok, "{arguments:?}: {}{}", said.out, said.err);
        said.out
    }

    /// Starts a server.
    pub fn serve(&self) -> Program {
        Program::start(self.folder.path(), self.mongo.as_ref(), &[])
    }

    /// What is stored, while nobody serves it.
    pub async fn store(&self) -> std::sync::Arc<dyn samvad::store::Store> {
        match &self.mongo {
            None => std::sync::Arc::new(samvad::store::sqlite::SqliteStore::open(self.folder.path()).expect("opens")),
            Some((_, database)) => super::stores::mongodb(database).await,
        }
    }

    /// Removes the database, if there is one.
    pub async fn done_with(self) {
        if let Some((_, database)) = &self.mongo {
            super::stores::drop_database(database).await;
        }
    }
}
