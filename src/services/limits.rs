//! How much one person may ask for: counted per identity, over all sockets and REST, so reconnecting resets nothing. Counted here at
//! once; what other nodes counted comes a moment later (`shared_limits`).
//! Source of the figures: docs/protocol.md#rate-limits.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use moka::sync::Cache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::auth::CurrentUser;
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::models::{Participant, ParticipantKind};
use crate::observability::Notice;

use super::Core;
use super::shared_limits::SharedLimits;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// How often what is full again is forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// The unit in which answers are counted.
const KIB: usize = 1024;

/// What is counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limited {
    /// Messages sent.
    Messages,
    /// Calls begun.
    Calls,
    /// Rooms joined, and catching up.
    Joins,
    /// Pages of history.
    History,
    /// Starts and stops of typing; beyond it in silence.
    Typing,
    /// Everything else that asks the store.
    Other,
    /// KiB of messages in answers.
    AnswerKib,
    /// Files announced.
    Uploads,
    /// KiB of files announced.
    UploadKib,
}

impl Limited {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Messages,
        Self::Calls,
        Self::Joins,
        Self::History,
        Self::Typing,
        Self::Other,
        Self::AnswerKib,
        Self::Uploads,
        Self::UploadKib,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Calls => "calls",
            Self::Joins => "joins",
            Self::History => "history",
            Self::Typing => "typing",
            Self::Other => "other",
            Self::AnswerKib => "answer_kib",
            Self::Uploads => "uploads",
            Self::UploadKib => "upload_kib",
        }
    }
}

/// So many in so long; at first as many as `burst` at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// At once, after a rest.
    pub burst: u32,
    /// In every `per` after that.
    pub count: u32,
    /// The time `count` is for.
    pub per: Duration,
    /// Never more than `count` in any `per`, bursts included.
    pub strict: bool,
}

impl Allowance {
    const fn new(burst: u32, count: u32, per: Duration) -> Self {
        Self { burst, count, per, strict: false }
    }

    const fn strict(count: u32, per: Duration) -> Self {
        Self { burst: count, count, per, strict: true }
    }
}

/// Which figures are in force; see `RATE_PROFILE`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RateProfile {
    /// The usual ones.
    Default,
    /// Ten messages a minute and five calls an hour, exactly, for all but admins.
    Strict,
    /// None.
    #[default]
    Off,
}

/// The profile, and the figures an operator wants instead, for all but admins.
#[derive(Clone, Debug, Default)]
pub struct RateRules {
    /// `RATE_PROFILE`.
    pub profile: RateProfile,
    /// `LIMIT_*`.
    pub overrides: Vec<(Limited, u32)>,
    /// Whether the store works in processes of its own, so that who waits for it needs no core here.
    pub store_is_elsewhere: bool,
}

impl RateRules {
    /// What one person of this kind may do; `None` is without limit.
    pub fn allowance(&self, kind: ParticipantKind, what: Limited) -> Option<Allowance> {
        use ParticipantKind::{Admin, Astrologer, User};
        let usual = match (what, kind) {
            (Limited::Messages, Admin) => Allowance::new(300, 300, MINUTE),
            (Limited::Messages, _) => Allowance::new(10, 30, MINUTE),
            (Limited::Calls, Admin) => Allowance::new(120, 120, HOUR),
            (Limited::Calls, Astrologer) => Allowance::new(20, 20, HOUR),
            (Limited::Calls, User) => Allowance::new(5, 5, HOUR),
            (Limited::Joins | Limited::Other, _) => Allowance::new(600, 600, MINUTE),
            // Faster than anybody types; each may ask the store, and a stop and a start are passed on at once.
            (Limited::Typing, _) => Allowance::new(120, 600, MINUTE),
            (Limited::History, _) => Allowance::new(60, 60, MINUTE),
            (Limited::Uploads, Admin) => Allowance::new(60, 600, HOUR),
            (Limited::Uploads, _) => Allowance::new(30, 120, HOUR),
            (Limited::UploadKib, Admin) => Allowance::new(1024 * 1024, 10 * 1024 * 1024, HOUR),
            (Limited::UploadKib, _) => Allowance::new(256 * 1024, 1024 * 1024, HOUR),
            (Limited::AnswerKib, _) => Allowance::new(16 * 1024, 60 * 1024, MINUTE),
        };
        if self.profile == RateProfile::Off {
            return None;
        }
        if kind != Admin
            && let Some((_, count)) = self.overrides.iter().find(|(overridden, _)| *overridden == what)
        {
            return Some(Allowance { burst: usual.burst.min(*count).max(1), count: *count, ..usual });
        }
        Some(match (self.profile, what, kind) {
            (RateProfile::Strict, Limited::Messages, User | Astrologer) => Allowance::strict(10, MINUTE),
            (RateProfile::Strict, Limited::Calls, User | Astrologer) => Allowance::strict(5, HOUR),
            _ => usual,
        })
    }
}

