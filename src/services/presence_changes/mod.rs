//! When somebody counts as come or as gone, and who is told: a short absence is none, and of a crowd many are settled together.
//!
//! `settling` finds out that somebody came or is gone; the one place where that is decided is `PresenceChanges::decided` in `telling`.
//! What several processes know together is kept in the store, for each person a note of the processes he is connected to.
//! Source: docs/protocol.md#presence.

mod astrologers;
mod settling;
mod telling;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moka::sync::Cache;
use tokio::time::{Instant, sleep};
use tracing::debug;

use crate::auth::CurrentUser;
use crate::error::{Error, Result};
use crate::models::{Attendance, Participant, ParticipantKind, Timestamp};
use crate::store::presence::Seen;

use super::Core;
use super::guard::Guard;
use super::limits::Limited;
use super::profiles::Profiles;
use super::push::Push;

/// How long somebody may be without a socket and still count as there.
pub const GRACE: Duration = Duration::from_secs(15);
/// How often changes are settled, and how many at once: a storm of sign-ins is told at a thousand a second, and costs three questions
/// for each of these.
const SETTLE_EVERY: Duration = Duration::from_millis(250);
const SETTLED_AT_ONCE: usize = 250;
/// Of one person not more than one visit is written in this time.
const WRITTEN_ONCE_IN: Duration = Duration::from_secs(60);
/// How often it is looked for people whom dead processes left behind.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often the switches of astrologers are looked at.
const SWITCHES_EVERY: Duration = Duration::from_secs(60);
/// The pause before a store that was away is asked again.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Partners are remembered for so long, of so many people.
const PARTNERS_KNOWN_FOR: Duration = Duration::from_secs(60);
const PARTNERS_KNOWN: u64 = 20_000;
/// Whom one request may ask for.
pub const MAX_ASKED: usize = 200;

/// Whom a client asks for: a person, or an id that may be anybody's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Kind and id.
    Person(Participant),
    /// An id alone, which may be that of a user and of an astrologer.
    Id(String),
}

impl Wanted {
    fn people(&self) -> Vec<Participant> {
        match self {
            Self::Person(person) => vec![person.identity()],
            Self::Id(id) if id == crate::models::participant::SHARED_ADMIN_ID => vec![Participant::shared_admin()],
            Self::Id(id) => {
                [ParticipantKind::Astrologer, ParticipantKind::User].into_iter().filter_map(|kind| Participant::new(kind, id)).collect()
            }
        }
    }
}

/// Follows who comes and goes. Cheap to clone.
#[derive(Clone)]
pub struct PresenceChanges(Arc<Inner>);

struct Inner {
    core: Arc<Core>,
    guard: Guard,
    profiles: Profiles,
    push: Push,
    // std Mutex: never held across an await.
    table: Mutex<Table>,
    partners: Cache<Participant, Arc<[Participant]>>,
}

#[derive(Default)]
struct Table {
    known: HashMap<Participant, Known>,
    /// Astrologers who left this process, or were left behind by a dead one, and can be reached by push.
    followed: HashMap<Participant, Followed>,
    /// Who is to be looked at, and when.
    due: BTreeSet<(Instant, Participant)>,
}

/// What is known of somebody who is connected here, or was a moment ago.
#[derive(Default)]
struct Known {
    due: Option<Instant>,
    /// Others take him for online.
    told: bool,
    /// The store knows that he is connected here.
    noted: bool,
    /// His last socket left, and the store does not know.
    unwritten: bool,
    /// Since when he has no socket here.
    left: Option<(Instant, Timestamp)>,
    written_at: Option<Instant>,
    /// The switch of an astrologer, as it was told last.
    switched_on: Option<bool>,
}

/// What admins were told of somebody who can be reached by push.
#[derive(Clone, Copy)]
struct Followed {
    is_online: bool,
    last_seen: Option<Timestamp>,
}

impl Known {
    /// When the next write may be; nothing if it may be now.
    fn write_later(&self, now: Instant) -> Option<Instant> {
        self.written_at.map(|at| at + WRITTEN_ONCE_IN).filter(|at| *at > now)
    }
}

impl Table {
    fn schedule(&mut self, person: &Participant, at: Instant) {
        let known = self.known.entry(person.clone()).or_default();
        if let Some(before) = known.due.replace(at) {
            self.due.remove(&(before, person.clone()));
        }
        self.due.insert((at, person.clone()));
    }

    fn take_due(&mut self, now: Instant, most: usize) -> Vec<Participant> {
        let mut taken = Vec::new();
        while taken.len() < most
            && self.due.first().is_some_and(|(at, _)| *at <= now)
            && let Some((_, person)) = self.due.pop_first()
        {
            if let Some(known) = self.known.get_mut(&person) {
                known.due = None;
            }
            taken.push(person);
        }
        taken
    }
}

