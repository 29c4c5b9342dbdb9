"""Medians with smallest and largest, as markdown."""

import os
import platform
import subprocess
from statistics import median

from .programs import NODE, ROOT
from .rows import lines

ORDER = ("out_of_order", "out_of_order_by_number", "out_of_order_by_id")


def spread(values, decimals):
    if not values:
        return "–"
    shown = [f"{value:,.{decimals}f}" for value in (median(values), min(values), max(values))]
    return shown[0] if len(values) == 1 else f"{shown[0]} ({shown[1]} to {shown[2]})"


def targets(bench):
    """The table of targets, of the rows that were run, and whether all of them are met."""
    text = ["| Row | Samvad | Held against | Ratio | Target | Met |", "|---|---|---|---|---|---|"]
    all_met = True
    for line in lines(bench.plan):
        ours = bench.values(line.row, line.ours, line.value)
        if not ours:
            continue
        theirs = bench.values(line.their_row or line.row, line.theirs, line.value) if line.theirs else []
        ratio = median(ours) / median(theirs) if theirs and median(theirs) > 0 else None
        met = "–"
        if line.is_met:
            is_met = line.is_met(median(ours), median(theirs) if theirs else None)
            all_met &= is_met
            met = "yes" if is_met else "no"
        against = f"{line.theirs}: {spread(theirs, line.decimals)}" if line.theirs else "–"
        shown_ratio = "–" if ratio is None else f"{ratio:.2f}"
        text.append(f"| {line.title} | {spread(ours, line.decimals)} | {against} | {shown_ratio} | {line.target} | {met} |")
    wrong = sum(sum(mistakes(run)) for (_, subject), runs in bench.results.items() if subject.startswith("samvad") for run in runs)
    faulty = sum(1 for (_, subject), runs in bench.results.items() if subject.startswith("samvad") for run in runs if run.get("faults"))
    all_met &= not (wrong or faulty)
    runs = sum(len(runs) for (_, subject), runs in bench.results.items() if subject.startswith("samvad"))
    met = "no" if wrong or faulty else "yes"
    text.append(f"| lost, doubled, out of order | {wrong} in {runs} runs, {faulty} runs with any fault | – | – | 0 | {met} |")
    return "\n".join(text), all_met


def mistakes(run):
    count = lambda names: sum(run.get(name) or 0 for name in names)  # noqa: E731
    return count(("lost", "lost_at_sender")), count(("doubled",)), count(ORDER)


# What a mode counts, and where its latency is.
MODES = {
    "chat": ("durable_per_s", "peer_ms"), "room": ("delivered_per_s", "peer_ms"), "typing": ("events_per_s", "peer_ms"),
    "calls": ("calls_per_s", "cycle_ms"), "history": ("pages_per_s", "page_ms"), "connect": ("sign_ins_per_s", "sign_in_ms"),
    "floor-mongo": ("messages_per_s", "batch_ms"), "floor-sqlite": ("messages_per_s", "batch_ms"),
    "idle": ("rss_per_connection_kib", None),
}  # fmt: skip


def details(bench):
    """Every group of runs: rate, latency, CPU, mistakes."""
    text = [
        "| Row | Program | per s (idle: KiB each) | p50 ms | p99 ms | server CPU s per 1,000 | mongod CPU s per 1,000 | lost / doubled / out of order | faults |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (row, subject), runs in bench.results.items():
        if runs[0]["mode"] not in MODES:
            continue
        rate, latency = MODES[runs[0]["mode"]]
        values = lambda *path: [v for v in (dig(run, *path) for run in runs) if v is not None]  # noqa: E731, B023
        wrong = " / ".join(str(sum(counts)) for counts in zip(*(mistakes(run) for run in runs)))
        faulty = [run["faults"] for run in runs if run.get("faults")]
        fault = f"{len(faulty)} of {len(runs)} runs: {', '.join(faulty[0])}" if faulty else ""
        figures = [
            spread(values(rate), 1 if rate == "rss_per_connection_kib" else 0),
            spread(values(latency, "p50"), 1) if latency else "–",
            spread(values(latency, "p99"), 1) if latency else "–",
            spread(values("server_cpu_s_per_1000"), 3),
            spread(values("mongod_cpu_s_per_1000"), 3),
        ]
        text.append(f"| {row} | {subject} | {' | '.join(figures)} | {wrong} | {fault} |")
    return "\n".join(text)


def dig(run, *path):
    for name in path:
        run = (run or {}).get(name)
    return run


def conditions(bench):
    """What the figures were made with."""
    plan = bench.plan
    model = next((line.partition(":")[2].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown CPU")
    versions = {
        "commit": said(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"]) + ("+" if said(["git", "-C", ROOT, "status", "--porcelain", "-uno"]) else ""),
        "rustc": said(["rustc", "--version"]).removeprefix("rustc ").split(" (")[0],
        "Node": said(["node", "--version"]),
        "socket.io": said(["node", "-p", "require('socket.io/package.json').version"], NODE),
        "mongoose": said(["node", "-p", "require('mongoose/package.json').version"], NODE),
    }
    return (
        f"{plan.seconds} s after {plan.warmup} s of warm-up, {plan.repeats} runs each in alternation: median (smallest to largest).\n"
        f"{os.cpu_count()} cores, {model}, Linux {platform.release()}; server, database and generator on the same machine.\n"
        + ", ".join(f"{name} {version}" for name, version in versions.items() if version)
        + "."
    )


def said(command, cwd=None):
    try:
        return subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout.strip()
    except OSError:
        return ""