/// Wrong admin keys of one address: so many at once, then as many a minute; beyond it no key of that address is looked at for a minute.
const WRONG_KEYS: Allowance = Allowance::new(20, 20, MINUTE);
/// Addresses remembered as guessing.
const GUESSING: u64 = 100_000;

/// Counts. Cheap to clone.
#[derive(Clone)]
pub struct Limits {
    people: Arc<HashMap<(ParticipantKind, Limited), Counter>>,
    guesses: Option<Arc<Guesses>>,
    turns: Arc<Turns>,
    shared: Option<SharedLimits>,
    metrics: Arc<Metrics>,
    /// One for each of [`Limited::ALL`], and one for admin keys.
    notices: Arc<[Notice; Limited::ALL.len() + 1]>,
}

/// Turns at something large. While somebody sends messages they are taken on half of the cores, so that who asks for many pages leaves
/// the senders the rest; otherwise on all of them. With a store elsewhere it is twice as many, for half of each turn is waiting.
struct Turns {
    places: Arc<Semaphore>,
    /// Places of a turn while messages are sent.
    wide: u32,
    began: Instant,
    /// Milliseconds after `began`, and [`QUIET_AFTER`] more.
    busy_until: AtomicU64,
}

/// How long after a message the next one is expected.
const QUIET_AFTER: Duration = Duration::from_millis(250);

impl Turns {
    fn new(cores: usize, store_is_elsewhere: bool) -> Self {
        // Twice the cores where half of each turn is waiting for the store.
        let (places, wide) = match (store_is_elsewhere, cores) {
            (true, cores) => (cores * 2, 2),
            (false, 1) => (1, 1),
            (false, cores) => (cores.next_multiple_of(2), 2),
        };
        Self { places: Arc::new(Semaphore::new(places)), wide, began: Instant::now(), busy_until: AtomicU64::new(0) }
    }

    fn note_message(&self) {
        let until = self.began.elapsed() + QUIET_AFTER;
        self.busy_until.store(whole_millis(until), Relaxed);
    }

    async fn next(&self) -> Option<OwnedSemaphorePermit> {
        let is_busy = whole_millis(self.began.elapsed()) < self.busy_until.load(Relaxed);
        // Never closed; without a turn it would go all the same.
        Arc::clone(&self.places).acquire_many_owned(if is_busy { self.wide } else { 1 }).await.ok()
    }
}

fn whole_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Who tries out admin keys. Tokens cannot be guessed, so those of the same address are not concerned.
struct Guesses {
    counter: DefaultKeyedRateLimiter<IpAddr>,
    blocked: Cache<IpAddr, Instant>,
}

enum Counter {
    Bucket(DefaultKeyedRateLimiter<Participant>, DefaultClock),
    Window(Window),
}

impl Limits {
    pub(super) fn start(core: &Arc<Core>) -> Self {
        let mut counters = HashMap::new();
        for kind in [ParticipantKind::Admin, ParticipantKind::Astrologer, ParticipantKind::User] {
            for what in Limited::ALL {
                if let Some(counter) = core.rules.rates.allowance(kind, what).and_then(|allowance| Counter::new(&allowance)) {
                    counters.insert((kind, what), counter);
                }
            }
        }
        let guesses = (core.rules.rates.profile != RateProfile::Off).then(Guesses::new).flatten().map(Arc::new);
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let shared = core.bus.as_ref().filter(|_| !counters.is_empty()).map(|bus| SharedLimits::start(core, bus.clone()));
        let this = Self {
            people: Arc::new(counters),
            guesses,
            turns: Arc::new(Turns::new(cores, core.rules.rates.store_is_elsewhere)),
            shared,
            metrics: Arc::clone(&core.metrics),
            notices: Arc::default(),
        };
        if !this.people.is_empty() {
            let (limits, stop) = (this.clone(), core.stop.clone());
            core.tasks.spawn(async move {
                while stop.run_until_cancelled(tokio::time::sleep(SWEEP_EVERY)).await.is_some() {
                    limits.people.values().for_each(Counter::sweep);
                    if let Some(guesses) = &limits.guesses {
                        guesses.counter.retain_recent();
                        guesses.counter.shrink_to_fit();
                    }
                }
            });
        }
        this
    }

