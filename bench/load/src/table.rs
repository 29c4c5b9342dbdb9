//! Mode `table`: medians with smallest and largest over repeated chat runs, as markdown.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use crate::report::Problem;

#[derive(Args)]
pub struct Options {
    /// Files with JSON lines of chat runs; other modes in them are skipped.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// One figure: its heading, where it is in a line, and how many decimals are shown.
const FIGURES: [(&str, &str, usize); 8] = [
    ("durable/s", "/durable_per_s", 0),
    ("delivered/s", "/delivered_per_s", 0),
    ("ack p50 ms", "/ack_ms/p50", 2),
    ("ack p99 ms", "/ack_ms/p99", 2),
    ("heard p50 ms", "/peer_ms/p50", 2),
    ("heard p99 ms", "/peer_ms/p99", 2),
    ("server CPU s / 1,000", "/server_cpu_s_per_1000", 3),
    ("mongod CPU s / 1,000", "/mongod_cpu_s_per_1000", 3),
];

/// Prints one row for each label and load; false when any run had a fault.
pub fn print(options: &Options) -> Result<bool, Problem> {
    let mut groups: BTreeMap<(String, u64, String), Vec<Value>> = BTreeMap::new();
    for file in &options.files {
        let text = fs::read_to_string(file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let run: Value = serde_json::from_str(line).map_err(|e| format!("{}: not a JSON line: {e}", file.display()))?;
            if run["mode"] == "chat" {
                let label = run["label"].as_str().unwrap_or_default().to_owned();
                groups.entry((label, run["senders"].as_u64().unwrap_or(0), load_of(&run))).or_default().push(run);
            }
        }
    }
    let headings = FIGURES.map(|(heading, ..)| heading).join(" | ");
    println!("| store | senders | load | runs | {headings} | lost / doubled / out of order |");
    println!("|---|---|---|---|{}---|", "---|".repeat(FIGURES.len()));
    let mut all_well = true;
    for ((label, senders, load), runs) in &groups {
        let figures = FIGURES.map(|(_, place, decimals)| spread(runs, place, decimals)).join(" | ");
        let count = |names: &[&str]| -> u64 { runs.iter().flat_map(|run| names.iter().map(|name| run[*name].as_u64().unwrap_or(0))).sum() };
        let lost = count(&["lost", "lost_at_sender"]);
        let disorder = count(&["out_of_order_by_number", "out_of_order_by_id"]);
        let faulty = runs.iter().filter(|run| run["faults"].as_array().is_some_and(|faults| !faults.is_empty())).count();
        let remark = if faulty == 0 { String::new() } else { format!(" ({faulty} runs FAILED)") };
        all_well &= faulty == 0;
        println!("| {label} | {senders} | {load} | {} | {figures} | {lost} / {} / {disorder}{remark} |", runs.len(), count(&["doubled"]));
    }
    Ok(all_well)
}

fn load_of(run: &Value) -> String {
    let load = match run["rate"].as_f64() {
        Some(rate) => format!("{rate}/s"),
        None => format!("{} each", run["outstanding"]),
    };
    if run["client_ids"] == true { format!("{load}, client ids") } else { load }
}

/// "median (smallest–largest)", or a dash when no run has the figure.
fn spread(runs: &[Value], place: &str, decimals: usize) -> String {
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
        assert_eq!(spread(&runs, "/a", 1), "2.5 (1.0–3.0)");
        assert_eq!(spread(&runs, "/b", 1), "–");
    }
}
