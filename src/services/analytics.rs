//! The figures of the dashboard, which are shown to admins alone.
//!
//! A day that is over is counted once and kept in the store; of today only what came since the last look is counted. So a look costs what
//! happened lately, however long the period and however much is stored; sending a message costs nothing.
//! Source of the definitions: docs/protocol.md#analytics.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::auth::CurrentUser;
use crate::error::{Error, Result};
use crate::models::analytics::{Activity, AstrologerDay, Counts, Day, DayTotals, Outcomes, Talked};
use crate::models::{Participant, ParticipantKind, Timestamp};
use crate::store::analytics::CountedDay;

use super::Core;
use super::guard::Guard;
use super::limits::Limited;
use super::profiles::Profiles;

/// How long an answer is given again: a dashboard asks six questions about one period at once, and reloads at will.
const SHOWN_FOR: Duration = Duration::from_secs(5);
/// Days are kept this long after their end: by then calls are over, and messages of the last second have arrived.
const SETTLED_AFTER: Duration = Duration::from_secs(24 * 3600);
/// How long a message may be on its way into the store, with clocks of several servers that differ.
const ARRIVED_AFTER: Duration = Duration::from_secs(120);
/// How long a look is waited for; counting goes on, and the next look finds more.
const COUNT_WITHIN: Duration = Duration::from_secs(8);
/// Days read, counted and kept together.
const DAYS_AT_ONCE: usize = 10;
/// The most astrologers of a list.
const MOST_ASTROLOGERS: usize = 1_000;

/// How far back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeriodLength(u16);

impl PeriodLength {
    /// Reads `1d`, `7d`, `30d`, `90d` or `1y`; anything else is seven days.
    pub fn parse(word: &str) -> Self {
        Self(match word {
            "1d" => 1,
            "30d" => 30,
            "90d" => 90,
            "1y" => 365,
            _ => 7,
        })
    }
}

/// Whose messages and calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Those of astrologers with anybody.
    #[default]
    All,
    /// Those of astrologers with admins.
    Admins,
    /// Those of astrologers with users.
    Users,
}

impl Scope {
    /// Reads the words of the dashboard. `None` for anything else.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "all" => Some(Self::All),
            "admin-astrologer" => Some(Self::Admins),
            "customer-astrologer" => Some(Self::Users),
            _ => None,
        }
    }

    fn of<T: Copy>(self, pair: &[T; 2]) -> impl Iterator<Item = T> {
        let [admins, users] = *pair;
        let chosen = match self {
            Self::All => [Some(admins), Some(users)],
            Self::Admins => [Some(admins), None],
            Self::Users => [None, Some(users)],
        };
        chosen.into_iter().flatten()
    }

    fn sum<T: Copy + Default + std::ops::AddAssign>(self, pair: &[T; 2]) -> T {
        let mut sum = T::default();
        self.of(pair).for_each(|one| sum += one);
        sum
    }
}

/// What happened in whole days of UTC, the last of which is today.
pub struct Period {
    settled: Arc<Settled>,
    /// The last days, which are not settled.
    recent: Vec<(Day, Arc<DayTotals>)>,
    active: [u64; 2],
}

/// The sum of days that are over.
#[derive(Default)]
struct Settled {
    /// Which days, and the version of each.
    of: Vec<(Day, u64)>,
    days: Vec<(Day, [Counts; 2], [Outcomes; 2])>,
    hours: [[Counts; 24]; 2],
    astrologers: BTreeMap<String, AstrologerDay>,
}

impl Settled {
    fn add(&mut self, day: Day, totals: DayTotals) {
        self.days.push((day, totals.counts(), totals.outcomes));
        for (sums, hours) in self.hours.iter_mut().zip(&totals.hours) {
            sums.iter_mut().zip(hours).for_each(|(sum, hour)| *sum += *hour);
        }
        for (id, astrologer) in totals.astrologers {
            let sum = self.astrologers.entry(id).or_default();
            // The newest name is the one that counts.
            sum.name = astrologer.name.or(sum.name.take());
            sum.with.iter_mut().zip(astrologer.with).for_each(|(sum, activity)| *sum += activity);
        }
    }
}