    /// Whether nothing is limited (`RATE_PROFILE=off`).
    pub fn are_off(&self) -> bool {
        self.people.is_empty()
    }

    /// Waits for a turn at something large, such as a page of history; see `Turns`.
    pub async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        self.turns.next().await
    }

    /// Counts one request. Errors: `RATE_LIMITED`, with the time to wait.
    pub fn count(&self, user: &CurrentUser, what: Limited) -> Result<()> {
        if what == Limited::Messages {
            self.turns.note_message();
        }
        self.count_n(user, what, NonZeroU32::MIN)
    }

    /// Counts an answer of this many bytes. Errors: `RATE_LIMITED`; the answer must not be given then.
    pub fn count_answer(&self, user: &CurrentUser, bytes: usize) -> Result<()> {
        let kib = u32::try_from(bytes.div_ceil(KIB)).unwrap_or(u32::MAX);
        self.count_n(user, Limited::AnswerKib, NonZeroU32::new(kib).unwrap_or(NonZeroU32::MIN))
    }

    /// Counts a file of this many bytes. Errors: `RATE_LIMITED`; it must not be taken then.
    pub fn count_upload(&self, user: &CurrentUser, bytes: u64) -> Result<()> {
        let kib = u32::try_from(bytes.div_ceil(KIB as u64)).unwrap_or(u32::MAX);
        self.count_n(user, Limited::UploadKib, NonZeroU32::new(kib).unwrap_or(NonZeroU32::MIN))
    }

    /// Checks that a key of this address may be looked at. Errors: `RATE_LIMITED`.
    pub fn check_key_attempt(&self, address: Option<IpAddr>) -> Result<()> {
        let (Some(guesses), Some(address)) = (&self.guesses, address) else { return Ok(()) };
        let since = guesses.blocked.get(&address).map(|at| at.elapsed()).filter(|since| *since < MINUTE);
        since.map_or(Ok(()), |since| {
            self.metrics.limit_hits.with_label_values(&["admin_keys"]).inc();
            self.notices[Limited::ALL.len()].give(|| format!("{address} tries out admin keys and has to wait"));
            Err(Error::RateLimited { retry_after: MINUTE - since })
        })
    }

    /// Counts a wrong key of this address.
    pub fn count_wrong_key(&self, address: Option<IpAddr>) {
        if let (Some(guesses), Some(address)) = (&self.guesses, address)
            && guesses.counter.check_key(&address).is_err()
        {
            guesses.blocked.insert(address, Instant::now());
        }
    }

    fn count_n(&self, user: &CurrentUser, what: Limited, n: NonZeroU32) -> Result<()> {
        let Some(counter) = self.people.get(&(user.kind(), what)) else { return Ok(()) };
        let who = user.identity();
        let taken = match &self.shared {
            None => counter.take(&who, n),
            Some(shared) => shared.check(&who, what).and_then(|()| counter.take(&who, n)).inspect(|()| shared.note(who, what, n.get())),
        };
        taken.map_err(|retry_after| {
            self.metrics.limit_hits.with_label_values(&[what.as_str()]).inc();
            self.notices[what as usize].give(|| format!("{} reached the limit for {}", user.participant(), what.as_str()));
            Error::RateLimited { retry_after }
        })
    }

    /// Asks what somebody who is about to come has spent on other nodes lately.
    pub(super) fn look_up(&self, who: &Participant) {
        if let Some(shared) = &self.shared {
            for what in Limited::ALL.into_iter().filter(|what| self.people.contains_key(&(who.kind(), *what))) {
                shared.note(who.clone(), what, 0);
            }
        }
    }
}

impl Guesses {
    fn new() -> Option<Self> {
        let burst = NonZeroU32::new(WRONG_KEYS.burst)?;
        let quota = Quota::with_period(WRONG_KEYS.per / WRONG_KEYS.count)?.allow_burst(burst);
        let blocked = Cache::builder().max_capacity(GUESSING).time_to_live(WRONG_KEYS.per).build();
        Some(Self { counter: RateLimiter::keyed(quota), blocked })
    }
}

