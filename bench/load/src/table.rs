//! Mode `table`: medians with smallest and largest over repeated chat or calls runs, as markdown.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use crate::report::Problem;

#[derive(Args)]
pub struct Options {
    /// Files with JSON lines of chat and calls runs; other modes in them are skipped.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// One figure: its heading, where it is in a line, and how many decimals are shown.
type Figure = (&'static str, &'static str, usize);

/// What the table of one mode shows.
struct Layout {
    mode: &'static str,
    /// The field that says how many took part; its name is the heading.
    size: &'static str,
    figures: &'static [Figure],
    mistakes: &'static str,
    /// The fields summed up for each part of `mistakes`.
    counts: [&'static [&'static str]; 3],
}

const LAYOUTS: [Layout; 2] = [
    Layout {
        mode: "chat",
        size: "senders",
        figures: &[
            ("durable/s", "/durable_per_s", 0),
            ("delivered/s", "/delivered_per_s", 0),
            ("ack p50 ms", "/ack_ms/p50", 2),
            ("ack p99 ms", "/ack_ms/p99", 2),
            ("heard p50 ms", "/peer_ms/p50", 2),
            ("heard p99 ms", "/peer_ms/p99", 2),
            ("server CPU s / 1,000", "/server_cpu_s_per_1000", 3),
            ("mongod CPU s / 1,000", "/mongod_cpu_s_per_1000", 3),
        ],
        mistakes: "lost / doubled / out of order",
        counts: [&["lost", "lost_at_sender"], &["doubled"], &["out_of_order_by_number", "out_of_order_by_id"]],
    },
    Layout {
        mode: "calls",
        size: "callers",
        figures: &[
            ("calls/s", "/calls_per_s", 0),
            ("incoming p50 ms", "/incoming_ms/p50", 2),
            ("incoming p99 ms", "/incoming_ms/p99", 2),
            ("accepted p50 ms", "/accepted_ms/p50", 2),
            ("accepted p99 ms", "/accepted_ms/p99", 2),
            ("ended p50 ms", "/ended_ms/p50", 2),
            ("ended p99 ms", "/ended_ms/p99", 2),
            ("cycle p50 ms", "/cycle_ms/p50", 2),
            ("cycle p99 ms", "/cycle_ms/p99", 2),
            ("server CPU s / 1,000", "/server_cpu_s_per_1000", 3),
            ("mongod CPU s / 1,000", "/mongod_cpu_s_per_1000", 3),
        ],
        mistakes: "lost / doubled / refused",
        counts: [&["lost", "unanswered"], &["doubled"], &["refused"]],
    },
];

/// Prints a table for each mode that occurs, with one row for each label and load; false when any run had a fault.
pub fn print(options: &Options) -> Result<bool, Problem> {
    let mut runs = Vec::new();
    for file in &options.files {
        let text = fs::read_to_string(file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            runs.push(serde_json::from_str(line).map_err(|e| format!("{}: not a JSON line: {e}", file.display()))?);
        }
    }
    let tables: Vec<_> = LAYOUTS.iter().filter_map(|layout| table(layout, &runs)).collect();
    if tables.is_empty() {
        return Err("there is no chat or calls run in these files".to_owned());
    }
    let (texts, verdicts): (Vec<_>, Vec<_>) = tables.into_iter().unzip();
    print!("{}", texts.join("\n"));
    Ok(verdicts.into_iter().all(|well| well))
}

/// The table of one mode and whether all its runs were without fault; `None` when there is no such run.
fn table(layout: &Layout, runs: &[Value]) -> Option<(String, bool)> {
    let mut groups: BTreeMap<(String, u64, String), Vec<&Value>> = BTreeMap::new();
    for run in runs.iter().filter(|run| run["mode"] == layout.mode) {
        let label = run["label"].as_str().unwrap_or_default().to_owned();
        groups.entry((label, run[layout.size].as_u64().unwrap_or(0), load_of(run))).or_default().push(run);
    }
    if groups.is_empty() {
        return None;
    }
    let headings: Vec<_> = layout.figures.iter().map(|(heading, ..)| *heading).collect();
    let mut text = format!("| store | {} | load | runs | {} | {} |\n", layout.size, headings.join(" | "), layout.mistakes);
    text += &format!("|---|---|---|---|{}---|\n", "---|".repeat(headings.len()));
    let mut all_well = true;
    for ((label, size, load), runs) in &groups {
        let figures: Vec<_> = layout.figures.iter().map(|(_, place, decimals)| spread(runs, place, *decimals)).collect();
        let count = |names: &[&str]| -> u64 { runs.iter().flat_map(|run| names.iter().map(|name| run[*name].as_u64().unwrap_or(0))).sum() };
        let [first, second, third] = layout.counts.map(count);
        let faulty = runs.iter().filter(|run| run["faults"].as_array().is_some_and(|faults| !faults.is_empty())).count();
        let remark = if faulty == 0 { String::new() } else { format!(" ({faulty} runs FAILED)") };
        all_well &= faulty == 0;
        let figures = figures.join(" | ");
        text += &format!("| {label} | {size} | {load} | {} | {figures} | {first} / {second} / {third}{remark} |\n", runs.len());
    }
    Some((text, all_well))
}

fn load_of(run: &Value) -> String {
    let load = match run["rate"].as_f64() {
        Some(rate) => format!("{rate}/s"),
        // Calls are one at a time always.
        None => format!("{} each", run["outstanding"].as_u64().unwrap_or(1)),
    };
    match run["client_ids"].as_str() {
        Some(kind) => format!("{load}, {kind} client ids"),
        None => load,
    }
}

/// "median (smallest–largest)", or a dash when no run has the figure.
fn spread(runs: &[&Value], place: &str, decimals: usize) -> String {
    let mut values: Vec<f64> = runs.iter().filter_map(|run| run.pointer(place)?.as_f64()).collect();
    values.sort_by(f64::total_cmp);
    match (values.first(), values.last()) {
        (Some(smallest), Some(largest)) => {
            let upper = values[values.len() / 2];
            let lower = values[(values.len() - 1) / 2];
            format!("{:.decimals$} ({smallest:.decimals$}–{largest:.decimals$})", (lower + upper) / 2.0)
        }
        _ => "–".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_spread_is_the_median_with_both_ends() {
        let runs = [json!({"a": 3.0}), json!({"a": 1.0}), json!({"a": 2.5})];
        let runs: Vec<_> = runs.iter().collect();
        assert_eq!(spread(&runs, "/a", 1), "2.5 (1.0–3.0)");
        assert_eq!(spread(&runs, "/b", 1), "–");
    }

    #[test]
    fn a_mode_that_does_not_occur_has_no_table_and_a_fault_is_remarked() {
        let run = json!({"mode": "calls", "label": "sqlite", "callers": 8, "calls_per_s": 120.0, "doubled": 2, "faults": ["2 doubled"]});
        let tables: Vec<_> = LAYOUTS.iter().filter_map(|layout| table(layout, std::slice::from_ref(&run))).collect();
        let [(text, well)] = tables.as_slice() else { panic!("one table") };
        assert!(
            text.contains("| sqlite | 8 | 1 each | 1 | 120 (120–120) |") && text.ends_with("| 0 / 2 / 0 (1 runs FAILED) |\n"),
            "{text}"
        );
        assert!(!well);
    }
}
