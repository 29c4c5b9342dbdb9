//! A real Redis Cluster of the test's own: three masters, each with a replica that takes over.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Members and where they keep what they know of each other.
pub struct RedisCluster {
    members: Vec<Member>,
    _folder: TempDir,
}

struct Member {
    port: u16,
    child: Child,
}

impl Drop for Member {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The bus of a member listens at its port and ten thousand.
fn free_ports() -> u16 {
    loop {
        let port = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound").port() % 20_000 + 30_000;
        if [port, port + 10_000].into_iter().all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return port;
        }
    }
}

fn cli(port: u16, words: &[&str]) -> String {
    let output = Command::new("redis-cli").args(["-p", &port.to_string()]).args(words).output().expect("redis-cli comes with redis-server");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn within(what: &str, mut done: impl FnMut() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < give_up, "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

impl RedisCluster {
    /// Starts one and waits until all its slots are served.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let members: Vec<Member> = (0..6)
            .map(|_| {
                let port = free_ports();
                let own = folder.path().join(port.to_string());
                std::fs::create_dir(&own).expect("a folder");
                let mut command = Command::new("redis-server");
                command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
                command.args(["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--dir"]).arg(own);
                Member { port, child: command.stdout(Stdio::null()).spawn().expect("redis-server is on the PATH: run scripts/test") }
            })
            .collect();
        for member in &members {
            within("a member listens", || cli(member.port, &["ping"]).contains("PONG"));
        }
        let addresses: Vec<String> = members.iter().map(|member| format!("127.0.0.1:{}", member.port)).collect();
        let addresses = addresses.iter().map(String::as_str);
        let words: Vec<&str> =
            ["--cluster", "create"].into_iter().chain(addresses).chain(["--cluster-replicas", "1", "--cluster-yes"]).collect();
        cli(members[0].port, &words);
        for member in &members {
            within("the cluster is whole", || cli(member.port, &["cluster", "info"]).contains("cluster_state:ok"));
        }
        let cluster = Self { members, _folder: folder };
        within("every master has its replica", || {
            cluster.members.iter().filter(|m| cli(m.port, &["info", "replication"]).contains("master_link_status:up")).count() == 3
        });
        cluster
    }

    /// All members, as a setting names them.
    pub fn url(&self) -> String {
        let urls: Vec<String> = self.members.iter().map(|member| format!("redis://127.0.0.1:{}", member.port)).collect();
        urls.join(",")
    }

    /// SIGKILL to the master that keeps a name; its replica takes over a moment later.
    pub fn kill_keeper_of(&mut self, name: &str) {
        // A line for each member: id, address, flags and so on; a master's ends with the slots it keeps.
        let asked = self.members[0].port;
        let slot: u32 = cli(asked, &["cluster", "keyslot", name]).trim().parse().expect("a number");
        let nodes = cli(asked, &["cluster", "nodes"]);
        let master = nodes.lines().find_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let keeps = words.iter().skip(8).any(|range| {
                let (from, to) = range.split_once('-').unwrap_or((range, range));
                from.parse::<u32>().is_ok_and(|from| from <= slot) && to.parse::<u32>().is_ok_and(|to| slot <= to)
            });
            let port = words.get(1)?.split(['@', ':']).nth(1)?;
            keeps.then(|| port.parse::<u16>().expect("a port"))
        });
        let master = master.unwrap_or_else(|| panic!("somebody keeps slot {slot}: {nodes}"));
        self.members.retain(|member| member.port != master);
    }
}
