//! What all clients of a run count together.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

/// What all of a run share.
#[derive(Default)]
pub struct Tally {
    pub connected: AtomicU64,
    pub connects: AtomicU64,
    pub cuts: AtomicU64,
    pub caught_up: AtomicU64,
    pub unsettled: AtomicU64,
    /// Who has hung up all his calls.
    pub hung_up: AtomicU64,
    /// When the store or the server came back last: call logs of before may be told late. In milliseconds.
    pub back_ms: AtomicI64,
    /// What is answered while something is away; none while nothing is.
    // std Mutex: never held across an await.
    outage: Mutex<Option<Outage>>,
}

/// The answers from a strike until everybody is there again.
#[derive(Debug, Default)]
pub struct Outage {
    pub answers: u64,
    pub slowest: Duration,
    /// Refusals that may be repeated, by their code.
    pub refused: BTreeMap<String, u64>,
}

impl Tally {
    pub fn begin_outage(&self) {
        *self.outage.lock().unwrap_or_else(PoisonError::into_inner) = Some(Outage::default());
    }

    pub fn end_outage(&self) -> Outage {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
    }

    pub fn note_answer(&self, answer: &Value, took: Duration) {
        let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(outage) = outage.as_mut() else { return };
        outage.answers += 1;
        outage.slowest = outage.slowest.max(took);
        if answer["ok"] != true && answer["retryable"] == true {
            *outage.refused.entry(answer["code"].as_str().unwrap_or("?").to_owned()).or_default() += 1;
        }
    }
}
