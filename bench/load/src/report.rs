//! How a run is told: one JSON line on standard output for programs, one line on standard error for people, and a verdict.

use serde_json::{Map, Value, json};

use crate::proc::Reading;
use crate::stage::Common;

/// Why a run could not be made, as a sentence.
pub type Problem = String;

/// The result of one run.
pub struct Report {
    fields: Map<String, Value>,
    human: String,
    faults: Vec<String>,
}

impl Report {
    /// Starts with what every mode has.
    pub fn new(mode: &str, common: &Common) -> Self {
        let mut report = Self::plain(mode, &common.label);
        report.put("seconds", common.seconds);
        report.put("warmup", common.warmup);
        report
    }

    /// Starts the report of what is no run against a server.
    pub fn plain(mode: &str, label: &str) -> Self {
        let fields = Map::from_iter([("mode".to_owned(), json!(mode)), ("label".to_owned(), json!(label))]);
        Self { fields, human: format!("{mode} {label}"), faults: Vec::new() }
    }

    /// Adds a field to the JSON line.
    pub fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.fields.insert(name.to_owned(), value.into());
    }

    /// Adds a number with three decimals at most; `None` becomes `null`.
    pub fn put_number(&mut self, name: &str, value: Option<f64>) {
        self.put(name, value.map(|v| (v * 1000.0).round() / 1000.0));
    }

    /// Adds a count; anything but zero makes the run a failed one.
    pub fn put_fault(&mut self, name: &str, count: u64) {
        self.put(name, count);
        if count > 0 {
            self.fault(format!("{count} {}", name.replace('_', " ")));
        }
    }

    /// Makes the run a failed one, for a reason that is no count.
    pub fn fault(&mut self, what: String) {
        self.faults.push(what);
    }

    /// Adds CPU seconds, in all and per 1,000 of what was done in the window.
    pub fn put_cpu(&mut self, used: Reading, done: u64) {
        for (who, seconds) in [("server", used.server), ("mongod", used.mongod), ("load", used.load)] {
            self.put_number(&format!("{who}_cpu_s"), seconds);
            let per_1000 = seconds.filter(|_| done > 0).map(|s| s * 1000.0 / done as f64);
            self.put_number(&format!("{who}_cpu_s_per_1000"), per_1000);
        }
    }

    /// Adds to the line for people.
    pub fn say(&mut self, text: &str) {
        self.human.push_str(text);
    }

    /// Prints both lines; true when nothing was wrong.
    pub fn tell(mut self) -> bool {
        self.put("faults", self.faults.clone());
        println!("{}", Value::Object(self.fields));
        let verdict = if self.faults.is_empty() { "ok".to_owned() } else { format!("FAILED: {}", self.faults.join(", ")) };
        eprintln!("{}; {verdict}", self.human);
        self.faults.is_empty()
    }
}

/// A CPU figure for people.
pub fn shown(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "?".to_owned(), |s| format!("{s:.2}"))
}
