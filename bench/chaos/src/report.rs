//! Results as people read them: a line for each round, and a table of all.

use std::collections::BTreeMap;
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

/// Prints what a file of results says, as markdown: what was found, and what was done.
pub fn summary(file: &Path) {
    let lines = std::fs::read_to_string(file).expect("a file of results");
    let lines: Vec<Value> = lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    found(&lines);
    println!();
    done(&lines);
}

fn number(line: &Value, name: &str) -> u64 {
    line[name].as_u64().unwrap_or(0)
}

fn text(line: &Value, name: &str) -> String {
    line[name].as_str().unwrap_or("?").to_owned()
}

/// By store and fault, what all rounds came to.
fn found(lines: &[Value]) {
    const SUMS: usize = 16;
    let mut rows: BTreeMap<(String, String), ([u64; SUMS], u64)> = BTreeMap::new();
    for line in lines {
        let count = |name: &str| line[name].as_array().map_or(0, |list| list.len() as u64);
        let (sums, slowest) = rows.entry((text(line, "store"), text(line, "fault"))).or_default();
        let values: [u64; SUMS] = [
            1,
            count("faults"),
            number(line, "acked"),
            number(line, "late"),
            number(line, "heard"),
            number(line, "orderChecked"),
            number(line, "twiceChecked"),
            number(line, "histories"),
            count("lost"),
            count("doubled"),
            count("reordered"),
            count("miscounted"),
            number(line, "calls"),
            count("callsWrong"),
            number(line, "refusedConnects"),
            count("wrong"),
        ];
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += value;
        }
        *slowest = (*slowest).max(number(line, "slowestMs"));
    }
    println!(
        "| Store | Fault | Rounds | Faults | Acknowledged | of these repeated | Heard | for the order | for doubles | Histories | Lost | Doubled \
         | Reordered | Miscounted | Calls | Calls wrong | Refused at connect | Other faults | Slowest answer |"
    );
    println!("|---|---|{}", "---:|".repeat(SUMS + 1));
    for ((store, fault), (sums, slowest)) in rows {
        let cells: Vec<String> = sums.iter().map(u64::to_string).collect();
        println!("| {store} | {fault} | {} | {:.1} s |", cells.join(" | "), slowest as f64 / 1000.0);
    }
}

/// By kind of fault, when it struck, how long something was away, and what clients got meanwhile.
fn done(lines: &[Value]) {
    let mut rows: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for fault in lines.iter().flat_map(|line| line["faults"].as_array().into_iter().flatten()) {
        rows.entry(text(fault, "fault")).or_default().push(fault);
    }
    println!(
        "| Fault | Times | after, ms | down, ms | away, ms | /ready said 503 after, at most | Answers meanwhile | refused | Slowest |"
    );
    println!("|---|---:|---|---|---|---:|---:|---:|---:|");
    for (kind, faults) in rows {
        let range = |name: &str| {
            let all = || faults.iter().filter_map(|fault| fault[name].as_u64());
            all().min().zip(all().max()).map_or("–".to_owned(), |(least, most)| format!("{least} to {most}"))
        };
        // Each kind has one of the two; what else was drawn is of no consequence.
        let kept_away = matches!(kind.as_str(), "KillMongod" | "PauseMongod" | "FillStore" | "KillRedis" | "PauseRedis");
        let (down, away) = if kept_away { ("–".to_owned(), range("awayMs")) } else { (range("downMs"), "–".to_owned()) };
        let most = |name: &str| faults.iter().filter_map(|fault| fault[name].as_u64()).max();
        let noticed = most("noticedMs").map_or("–".to_owned(), |ms| format!("{:.1} s", ms as f64 / 1000.0));
        let answers: u64 = faults.iter().map(|fault| number(fault, "answers")).sum();
        let refused = faults.iter().flat_map(|fault| fault["refused"].as_object().into_iter().flat_map(|codes| codes.values()));
        let refused: u64 = refused.filter_map(Value::as_u64).sum();
        let slowest = most("slowestMs").map_or("–".to_owned(), |ms| format!("{:.1} s", ms as f64 / 1000.0));
        println!("| {kind} | {} | {} | {down} | {away} | {noticed} | {answers} | {refused} | {slowest} |", faults.len(), range("afterMs"));
    }
}