/// One day of a period.
pub struct DayFigures {
    /// Which.
    pub day: Day,
    /// What happened.
    pub counts: Counts,
    /// How the calls went.
    pub outcomes: Outcomes,
}

/// One astrologer over a period.
pub struct AstrologerFigures {
    /// The id.
    pub id: String,
    /// The name, if it is known.
    pub name: Option<String>,
    /// What he did.
    pub activity: Activity,
}

impl Period {
    /// Day by day, in order, days without anything included.
    pub fn by_day(&self, scope: Scope) -> Vec<DayFigures> {
        let recent = self.recent.iter().map(|(day, totals)| (*day, totals.counts(), totals.outcomes));
        let days = self.settled.days.iter().copied().chain(recent);
        days.map(|(day, counts, outcomes)| DayFigures { day, counts: scope.sum(&counts), outcomes: scope.sum(&outcomes) }).collect()
    }

    /// The 24 hours of a day, over all days.
    pub fn by_hour(&self, scope: Scope) -> [Counts; 24] {
        let mut hours = [Counts::default(); 24];
        for pair in std::iter::once(&self.settled.hours).chain(self.recent.iter().map(|(_, totals)| &totals.hours)) {
            for of_pair in scope.of(pair) {
                hours.iter_mut().zip(of_pair).for_each(|(sum, hour)| *sum += hour);
            }
        }
        hours
    }

    fn astrologers(&self) -> impl Iterator<Item = (&String, &AstrologerDay)> {
        self.settled.astrologers.iter().chain(self.recent.iter().flat_map(|(_, totals)| &totals.astrologers))
    }

    /// Calls that lasted, of both kinds.
    pub fn talked(&self, scope: Scope) -> Talked {
        let mut talked = Talked::default();
        for (_, astrologer) in self.astrologers() {
            let Activity { voice, video, .. } = scope.sum(&astrologer.with);
            talked += voice;
            talked += video;
        }
        talked
    }

    /// Conversations in which something was said.
    pub fn active_conversations(&self, scope: Scope) -> u64 {
        scope.of(&self.active).sum()
    }

    fn by_astrologer(&self, scope: Scope) -> Vec<AstrologerFigures> {
        let mut sums: HashMap<&str, (Option<&str>, Activity)> = HashMap::new();
        for (id, astrologer) in self.astrologers() {
            let (name, sum) = sums.entry(id).or_default();
            *name = astrologer.name.as_deref().or(*name);
            *sum += scope.sum(&astrologer.with);
        }
        let figures = |(id, (name, activity)): (&str, (Option<&str>, Activity))| AstrologerFigures {
            id: id.to_owned(),
            name: name.map(str::to_owned),
            activity,
        };
        sums.into_iter().map(figures).collect()
    }
}

/// Messages of a day that is not settled.
#[derive(Clone)]
struct Begun {
    version: u64,
    /// Counted up to here. Calls are not counted: they may go on.
    up_to: Timestamp,
    totals: Arc<DayTotals>,
}

/// What the last looks left.
#[derive(Default)]
struct Left {
    shown: HashMap<PeriodLength, (Instant, Arc<Period>)>,
    /// One sum for each length.
    settled: HashMap<PeriodLength, Arc<Settled>>,
    /// Today and a day or two before.
    begun: HashMap<Day, Begun>,
}

/// Counts. Cheap to clone.
#[derive(Clone)]
pub struct Analytics(Arc<Inner>);

struct Inner {
    core: Arc<Core>,
    guard: Guard,
    profiles: Profiles,
    /// One look at a time: the next one finds what it left.
    turn: Semaphore,
    // std Mutex: never held across an await.
    left: Mutex<Left>,
}

