//! What somebody spends on several nodes, counted together a moment later: no request ever waits for it.
//!
//! Each node lets through what its own counters allow and adds it up in Redis four times a second; whoever has spent too much
//! altogether is refused everywhere until it is paid for. So on `n` nodes at once at most `n` bursts get through at first, and in the
//! long run no more than on one. Without Redis each node counts for itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use moka::sync::Cache;

use crate::bus::{Bus, SharedRule, Spent};
use crate::models::Participant;

use super::Core;
use super::limits::{Allowance, Limited, RateRules};

/// How often what was spent is added up.
const ADDED_UP_EVERY: Duration = Duration::from_millis(250);
/// Sums of one question.
const AT_ONCE: usize = 500;
/// How many are remembered as having spent too much, and how long at most: the longest time anything is counted in.
const HELD: u64 = 100_000;
const HELD_FOR: Duration = Duration::from_secs(3600);

type Key = (Participant, Limited);

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct SharedLimits(Arc<Inner>);

struct Inner {
    bus: Bus,
    rules: RateRules,
    // std Mutex: never held across an await.
    spent: Mutex<HashMap<Key, u32>>,
    /// Until when somebody has to wait.
    held: Cache<Key, Instant>,
}

impl SharedLimits {
    pub fn start(core: &Arc<Core>, bus: Bus) -> Self {
        let held = Cache::builder().max_capacity(HELD).time_to_live(HELD_FOR).build();
        let this = Self(Arc::new(Inner { bus, rules: core.rules.rates.clone(), spent: Mutex::default(), held }));
        let (shared, stop) = (this.clone(), core.stop.clone());
        core.tasks.spawn(async move {
            while stop.run_until_cancelled(tokio::time::sleep(ADDED_UP_EVERY)).await.is_some() {
                shared.add_up().await;
            }
        });
        this
    }

    fn spent(&self) -> MutexGuard<'_, HashMap<Key, u32>> {
        self.0.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long somebody has to wait because of what he spent on all nodes.
    pub fn check(&self, who: &Participant, what: Limited) -> Result<(), Duration> {
        let until = self.0.held.get(&(who.clone(), what));
        let wait = until.map(|until| until.saturating_duration_since(Instant::now())).filter(|wait| !wait.is_zero());
        wait.map_or(Ok(()), Err)
    }

    /// Takes note that somebody was allowed so much; nothing only asks what others noted.
    pub fn note(&self, who: Participant, what: Limited, n: u32) {
        let mut spent = self.spent();
        let sum = spent.entry((who, what)).or_default();
        *sum = sum.saturating_add(n);
    }

    async fn add_up(&self) {
        let spent: Vec<(Key, u32)> = std::mem::take(&mut *self.spent()).into_iter().collect();
        for some in spent.chunks(AT_ONCE) {
            let question: Vec<Spent> = some.iter().filter_map(|((who, what), n)| self.spent_as(who, *what, *n)).collect();
            // Not repeated: it may have been counted, and an outage is not paid for later.
            let Some(waits) = self.0.bus.spend(&question).await else { continue };
            for (((who, what), _), wait) in some.iter().zip(waits) {
                let key = (who.clone(), *what);
                if wait.is_zero() { self.0.held.invalidate(&key) } else { self.0.held.insert(key, Instant::now() + wait) }
            }
        }
    }

    fn spent_as(&self, who: &Participant, what: Limited, n: u32) -> Option<Spent> {
        let Allowance { burst, count, per, strict } = self.0.rules.allowance(who.kind(), what)?;
        let rule = if strict { SharedRule::Window { count, per } } else { SharedRule::Bucket { burst, interval: per / count.max(1) } };
        Some(Spent { key: format!("{what:?}:{who}"), n, rule })
    }
}
