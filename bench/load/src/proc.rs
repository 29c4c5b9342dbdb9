//! What a run cost: CPU seconds and resident memory of other processes, read from `/proc`.

use std::fs;

/// `/proc` counts CPU time in hundredths of a second on every Linux: the unit is part of the kernel's user interface.
const TICKS_PER_SECOND: f64 = 100.0;

/// The processes of one server (several for a cluster) or of one database; empty when not asked for.
#[derive(Clone)]
pub struct Processes(pub Vec<u32>);

impl Processes {
    /// CPU seconds used so far by all of them, in user and kernel together. `None` when there are none or one has ended.
    pub fn cpu_seconds(&self) -> Option<f64> {
        self.sum(|pid| cpu_seconds_in(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?))
    }

    /// Resident memory of all of them in KiB. `None` when there are none or one has ended.
    pub fn rss_kib(&self) -> Option<f64> {
        self.sum(|pid| number_of("VmRSS:", &fs::read_to_string(format!("/proc/{pid}/status")).ok()?))
    }

    fn sum(&self, read: impl Fn(u32) -> Option<f64>) -> Option<f64> {
        if self.0.is_empty() { None } else { self.0.iter().map(|pid| read(*pid)).sum() }
    }
}

/// One reading of every clock, to be subtracted from a later one.
#[derive(Clone, Copy)]
pub struct Reading {
    pub server: Option<f64>,
    pub mongod: Option<f64>,
    pub load: Option<f64>,
}

/// Whose CPU time is read at the edges of the measured window.
#[derive(Clone)]
pub struct Meter {
    pub server: Processes,
    pub mongod: Processes,
}

impl Meter {
    /// Reads all clocks now.
    pub fn read(&self) -> Reading {
        let own = Processes(vec![std::process::id()]);
        Reading { server: self.server.cpu_seconds(), mongod: self.mongod.cpu_seconds(), load: own.cpu_seconds() }
    }
}

impl Reading {
    /// CPU seconds used between `earlier` and this reading.
    pub fn since(self, earlier: Reading) -> Reading {
        let used = |now: Option<f64>, then: Option<f64>| Some(now? - then?);
        Reading {
            server: used(self.server, earlier.server),
            mongod: used(self.mongod, earlier.mongod),
            load: used(self.load, earlier.load),
        }
    }
}

/// How many files this process may hold open; a socket each.
pub fn open_file_limit() -> Option<u64> {
    number_of("Max open files", &fs::read_to_string("/proc/self/limits").ok()?).map(|files| files as u64)
}

fn cpu_seconds_in(stat: &str) -> Option<f64> {
    // The name (field 2) may contain spaces and brackets: count from the last bracket. utime and stime are fields 14 and 15.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let kernel: f64 = fields.next()?.parse().ok()?;
    Some((user + kernel) / TICKS_PER_SECOND)
}

fn number_of(label: &str, file: &str) -> Option<f64> {
    file.lines().find_map(|line| line.strip_prefix(label)?.split_ascii_whitespace().next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 3 0 99 1 2";
        assert_eq!(cpu_seconds_in(stat), Some(3.0));
    }

    #[test]
    fn memory_and_limits_are_read_by_label() {
        assert_eq!(number_of("VmRSS:", "VmSize:\t 9 kB\nVmRSS:\t    1234 kB\n"), Some(1234.0));
        assert!(Processes(vec![std::process::id()]).rss_kib().is_some_and(|kib| kib > 0.0));
        assert!(Processes(vec![]).cpu_seconds().is_none());
    }
}
