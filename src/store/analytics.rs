//! What the dashboard asks of storage: counts over a bounded stretch of time, and days that were counted already.

use std::time::Duration;

use async_trait::async_trait;

use crate::error::Result;
use crate::models::analytics::{CallTally, Day, DayTotals, MessageTally};
use crate::models::{Call, Timestamp};

/// How long a call may last before its day may have been counted for good, with clocks that differ.
const LONG_CALL: Duration = Duration::from_secs(23 * 3600);

/// Whether the day of a call that moves on at `at` may have been counted for good.
pub(super) fn counted_already(call: &Call, at: Timestamp) -> bool {
    at.since(call.initiated_at) >= LONG_CALL
}

/// Counting for the dashboard. A day that is over is counted once and kept; what changes it later says so by its version.
#[async_trait]
pub trait AnalyticsStore: Send + Sync + 'static {
    /// Messages from `from` up to but not including `to`, which are of one day of UTC, in groups, in no order.
    ///
    /// Found by the time in their ids, so reading costs as much as there was in that time, and writing a message costs nothing more.
    async fn tally_messages(&self, from: Timestamp, to: Timestamp) -> Result<Vec<MessageTally>>;

    /// The same for calls, by when they began, as they are now.
    async fn tally_calls(&self, from: Timestamp, to: Timestamp) -> Result<Vec<CallTally>>;

    /// Conversations of an astrologer with an admin, and with a user, in which something was said since, and something is left of it.
    async fn count_active(&self, since: Timestamp) -> Result<[u64; 2]>;

    /// The versions of these days; a day that is not here has version 0. The version grows when a message of the day is deleted for
    /// everyone, and when a call that began a day ago moves on.
    async fn day_versions(&self, from: Day, to: Day) -> Result<Vec<(Day, u64)>>;

    /// What was kept of these days, in no order; days of which nothing is, or is true no longer, are left out.
    async fn kept_days(&self, from: Day, to: Day) -> Result<Vec<CountedDay>>;

    /// Keeps the totals of days whose version is still the same. Returns how many are kept.
    async fn keep_days(&self, days: Vec<CountedDay>) -> Result<usize>;
}

/// A day that was counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedDay {
    /// Which.
    pub day: Day,
    /// Its version before it was counted.
    pub version: u64,
    /// What was counted.
    pub totals: DayTotals,
}