impl PresenceChanges {
    pub(super) fn start(core: &Arc<Core>, guard: Guard, profiles: Profiles, push: Push) -> Self {
        let partners = Cache::builder().max_capacity(PARTNERS_KNOWN).time_to_live(PARTNERS_KNOWN_FOR).build();
        let this = Self(Arc::new(Inner { core: core.clone(), guard, profiles, push, table: Mutex::default(), partners }));
        let (follower, stop) = (this.clone(), core.stop.clone());
        core.tasks.spawn(async move {
            // What is left at the end needs no writing: a process that is silent tells that everybody has left it.
            stop.run_until_cancelled(follower.follow()).await;
        });
        this
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A socket of this identity came. Costs no question.
    pub(super) fn came(&self, person: &Participant) {
        let mut table = self.table();
        let known = table.known.entry(person.identity()).or_default();
        known.left = None;
        if !known.told || !known.noted {
            table.schedule(&person.identity(), Instant::now());
        }
    }

    /// The last socket of this identity left.
    pub(super) fn went(&self, person: &Participant) {
        let now = Instant::now();
        let mut table = self.table();
        let known = table.known.entry(person.identity()).or_default();
        known.left = Some((now, self.0.core.now()));
        known.unwritten = true;
        table.schedule(&person.identity(), now + GRACE);
    }

    async fn follow(&self) {
        let (mut look_at, mut switches_at) = (Instant::now() + LOOK_EVERY, Instant::now() + SWITCHES_EVERY);
        loop {
            sleep(SETTLE_EVERY).await;
            let now = Instant::now();
            let due = self.table().take_due(now, SETTLED_AT_ONCE);
            if !due.is_empty()
                && let Err(e) = self.settle(&due, now).await
            {
                debug!(people = due.len(), "who came and went is settled later: {e}");
                let mut table = self.table();
                due.iter().for_each(|person| table.schedule(person, now + RETRY_AFTER));
            }
            if now >= look_at {
                look_at = match self.look_for_left_behind().await {
                    // There are more.
                    Ok(count) if count >= SETTLED_AT_ONCE => now,
                    _ => now + LOOK_EVERY,
                };
            }
            if now >= switches_at {
                switches_at = now + SWITCHES_EVERY;
                if let Err(e) = self.look_at_switches().await {
                    debug!("the switches of astrologers are looked at later: {e}");
                }
                if let Err(e) = self.look_at_followed().await {
                    debug!("the phones of astrologers are looked at later: {e}");
                }
            }
        }
    }

    /// How it stands with these people, as far as `user` may know: who takes part in no conversation with him and has no relation to
    /// him is left out, just like an id nobody has. Everybody may know of the admins, and they of everybody ever seen.
    ///
    /// Errors: `INVALID_PAYLOAD` for too many, `RATE_LIMITED`. Source: docs/protocol.md#presence.
    pub async fn get(&self, user: &CurrentUser, wanted: &[Wanted]) -> Result<Vec<Attendance>> {
        let core = &self.0.core;
        self.0.guard.limits.count(user, Limited::Other)?;
        if wanted.len() > MAX_ASKED {
            return Err(Error::invalid(format!("at most {MAX_ASKED} ids at once")));
        }
        let mut people: Vec<Participant> = Vec::new();
        for person in wanted.iter().flat_map(Wanted::people) {
            if !people.contains(&person) {
                people.push(person);
            }
        }
        let me = user.identity();
        if !user.is_admin() {
            let is_open = |person: &Participant| person.kind() == ParticipantKind::Admin || *person == me;
            let asked: Vec<Participant> = people.iter().filter(|person| !is_open(person)).cloned().collect();
            let known: HashSet<Participant> =
                if asked.is_empty() { HashSet::new() } else { core.store.acquaintances(&me, &asked).await?.into_iter().collect() };
            people.retain(|person| is_open(person) || known.contains(person));
        }
        let (online, seen) = self.look_up(&people).await?;
        let stand = |person: Participant| {
            let seen = seen.get(&person);
            let is_online = online.contains(&person);
            if !is_online && seen.is_none() && user.is_admin() && person.kind() != ParticipantKind::Admin && self.left_at(&person).is_none()
            {
                return None;
            }
            let last_seen = self.left_at(&person).max(seen.map(|seen| seen.at)).filter(|_| !is_online);
            Some(Attendance { person, is_online, last_seen })
        };
        Ok(people.into_iter().filter_map(stand).collect())
    }

    /// Who among these identities is online, on any node; whoever left a moment ago still is. The one road for whatever is shown of it.
    pub(super) async fn online(&self, people: &[Participant]) -> Result<HashSet<Participant>> {
        Ok(self.look_up(people).await?.0)
    }

    /// The same, and what the store knows of them.
    async fn look_up(&self, people: &[Participant]) -> Result<(HashSet<Participant>, HashMap<Participant, Seen>)> {
        let seen: HashMap<Participant, Seen> = self.seen(people).await?.into_iter().map(|seen| (seen.person.clone(), seen)).collect();
        let absent: Vec<Participant> = people.iter().filter(|person| !self.is_here(person)).cloned().collect();
        let elsewhere: HashSet<Participant> = self.on_other_nodes(&absent).await.into_iter().collect();
        let is_online = |person: &&Participant| {
            self.is_here(person) || elsewhere.contains(*person) || seen.get(*person).is_some_and(|seen| seen.elsewhere)
        };
        let online = people.iter().filter(is_online).cloned().collect();
        Ok((online, seen))
    }

    /// Whether somebody has a socket here, or had one so lately that nobody was told otherwise.
    fn is_here(&self, person: &Participant) -> bool {
        self.0.core.delivery.is_connected(person) || self.table().known.get(person).is_some_and(|known| known.told)
    }

    fn left_at(&self, person: &Participant) -> Option<Timestamp> {
        self.table().known.get(person)?.left.map(|(_, at)| at)
    }
}
