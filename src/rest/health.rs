//! Is it alive, and may traffic be sent to it.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::bus::BusHealth;
use crate::models::Timestamp;
use crate::store::trouble;

use super::RestState;
use super::error::unready;

/// How long an answer of the store counts, so that a probe cannot be used to load it.
const FRESH_FOR: Duration = Duration::from_millis(500);

/// When this began, and the last answer of the store.
pub(super) struct Readiness {
    started: Instant,
    // Held across the question on purpose: probes at the same time share one answer.
    last: Mutex<Option<(Instant, Result<(), &'static str>)>>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self { started: Instant::now(), last: Mutex::default() }
    }
}

impl Readiness {
    /// How long this runs.
    pub(super) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Whether the store takes writes, as it was half a second ago at most.
pub(super) async fn is_writable(state: &RestState) -> bool {
    check_store(state).await.is_ok()
}

/// The same, and why it does not: words of ours, because probes and balancers show and keep what they are told.
async fn check_store(state: &RestState) -> Result<(), &'static str> {
    let mut last = state.readiness.last.lock().await;
    match *last {
        Some((at, outcome)) if at.elapsed() < FRESH_FOR => outcome,
        _ => {
            let outcome = state.services.core().store.check_writable().await.map_err(|e| trouble::in_words(&e));
            *last = Some((Instant::now(), outcome));
            outcome
        }
    }
}

/// `GET /health`: the process runs. Says nothing about the store.
pub(super) async fn live(State(state): State<RestState>) -> Json<Value> {
    let core = state.services.core();
    Json(json!({
        "status": "ok",
        "uptime": state.readiness.uptime().as_secs(),
        "timestamp": Timestamp::now(),
        "socketio": { "totalConnections": core.delivery.connections() },
        "mongodb": core.store.engine() == "mongodb",
        "store": core.store.engine(),
    }))
}

/// `GET /ready`: the store takes writes, and the server is not going down. 503 otherwise.
pub(super) async fn ready(State(state): State<RestState>) -> Result<Json<Value>, Response> {
    if state.draining.load(Ordering::SeqCst) {
        return Err(unready("the server is going down".into()));
    }
    check_store(&state).await.map_err(|why| unready(format!("the store does not take writes: {why}")))?;
    let core = state.services.core();
    let mut answer = json!({ "status": "ready", "store": core.store.engine() });
    if let Some(bus) = &core.bus {
        // Without it this node serves all the same; what its clients miss of other nodes they fetch later.
        let BusHealth { up, nodes, told, heard, lost, gaps, why } = bus.health();
        let status = if up { "up" } else { "down" };
        answer["bus"] = json!({ "status": status, "otherNodes": nodes, "told": told, "heard": heard, "lost": lost, "gaps": gaps });
        if let Some(why) = why {
            answer["bus"]["why"] = why.into();
        }
    }
    Ok(Json(answer))
}