impl Analytics {
    pub(super) fn new(core: Arc<Core>, guard: Guard, profiles: Profiles) -> Self {
        Self(Arc::new(Inner { core, guard, profiles, turn: Semaphore::new(1), left: Mutex::default() }))
    }

    fn left(&self) -> MutexGuard<'_, Left> {
        self.0.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shown_lately(&self, length: PeriodLength) -> Option<Arc<Period>> {
        self.left().shown.get(&length).filter(|(at, _)| at.elapsed() < SHOWN_FOR).map(|(_, period)| Arc::clone(period))
    }

    /// A period that ends now; at most five seconds old. The caller has checked that an admin asks.
    ///
    /// Errors: `UNAVAILABLE` when there is so much to count for the first time that it takes longer than a client waits; asking again
    /// goes on.
    pub async fn period(&self, admin: &CurrentUser, length: PeriodLength) -> Result<Arc<Period>> {
        self.0.guard.limits.count(admin, Limited::Other)?;
        if let Some(period) = self.shown_lately(length) {
            return Ok(period);
        }
        // A task of its own: who gives up waiting must not undo what was counted, or a large day would never be done.
        let (this, stop) = (self.clone(), self.0.core.stop.clone());
        let counting = self.0.core.tasks.spawn(async move { stop.run_until_cancelled(this.count_in_turn(length)).await });
        let counted = timeout(COUNT_WITHIN, counting).await;
        let counted = counted.map_err(|_| Error::unavailable("the days of the dashboard are still being counted"))?;
        counted.map_err(Error::internal)?.unwrap_or_else(|| Err(Error::unavailable("the server stops")))
    }

    async fn count_in_turn(&self, length: PeriodLength) -> Result<Arc<Period>> {
        let _turn = self.0.turn.acquire().await.map_err(Error::internal)?;
        if let Some(period) = self.shown_lately(length) {
            return Ok(period);
        }
        let period = self.count(length).await?;
        self.left().shown.insert(length, (Instant::now(), Arc::clone(&period)));
        Ok(period)
    }

    async fn count(&self, length: PeriodLength) -> Result<Arc<Period>> {
        let store = &self.0.core.store;
        let now = self.0.core.now();
        let today = Day::of(now);
        let days: Vec<Day> = today.last(length.0).collect();
        let first = days.first().copied().unwrap_or(today);
        // Before anything is counted: what changes from here on is counted again by whoever looks next.
        let versions: HashMap<Day, u64> = store.day_versions(first, today).await?.into_iter().collect();
        let versioned = days.into_iter().map(|day| (day, versions.get(&day).copied().unwrap_or(0)));
        let (settled, recent): (Vec<_>, Vec<_>) = versioned.partition(|(day, _)| now >= day.end().plus(SETTLED_AFTER));
        self.left().begun.retain(|day, _| recent.iter().any(|(of, _)| of == day));
        let settled = self.settled(length, settled).await?;
        let mut of_recent = Vec::with_capacity(recent.len());
        for (day, version) in recent {
            of_recent.push((day, self.unsettled(day, version, now).await?));
        }
        Ok(Arc::new(Period { settled, recent: of_recent, active: store.count_active(first.start()).await? }))
    }

