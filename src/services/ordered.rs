//! Emissions in the order of the commits: what is stored first in a conversation is heard first, whoever sent it.
//!
//! A send takes its place in the store's queue and in a lane here in one step; each lane then waits for its sends in that
//! order, emits, and only then lets the sender have the answer. Without it two senders' tasks would wake in any order.

use std::sync::{Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tracing::error;

use crate::error::{Error, Result};
use crate::models::ConversationKey;
use crate::store::Pending;

use super::Core;

/// How many lanes; a conversation always uses the same one.
const LANES: usize = 4;
/// Sends a lane holds; when full the sender is told `OVERLOADED`.
const LANE_LEN: usize = 4096;

/// The lanes. Work is anything that must follow a store result in order.
pub(super) struct OrderedLanes {
    lanes: Vec<Mutex<mpsc::Sender<BoxFuture<'static, ()>>>>,
}

impl OrderedLanes {
    /// Starts the lanes' tasks.
    pub fn start(core: &Core) -> Self {
        let lanes = (0..LANES).map(|_| Mutex::new(start_lane(core))).collect();
        Self { lanes }
    }

    /// Enqueues `ask` now, and runs `then` with its result after everything enqueued for this conversation before.
    ///
    /// Errors: `OVERLOADED` at once if the lane is full; then `ask` was not made.
    pub fn enqueue<T: Send + 'static, R: Send + 'static>(
        &self,
        conversation: &ConversationKey,
        ask: impl FnOnce() -> Pending<T>,
        then: impl FnOnce(T) -> R + Send + 'static,
    ) -> Result<Pending<R>> {
        let (answer, answered) = oneshot::channel();
        {
            // The place here and the place in the store's queue are taken under one lock, so that both orders are the same.
            let lane = self.lanes[conversation.lane(LANES)].lock().unwrap_or_else(PoisonError::into_inner);
            let place = lane.try_reserve().map_err(|_| Error::overloaded())?;
            let pending = ask();
            place.send(Box::pin(async move {
                // The asker may have gone; what follows the commit happens all the same.
                let _ = answer.send(pending.await.map(then));
            }));
        }
        Ok(Box::pin(answered.map(|answer| answer.unwrap_or_else(|_| Err(Error::unavailable("the server is stopping"))))))
    }
}

fn start_lane(core: &Core) -> mpsc::Sender<BoxFuture<'static, ()>> {
    let (sender, mut receiver) = mpsc::channel::<BoxFuture<'static, ()>>(LANE_LEN);
    let stop = core.stop.clone();
    core.tasks.spawn(async move {
        loop {
            let work = tokio::select! {
                biased;
                work = receiver.recv() => work,
                () = stop.cancelled() => {
                    receiver.close();
                    receiver.recv().await
                }
            };
            let Some(work) = work else { return };
            if std::panic::AssertUnwindSafe(work).catch_unwind().await.is_err() {
                error!("an emission panicked; the lane goes on");
            }
        }
    });
    sender
}
