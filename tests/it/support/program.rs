//! The real program in a process of its own, ended by its pid.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use samvad::models::{Participant, ParticipantKind};

const SECRET: &str = "a secret of the crash tests";

/// A running program.
pub struct Program {
    child: Child,
    /// Where it listens, as `http://…`.
    pub url: String,
}

impl Program {
    /// Starts it on `folder`, or on a database (URI, name), with further settings.
    pub fn start(folder: &Path, mongo: Option<&(String, String)>, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_samvad"));
        command.current_dir(folder).env_clear();
        command.envs([("PORT", "0"), ("JWT_SECRET", SECRET), ("RUST_LOG", "warn")]).env("DATA_DIR", folder);
        command.envs(settings.iter().copied());
        if let Some((uri, database)) = mongo {
            command.envs([("MONGODB_URI", uri), ("MONGODB_DB", database)]);
        }
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let url = lines.find_map(|line| {
            let line = line.expect("text");
            let url = line.strip_prefix("Samvad listens on ")?.split(' ').next()?;
            Some(url.to_owned())
        });
        // What is printed later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url: url.expect("it prints where it listens") }
    }

    /// SIGKILL, to this pid alone.
    pub fn kill(mut self) {
        self.child.kill().expect("it still ran");
        self.child.wait().expect("it is gone");
    }
}

/// A token these programs believe.
pub fn token(kind: ParticipantKind, id: &str) -> String {
    let person = Participant::new(kind, id).expect("legal");
    samvad::auth::Verifier::new(SECRET, None).mint(&person, None, Duration::from_secs(600)).expect("signs")
}