    /// The sum of days that are over, each as it was kept, or counted now and kept.
    async fn settled(&self, length: PeriodLength, of: Vec<(Day, u64)>) -> Result<Arc<Settled>> {
        let known = self.left().settled.get(&length).filter(|known| known.of == of).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let (mut sum, mut all_kept) = (Settled::default(), true);
        let store = &self.0.core.store;
        for some in of.chunks(DAYS_AT_ONCE) {
            let (Some((first, _)), Some((last, _))) = (some.first(), some.last()) else { continue };
            let kept = store.kept_days(*first, *last).await?.into_iter();
            let mut kept: HashMap<(Day, u64), DayTotals> = kept.map(|day| ((day.day, day.version), day.totals)).collect();
            let (mut counted, mut failed) = (Vec::new(), None);
            for (day, version) in some.iter().copied() {
                let totals = match kept.remove(&(day, version)) {
                    Some(totals) => totals,
                    None => match self.count_day(day).await {
                        Ok(totals) => {
                            counted.push(CountedDay { day, version, totals: totals.clone() });
                            totals
                        }
                        Err(e) => {
                            failed = Some(e);
                            break;
                        }
                    },
                };
                sum.add(day, totals);
            }
            let wanted = counted.len();
            // Also when the next one failed: whoever looks again goes on from here.
            all_kept &= wanted == 0 || store.keep_days(counted).await? == wanted;
            if let Some(e) = failed {
                return Err(e);
            }
        }
        sum.of = of;
        let sum = Arc::new(sum);
        if all_kept {
            self.left().settled.insert(length, Arc::clone(&sum));
        }
        Ok(sum)
    }

    async fn count_day(&self, day: Day) -> Result<DayTotals> {
        let (store, start, end) = (&self.0.core.store, day.start(), day.end());
        let (messages, calls) = futures_util::try_join!(store.tally_messages(start, end), store.tally_calls(start, end))?;
        let mut totals = DayTotals::default();
        totals.add_messages(messages);
        totals.add_calls(calls);
        Ok(totals)
    }

    /// A day that is not over, or only just: messages that have surely arrived are counted once, the last ones and calls every time.
    async fn unsettled(&self, day: Day, version: u64, now: Timestamp) -> Result<Arc<DayTotals>> {
        let store = &self.0.core.store;
        let begun = self.left().begun.get(&day).filter(|begun| begun.version == version).cloned();
        let begun = begun.unwrap_or_else(|| Begun { version, up_to: day.start(), totals: Arc::default() });
        let mut totals = DayTotals::clone(&begun.totals);
        let arrived = now.minus(ARRIVED_AFTER).min(day.end()).max(begun.up_to);
        if arrived > begun.up_to {
            totals.add_messages(store.tally_messages(begun.up_to, arrived).await?);
            self.left().begun.insert(day, Begun { version, up_to: arrived, totals: Arc::new(totals.clone()) });
        }
        if arrived < day.end() {
            totals.add_messages(store.tally_messages(arrived, day.end()).await?);
        }
        totals.add_calls(store.tally_calls(day.start(), day.end()).await?);
        Ok(Arc::new(totals))
    }

    /// The astrologers of a period with their names, those with the largest figure first, at most a thousand; those with none left out.
    pub async fn astrologers(&self, period: &Period, scope: Scope, figure: impl Fn(&Activity) -> u64) -> Result<Vec<AstrologerFigures>> {
        let mut astrologers = period.by_astrologer(scope);
        astrologers.retain(|astrologer| figure(&astrologer.activity) > 0);
        astrologers.sort_by(|a, b| figure(&b.activity).cmp(&figure(&a.activity)).then_with(|| a.id.cmp(&b.id)));
        astrologers.truncate(MOST_ASTROLOGERS);
        for astrologer in astrologers.iter_mut().filter(|astrologer| astrologer.name.is_none()) {
            let person = Participant::stored(ParticipantKind::Astrologer, astrologer.id.as_str());
            astrologer.name = self.0.profiles.of(&person, None).await?.name;
        }
        Ok(astrologers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::analytics::With;

    #[test]
    fn scopes_take_their_side_of_each_pair() {
        assert_eq!(With::ALL.map(|with| with as usize), [0, 1]);
        let pair = [1_u64, 10];
        for (word, sum) in [("all", 11), ("admin-astrologer", 1), ("customer-astrologer", 10)] {
            assert_eq!(Scope::parse(word).expect("a word of the dashboard").sum(&pair), sum, "{word}");
        }
        assert_eq!(Scope::parse("everything"), None);
        assert_eq!((PeriodLength::parse("1y"), PeriodLength::parse("2y")), (PeriodLength(365), PeriodLength(7)));
    }
}
