"""Starting and ending what is measured: mongod, the servers, the load generator. Only what was started here is ended, by its process id."""

import http.client
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NODE = ROOT / "bench" / "node"
READY_SECONDS = 300
PATIENCE_SECONDS = 15
FORGOTTEN_SECONDS = 125
# Settings of the server that generated people need: they send more than people do, and come from few addresses.
SAMVAD = {
    "RUST_LOG": "warn",
    "RATE_PROFILE": "off",
    "RELATION_CHECK": "off",
    "MAX_CONNECTIONS": "1000000",
    "MAX_CONNECTIONS_PER_ADDRESS": "1000000",
    "MAX_SOCKETS_PER_IDENTITY": "1000000",
}
# Of the caller's environment; anything else might be a setting of a server.
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "TEST_MONGODB_URI")


class Impossible(Exception):
    """A run could not be made."""


class Running:
    """A server that answers."""

    def __init__(self, subject, process, port, log, started_ms):
        self.subject, self.process, self.port, self.log = subject, process, port, log
        # From the start of the process to the first /ready.
        self.started_ms = started_ms

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def pids(self):
        """Its processes: those of a cluster are children of the first."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return ",".join([str(pid), *children])

    def stop(self, how=signal.SIGTERM):
        """Ends it and tells what it complained of."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return f"{self.subject} did not end within {PATIENCE_SECONDS} s"
        said = [line for line in self.log.read_text(errors="replace").splitlines() if any(w in line for w in ("WARN", "ERROR", "panicked", "Error:"))]
        return f"{self.subject} logged {len(said)} lines, the last: {said[-1]}" if said else None


