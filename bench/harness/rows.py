"""What is measured and what is asked of it. A row is some runs, made in alternation; a line of the table compares two groups of them."""

import os
import signal
import subprocess
from dataclasses import dataclass, field
from statistics import median
from tempfile import NamedTemporaryFile
from typing import Callable

OURS = ["samvad-mongodb", "samvad-sqlite"]
# The lanes of the server's MongoDB store, one for every two cores: with so many batches under way, each holds this share of the senders.
LANES = max(1, min(4, len(os.sched_getaffinity(0)) // 2))


@dataclass
class Plan:
    """Flags of bench/run."""

    seconds: int
    warmup: int
    repeats: int
    senders: int
    messages: int
    conversations: int
    client_ids: str
    connections: list
    churn_minutes: int
    cluster: bool
    node_max: float | None
    floor_batch: int | None

    @property
    def window(self):
        return ["--seconds", self.seconds, "--warmup", self.warmup]

    @property
    def opponents(self):
        return ["node", "node-cluster"] if self.cluster else ["node"]

    @property
    def batch(self):
        return self.floor_batch or max(1, self.senders // LANES)


@dataclass
class Bench:
    """One bench: its programs, its flags, and what came out so far, by row and subject."""

    programs: object
    plan: Plan
    note: Callable
    results: dict = field(default_factory=dict)

    def add(self, row, subject, line):
        self.results.setdefault((row, subject), []).append(line)
        self.note(row, subject, line)

    def values(self, row, subject, value):
        lines = self.results.get((row, subject), [])
        return [v for v in map(value, lines) if v is not None]

    def against(self, row, subject, mode, flags, stocked=False, name=None):
        """One run of the generator against a server started for it; kept under its name, if that is not the subject."""
        plan, programs = self.plan, self.programs
        data = programs.stock(subject, plan.conversations, plan.messages, plan.client_ids) if stocked else None
        programs.start(subject, data)
        try:
            line = programs.drive(mode, flags)
        finally:
            complaint = programs.stop()
        if complaint:
            line["complaint"] = complaint
        self.add(row, name or subject, line)


def figure(*path, scale=1.0):
    """Reads a number of a JSON line."""

    def read(line):
        for name in path:
            line = (line or {}).get(name)
        return None if line is None else line * scale

    return read


def per_cpu_second(line):
    cost = line.get("server_cpu_s_per_1000")
    return 1000 / cost if cost else None


# Rows: what is run in each repeat.


def chat(bench):
    plan = bench.plan
    for subject in [*plan.opponents, *OURS]:
        bench.against("chat", subject, "chat", ["--senders", plan.senders, *plan.window])
    floor_mongo(bench, "chat", stocked=False)
    bench.against("chat", "echo", "chat", ["--senders", plan.senders, *plan.window])


def chat_1m(bench):
    plan = bench.plan
    flags = ["--senders", plan.senders, "--seeded", plan.conversations, f"--client-ids={plan.client_ids}", *plan.window]
    for subject in [*plan.opponents[:1], *OURS]:
        bench.against("chat-1m", subject, "chat", flags, stocked=True)
    floor_mongo(bench, "chat-1m", stocked=True)
    floor_sqlite(bench, "chat-1m")


def floor_mongo(bench, row, stocked):
    """The floor beside a row: the same collections, with the indexes the server made, in batches of the server's size."""
    plan, programs = bench.plan, bench.programs
    data = programs.stock("samvad-mongodb", plan.conversations, plan.messages, plan.client_ids) if stocked else programs.fresh("floor")
    programs.start_mongod()
    store = ["--mongodb-uri", programs.mongodb_uri, "--mongodb-db", data[1]]
    if not stocked:
        programs.load("seed", [*store, "--messages", 0, "--conversations", plan.senders])
    programs.start("samvad-mongodb", data)
    programs.stop()
    conversations = plan.conversations if stocked else plan.senders
    flags = ["--batch", plan.batch, "--writers", LANES, "--active", plan.senders, "--conversations", conversations]
    if stocked:
        flags.append(f"--client-ids={plan.client_ids}")
    pid = ["--mongod-pid", programs.mongod_pid] if programs.mongod_pid else []
    bench.add(row, "floor", programs.load("floor-mongo", [*store, *flags, *pid, *plan.window]))


def floor_sqlite(bench, row):
    plan, programs = bench.plan, bench.programs
    folder, _ = programs.stock("samvad-sqlite", plan.conversations, plan.messages, plan.client_ids)
    flags = ["--sqlite", folder / "data" / "samvad.db", "--batch", plan.senders, "--active", plan.senders]
    flags += ["--conversations", plan.conversations, f"--client-ids={plan.client_ids}"]
    bench.add(row, "floor-sqlite", programs.load("floor-sqlite", [*flags, *plan.window]))


def open_loop(bench):
    """Seven tenths of what Node can, for both; and for us five times that."""
    plan = bench.plan
    most = plan.node_max or median(bench.values("chat", "node", figure("durable_per_s")) or [0])
    if not most:
        bench.against("chat", "node", "chat", ["--senders", plan.senders, *plan.window])
        most = median(bench.values("chat", "node", figure("durable_per_s")))
    rate = round(0.7 * most, 1)
    flags = ["--senders", 100, *plan.window]
    for subject in ["node", *OURS]:
        bench.against("open", subject, "chat", [*flags, "--rate", rate])
    for subject in OURS:
        bench.against("open-5x", subject, "chat", [*flags, "--rate", 5 * rate])


def typing(bench):
    for subject in [*bench.plan.opponents, "samvad-mongodb", "echo"]:
        bench.against("typing", subject, "typing", bench.plan.window)


def room(bench):
    for subject in ["node", "samvad-mongodb"]:
        bench.against("room", subject, "room", ["--listeners", 500, *bench.plan.window])


def calls(bench):
    for subject in [*bench.plan.opponents, *OURS]:
        bench.against("calls", subject, "calls", ["--callers", 64, *bench.plan.window])


def history(bench):
    for subject in ["node", *OURS]:
        bench.against("history", subject, "history", ["--seeded", bench.plan.conversations, *bench.plan.window], stocked=True)


def idle(bench):
    for connections in bench.plan.connections:
        for subject in ["node", "samvad-mongodb", "echo"]:
            flags = ["--connections", connections, "--spread", "--seconds", min(bench.plan.seconds, 10), "--warmup", 3]
            bench.against(f"idle-{connections}", subject, "idle", flags)


def connect(bench):
    for subject in [*bench.plan.opponents, "samvad-mongodb", "echo"]:
        bench.against("connect", subject, "connect", bench.plan.window)


def cold(bench):
    """From the start of the process to the first /ready, after a clean end and after kill -9."""
    plan, programs = bench.plan, bench.programs
    data = programs.stock("samvad-sqlite", plan.conversations, plan.messages, plan.client_ids)
    for row, end in [("cold", signal.SIGTERM), ("cold-killed", signal.SIGKILL)]:
        programs.start("samvad-sqlite", data)
        programs.stop(end)
        line = {"mode": "cold", "label": "samvad-sqlite", "ready_ms": programs.start("samvad-sqlite", data).started_ms}
        programs.stop()
        bench.add(row, "samvad-sqlite", line)


def size(bench):
    with NamedTemporaryFile(dir=bench.programs.work) as copy:
        subprocess.run(["strip", "-o", copy.name, bench.programs.server], check=True)
        mb = copy.seek(0, 2) / 1e6
    bench.add("size", "samvad", {"mode": "size", "label": "samvad", "mb": mb})


def churn(bench):
    seconds = bench.plan.churn_minutes * 60
    settle = 300 if seconds > 600 else seconds // 2
    for subject in OURS:
        bench.against("churn", subject, "churn", ["--seconds", seconds, "--settle", settle])


ROWS = {
    "chat": chat, "open": open_loop, "typing": typing, "room": room, "calls": calls,
    # Reads what is stored, so before the row that writes more into it.
    "history": history, "chat-1m": chat_1m,
    "idle": idle, "connect": connect, "cold": cold, "size": size, "churn": churn,
}  # fmt: skip
# Their result does not change from one run to the next, or takes too long.
ONCE = {"size", "churn"}


@dataclass
class Line:
    """A line of the table: our figure, what it is held against, and what is asked of it."""

    title: str
    row: str
    ours: str
    theirs: str | None
    value: Callable
    decimals: int
    target: str
    is_met: Callable | None
    their_row: str | None = None


def at_least(ratio):
    return f"≥ {ratio:g} ×", lambda ours, theirs: theirs is not None and ours >= ratio * theirs


def at_most(ratio):
    return f"≤ {ratio:g} ×", lambda ours, theirs: theirs is not None and ours <= ratio * theirs


def no_more_than(limit, unit):
    return f"≤ {limit:g} {unit}", lambda ours, _theirs: ours <= limit


SHOWN = ("–", None)


def lines(plan):
    """The table of targets."""
    durable, p99 = figure("durable_per_s"), figure("peer_ms", "p99")
    per_connection = figure("rss_per_connection_kib")
    stored = f"{plan.messages:,} stored"
    idle_lines = [
        Line(f"idle memory per connection, {n:,} of them, KiB", f"idle-{n}", "samvad-mongodb", "node", per_connection, 1, *no_more_than(18, "KiB"))
        for n in plan.connections
    ]
    mongodb, sqlite = OURS
    return [
        Line(f"durable chat on MongoDB, {plan.senders} senders, messages/s", "chat", mongodb, "node", durable, 0, *at_least(10)),
        Line(f"– held against mongod alone, batches of {plan.batch}", "chat", mongodb, "floor", any_rate, 0, *at_least(0.6)),
        Line(f"– with {stored}, each with a client id", "chat-1m", mongodb, "node", durable, 0, *at_least(6)),
        Line("– the same, held against mongod alone", "chat-1m", mongodb, "floor", any_rate, 0, *SHOWN),
        Line("durable chat on SQLite, messages/s (Node on MongoDB)", "chat", sqlite, "node", durable, 0, *at_least(8)),
        Line(f"– with {stored}, held against SQLite alone", "chat-1m", sqlite, "floor-sqlite", any_rate, 0, *SHOWN),
        Line("messages per server CPU second, MongoDB", "chat", mongodb, "node", per_cpu_second, 0, *at_least(15)),
        Line("p99 send to received at 70 % of Node's most, ms, MongoDB", "open", mongodb, "node", p99, 1, *at_most(0.1)),
        Line("– the same, SQLite", "open", sqlite, "node", p99, 1, *at_most(0.1)),
        Line("– at five times that rate, MongoDB (Node at one time)", "open-5x", mongodb, "node", p99, 1, *at_most(1), their_row="open"),
        Line("– the same, SQLite", "open-5x", sqlite, "node", p99, 1, *at_most(1), their_row="open"),
        Line("typing events/s", "typing", mongodb, "node", figure("events_per_s"), 0, *at_least(3)),
        Line("calls/s, MongoDB", "calls", mongodb, "node", figure("calls_per_s"), 0, *at_least(5)),
        Line("calls/s, SQLite (Node on MongoDB)", "calls", sqlite, "node", figure("calls_per_s"), 0, *at_least(5)),
        Line(f"history pages/s, {stored}, MongoDB", "history", mongodb, "node", figure("pages_per_s"), 0, *at_least(4)),
        Line(f"history pages/s, {stored}, SQLite (Node on MongoDB)", "history", sqlite, "node", figure("pages_per_s"), 0, *at_least(10)),
        *idle_lines,
        Line("sign-ins/s", "connect", mongodb, "node", figure("sign_ins_per_s"), 0, *at_least(5)),
        Line("deliveries/s in a room of 500", "room", mongodb, "node", figure("delivered_per_s"), 0, *SHOWN),
        Line(f"cold start to ready, {stored}, SQLite, ms", "cold", sqlite, None, figure("ready_ms"), 1, *no_more_than(100, "ms")),
        Line("– after kill -9", "cold-killed", sqlite, None, figure("ready_ms"), 1, *no_more_than(100, "ms")),
        Line("binary, stripped, MB", "size", "samvad", None, figure("mb"), 1, *no_more_than(25, "MB")),
        Line(f"growth over {plan.churn_minutes} minutes of churn, %, MongoDB", "churn", mongodb, None, figure("growth_percent"), 1, *no_more_than(10, "%")),
        Line("– the same, SQLite", "churn", sqlite, None, figure("growth_percent"), 1, *no_more_than(10, "%")),
    ]


def any_rate(line):
    """Messages per second of a chat run or of a floor."""
    return line.get("durable_per_s", line.get("messages_per_s"))
