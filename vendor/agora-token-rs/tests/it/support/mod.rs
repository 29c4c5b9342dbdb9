//! Shared by all tests: the vectors, and comparisons that report instead of panicking so that they can be tested themselves.

pub mod claims;
pub mod decoded;
pub mod zlib;

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agora_token_rs::{AppCertificate, Credentials};
use serde_json::Value;

/// What a check found wrong, if anything.
pub type Checked = Result<(), String>;

pub static VECTORS: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(include_str!("../../data/agora-token-vectors.json")).unwrap());

/// A list of the vectors file, of exactly the expected length: a shortened file must not pass.
pub fn cases(pointer: &str, expected: usize) -> &'static [Value] {
    let cases = VECTORS.pointer(pointer).and_then(Value::as_array).unwrap();
    assert_eq!(cases.len(), expected, "{pointer}");
    cases
}

/// One 007 vector by its id.
pub fn vector_007(id: &str) -> &'static Value {
    cases("/vectors007", 68).iter().find(|case| case["id"] == id).unwrap()
}

/// Runs a check over every case and reports all failures together, by id.
pub fn check_all(cases: &[Value], check: impl Fn(&Value) -> Checked) {
    let failures: Vec<String> = cases.iter().filter_map(|case| check(case).err().map(|why| format!("{}: {why}", case["id"]))).collect();
    assert!(failures.is_empty(), "{} of {} failed:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

pub fn expect_equal<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Checked {
    if found == expected { Ok(()) } else { Err(format!("{what}\n   found {found:?}\nexpected {expected:?}")) }
}

pub fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no text {name} in {value}"))
}

pub fn u32_of(value: &Value) -> u32 {
    u32::try_from(value.as_u64().unwrap()).unwrap()
}

pub fn u16_of(value: &Value) -> u16 {
    u16::try_from(value.as_u64().unwrap()).unwrap()
}

pub fn seconds(value: &Value) -> Duration {
    Duration::from_secs(value.as_u64().unwrap())
}

pub fn moment(unix_seconds: &Value) -> SystemTime {
    UNIX_EPOCH + seconds(unix_seconds)
}

pub fn unix_seconds(moment: SystemTime) -> u64 {
    moment.duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub fn credentials(inputs: &Value) -> Credentials {
    Credentials::parse(text(inputs, "appId"), text(inputs, "appCertificate")).unwrap()
}

pub fn certificate(case: &Value) -> AppCertificate {
    AppCertificate::parse(text(case, "appCertificate")).unwrap()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
