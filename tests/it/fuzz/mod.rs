//! Fuzzing on the stable toolchain: five groups of input that strangers choose, each with what must hold whatever they send.
//!
//! A plain test run repeats the committed seeds (`seeds/*.txt`) and takes a few seconds. `SAMVAD_FUZZ_SECONDS=600` gives every group that
//! long beside them, with seeds of its own, and prints how many inputs it tried. What fails is made small and named with its seed:
//! add the seed to the group's file, and the input as a test of its own to `found.rs`.

mod claims;
mod found;
mod garbage;
mod ids;
mod payloads;
mod rest;
mod sockets;
mod tokens;

use std::cell::Cell;
use std::time::{Duration, Instant};

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseResult, TestRng, TestRunner};

/// The codes of docs/protocol.md#error-codes, which is a closed list.
pub const CODES: &[&str] = &[
    "auth.missing",
    "auth.invalid",
    "auth.expired",
    "auth.session_replaced",
    "auth.suspended",
    "INVALID_PAYLOAD",
    "INVALID_ID",
    "CONTENT_TOO_LONG",
    "PAYLOAD_TOO_LARGE",
    "CONVERSATION_NOT_FOUND",
    "MESSAGE_NOT_FOUND",
    "CALL_NOT_FOUND",
    "MEDIA_NOT_FOUND",
    "MEDIA_REFUSED",
    "DM_JOIN_FORBIDDEN",
    "SELF_CONVERSATION_BLOCKED",
    "NOT_RELATED",
    "FORBIDDEN",
    "RATE_LIMITED",
    "CALL_NOT_RINGING",
    "CALL_OVER",
    "CALLEE_BUSY",
    "ANSWERED_ELSEWHERE",
    "CONFLICT",
    "OVERLOADED",
    "UNAVAILABLE",
    "UNKNOWN_EVENT",
    "NOT_FOUND",
    "INTERNAL",
];

/// One group of inputs: counts what it tried and knows how long it may go on.
pub struct Group {
    name: &'static str,
    seeds: Vec<u64>,
    /// How long each of its checks may go on beyond the committed seeds.
    share: Duration,
    tried: Cell<u64>,
}

impl Group {
    /// A group whose time is divided among this many checks. `seeds` is its file: a number a line, `#` begins a remark.
    pub fn new(name: &'static str, seeds: &str, checks: u32) -> Self {
        let numbers = seeds.lines().map(|line| line.split('#').next().unwrap_or_default().trim()).filter(|line| !line.is_empty());
        let seeds = numbers.map(|number| number.parse().expect("a seed is a number")).collect();
        let seconds = std::env::var("SAMVAD_FUZZ_SECONDS").ok().map_or(0, |text| text.parse().expect("SAMVAD_FUZZ_SECONDS is a number"));
        Self { name, seeds, share: Duration::from_secs(seconds) / checks, tried: Cell::new(0) }
    }

    /// Tries `inputs` of every committed seed, then of fresh ones while there is time. Panics with the smallest input that fails.
    pub fn check<S: Strategy>(&self, what: &str, inputs: u32, strategy: &S, check: impl Fn(S::Value) -> TestCaseResult) {
        let begun = Instant::now();
        let fresh = std::iter::repeat_with(rand::random::<u64>).take_while(|_| begun.elapsed() < self.share);
        let before = self.tried.get();
        for seed in self.seeds.iter().copied().chain(fresh) {
            let config = Config { cases: inputs, failure_persistence: None, max_shrink_iters: 4_000, ..Config::default() };
            let bytes: Vec<u8> = seed.to_le_bytes().repeat(4);
            let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
            let outcome = runner.run(strategy, |input| {
                self.tried.set(self.tried.get() + 1);
                check(input)
            });
            if let Err(failed) = outcome {
                panic!("{} / {what}, seed {seed}: {failed}", self.name);
            }
        }
        let tried = self.tried.get() - before;
        println!("fuzz {} / {what}: {tried} inputs in {:.1} s", self.name, begun.elapsed().as_secs_f64());
    }
}