class Programs:
    """Paths, secrets and data of one bench, gone when it is over."""

    def __init__(self, server, target, data_root):
        self.server = Path(server)
        self.load_binary = target / "release" / "samvad-load"
        self.echo_binary = target / "release" / "samvad-echo"
        self.work = Path(tempfile.mkdtemp(prefix="samvad-bench.", dir=data_root))
        self.secret = os.urandom(32).hex()
        self.mongodb_uri = self.mongod_pid = None
        self.running = None
        self.count = 0
        self.stocked = {}
        self.data = None
        self.talked = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.running:
            self.running.stop()
        if self.mongod_pid:
            subprocess.run([ROOT / "scripts/mongod", "stop", "--dir", self.work / "mongod"], check=False)
        shutil.rmtree(self.work, ignore_errors=True)

    def environment(self, **more):
        return {name: os.environ[name] for name in KEPT if name in os.environ} | {"JWT_SECRET": self.secret} | more

    def start_mongod(self):
        """Starts one for the whole bench, when the first row needs it. One that runs already (TEST_MONGODB_URI) is used, its CPU unknown."""
        if self.mongodb_uri:
            return
        command = [ROOT / "scripts/mongod", "start", "--dir", self.work / "mongod"]
        # A million messages, twice over, are in memory, as on a machine that is meant for them.
        cache = {"MONGOD_CACHE_GB": os.environ.get("MONGOD_CACHE_GB", "4")}
        started = subprocess.run(command, env=os.environ | cache, stdout=subprocess.PIPE, text=True, check=False)
        if started.returncode:
            raise Impossible("mongod did not start")
        self.mongodb_uri = started.stdout.strip()
        pid = self.work / "mongod" / "pid"
        self.mongod_pid = pid.read_text().strip() if pid.exists() else os.environ.get("MONGOD_PID")

    def fresh(self, subject):
        """A folder and a database nobody has used."""
        self.count += 1
        folder = self.work / f"{subject}-{self.count}"
        folder.mkdir()
        return folder, f"samvad_bench_{os.getpid()}_{self.count}"

    def stock(self, subject, conversations, messages, client_ids):
        """The seeded data of a subject, made once: every repeat goes on with it."""
        if subject in self.stocked:
            return self.stocked[subject]
        folder, database = self.fresh(subject)
        flags = ["--conversations", conversations, "--messages", messages, "--label", subject]
        if client_ids:
            flags.append(f"--client-ids={client_ids}")
        if subject == "samvad-sqlite":
            # The tables are the server's own.
            self.start(subject, (folder, database)).stop()
            self.running = None
            self.load("seed", ["--sqlite", folder / "data" / "samvad.db", *flags])
        else:
            self.start_mongod()
            self.load("seed", ["--mongodb-uri", self.mongodb_uri, "--mongodb-db", database, *flags])
        self.stocked[subject] = folder, database
        return folder, database

    def start(self, subject, data=None):
        """Starts a server on this data, or on fresh data, and waits until it is ready."""
        folder, database = data or self.fresh(subject)
        self.data = folder
        # Who comes back within two minutes is told what was said meanwhile, and that is not what is measured.
        time.sleep(max(0, self.talked.get(folder, -FORGOTTEN_SECONDS) + FORGOTTEN_SECONDS - time.monotonic()))
        port = free_port()
        at = {"PORT": str(port), "HOST": "127.0.0.1"}
        where = folder
        if subject != "samvad-sqlite" and subject != "echo":
            self.start_mongod()
            at |= {"MONGODB_URI": self.mongodb_uri, "MONGODB_DB": database}
        if subject.startswith("samvad"):
            # In its own folder, so that no .env of the checkout is read.
            command, at = [self.server], at | SAMVAD | {"DATA_DIR": str(folder / "data")}
        elif subject.startswith("node"):
            command, where = ["node", "cluster.mjs" if subject == "node-cluster" else "server.mjs"], NODE
            at |= {"NODE_ENV": "production"} | {name: os.environ[name] for name in ("WORKERS", "POOL_SIZE", "ORDERED") if name in os.environ}
        else:
            command = [self.echo_binary]
        log = folder / f"log-{port}"
        with log.open("w") as out:
            began = time.monotonic()
            process = subprocess.Popen(command, cwd=where, env=self.environment(**at), stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        self.running = Running(subject, process, port, log, None)
        while not is_ready(port):
            if process.poll() is not None or time.monotonic() - began > READY_SECONDS:
                raise Impossible(f"{subject} did not become ready: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.002)
        self.running.started_ms = (time.monotonic() - began) * 1000
        return self.running

    def stop(self, how=signal.SIGTERM):
        """Ends the server that runs; what it complained of, or None."""
        running, self.running = self.running, None
        return running.stop(how)

    def load(self, mode, flags):
        """Runs the generator and gives its line; what was wrong with the run stands in `faults`."""
        command = [self.load_binary, mode, *map(str, flags)]
        done = subprocess.run(command, env=self.environment(), stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode not in (0, 1):
            raise Impossible(f"samvad-load {mode} ended with {done.returncode}")
        return json.loads(done.stdout)

    def drive(self, mode, flags):
        """Runs the generator against the server that runs."""
        running = self.running
        common = ["--url", running.url, "--label", running.subject, "--server-pid", running.pids]
        if self.mongod_pid and running.subject not in ("samvad-sqlite", "echo"):
            common += ["--mongod-pid", self.mongod_pid]
        if running.subject == "node-cluster":
            # @socket.io/sticky loses one handshake in some thousands when many come at once; stock clients try again too.
            common += ["--sign-in-attempts", "3"]
        line = self.load(mode, [*common, *flags])
        if mode == "chat":
            self.talked[self.data] = time.monotonic()
        return line


def allow_open_files():
    """As many as the system lets us have; gives how many. A connection is one in the server and one in the generator."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def results_file(kind):
    """Where the raw lines of this bench go."""
    results = ROOT / "bench" / "results"
    results.mkdir(exist_ok=True)
    return results / f"{kind}-{datetime.now(timezone.utc).strftime('%Y%m%dT%H%M%SZ')}.jsonl"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def is_ready(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