impl Counter {
    fn new(allowance: &Allowance) -> Option<Self> {
        let (burst, count) = (NonZeroU32::new(allowance.burst)?, allowance.count.max(1));
        Some(if allowance.strict {
            Self::Window(Window { count: count as usize, per: allowance.per, taken: Mutex::default() })
        } else {
            let quota = Quota::with_period(allowance.per / count)?.allow_burst(burst);
            Self::Bucket(RateLimiter::keyed(quota), DefaultClock::default())
        })
    }

    /// Takes `n`, or says how long to wait.
    fn take(&self, who: &Participant, n: NonZeroU32) -> Result<(), Duration> {
        match self {
            Self::Bucket(bucket, clock) => match bucket.check_key_n(who, n) {
                Ok(taken) => taken.map_err(|refused| refused.wait_time_from(clock.now())),
                // More at once than ever fits: only very large answers, which wait for a full bucket in vain.
                Err(_) => Err(SWEEP_EVERY),
            },
            Self::Window(window) => window.take(who, Instant::now()),
        }
    }

    fn sweep(&self) {
        match self {
            Self::Bucket(bucket, _) => {
                bucket.retain_recent();
                bucket.shrink_to_fit();
            }
            Self::Window(window) => window.sweep(Instant::now()),
        }
    }
}

/// Exactly so many in any stretch of time, by remembering each: only for small figures.
struct Window {
    count: usize,
    per: Duration,
    // std Mutex: never held across an await.
    taken: Mutex<HashMap<Participant, VecDeque<Instant>>>,
}

impl Window {
    fn take(&self, who: &Participant, now: Instant) -> Result<(), Duration> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let times = taken.entry(who.clone()).or_default();
        while times.front().is_some_and(|at| now.duration_since(*at) >= self.per) {
            times.pop_front();
        }
        match times.front() {
            Some(oldest) if times.len() >= self.count => Err(self.per - now.duration_since(*oldest)),
            _ => {
                times.push_back(now);
                Ok(())
            }
        }
    }

    fn sweep(&self, now: Instant) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.retain(|_, times| times.back().is_some_and(|at| now.duration_since(*at) < self.per));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(id: &str) -> Participant {
        Participant::new(ParticipantKind::User, id).expect("legal")
    }

    #[test]
    fn a_strict_window_never_lets_more_through_whenever_they_come() {
        let window = Window { count: 10, per: MINUTE, taken: Mutex::default() };
        let start = Instant::now();
        let mut through = Vec::new();
        // One every two seconds, for three minutes.
        for n in 0..90 {
            let at = start + Duration::from_secs(2 * n);
            if window.take(&person("a"), at).is_ok() {
                through.push(at);
            }
        }
        assert_eq!(through.len(), 30);
        assert!(through.windows(11).all(|w| w[10].duration_since(w[0]) >= MINUTE));
        assert!(window.take(&person("b"), start).is_ok(), "others have their own");
        window.sweep(start + 10 * MINUTE);
        assert!(window.taken.lock().unwrap().is_empty());
    }

    #[test]
    fn the_eleventh_message_at_once_waits_two_seconds() {
        let rules = RateRules { profile: RateProfile::Default, ..RateRules::default() };
        let counter = Counter::new(&rules.allowance(ParticipantKind::User, Limited::Messages).expect("limited")).expect("a counter");
        for n in 0..10 {
            assert!(counter.take(&person("a"), NonZeroU32::MIN).is_ok(), "{n}");
        }
        let wait = counter.take(&person("a"), NonZeroU32::MIN).expect_err("the eleventh");
        assert!(wait <= Duration::from_secs(2) && wait > Duration::from_millis(1_500), "{wait:?}");
        assert!(counter.take(&person("b"), NonZeroU32::MIN).is_ok());
    }

    #[test]
    fn an_override_counts_for_all_but_admins_and_off_is_off() {
        let rules = RateRules { profile: RateProfile::Strict, overrides: vec![(Limited::Messages, 3)], ..RateRules::default() };
        let allowed = |kind, what| rules.allowance(kind, what).map(|a| (a.burst, a.count, a.strict));
        assert_eq!(allowed(ParticipantKind::User, Limited::Messages), Some((3, 3, false)));
        assert_eq!(allowed(ParticipantKind::Admin, Limited::Messages), Some((300, 300, false)));
        assert_eq!(allowed(ParticipantKind::Astrologer, Limited::Calls), Some((5, 5, true)));
        assert_eq!(RateRules::default().allowance(ParticipantKind::User, Limited::Messages), None);
    }
}
