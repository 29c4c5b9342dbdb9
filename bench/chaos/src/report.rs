//! Results as people read them: a line for each round, and a table of all.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

/// One round in one line.
pub fn told(line: &Value) -> String {
    let mut text = format!(
        "{} seed {} round {} {}: {} acknowledged, {} stored, {} repeated; heard {}, order checked of {}, second hearing of {}",
        line["store"].as_str().unwrap_or("?"),
        line["seed"],
        line["round"],
        line["fault"].as_str().unwrap_or("?"),
        line["acked"],
        line["stored"],
        line["late"],
        line["heard"],
        line["orderChecked"],
        line["twiceChecked"],
    );
    let counts = ["lost", "doubled", "reordered", "miscounted", "callsWrong", "wrong"];
    for name in counts {
        let all = line[name].as_array().map_or(0, Vec::len);
        let _ = write!(text, ", {all} {name}");
        for one in line[name].as_array().into_iter().flatten().take(3) {
            let _ = write!(text, " [{}]", one.as_str().unwrap_or("?"));
        }
    }
    text
}

/// Prints what a file of results says, as markdown.
pub fn summary(file: &Path) {
    let lines = std::fs::read_to_string(file).expect("a file of results");
    let mut rows: std::collections::BTreeMap<(String, String), [u64; 12]> = std::collections::BTreeMap::new();
    for line in lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let text = |name: &str| line[name].as_str().unwrap_or("?").to_owned();
        let number = |name: &str| line[name].as_u64().unwrap_or(0);
        let count = |name: &str| line[name].as_array().map_or(0, |list| list.len() as u64);
        let row = rows.entry((text("store"), text("fault"))).or_default();
        let sums = [
            1,
            count("faults"),
            number("acked"),
            number("late"),
            count("lost"),
            count("doubled"),
            count("reordered"),
            count("miscounted"),
            number("calls"),
            count("callsWrong"),
            count("wrong"),
        ];
        for (sum, value) in row.iter_mut().zip(sums) {
            *sum += value;
        }
        row[11] = row[11].max(number("slowestMs"));
    }
    println!(
        "| Store | Fault | Rounds | Faults | Acknowledged | of these repeated | Lost | Doubled | Reordered | Miscounted | Calls | Calls wrong | Other faults | Slowest answer |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for ((store, fault), row) in rows {
        let cells: Vec<String> = row[..11].iter().map(u64::to_string).collect();
        println!("| {store} | {fault} | {} | {:.1} s |", cells.join(" | "), row[11] as f64 / 1000.0);
    }
}
