//! When somebody counts as come or as gone, and who is told: a short absence is none, and of a crowd many are settled together.
//!
//! The one place where a change of presence is decided is `PresenceChanges::decided`. What several processes know together is kept in
//! the store, for each person a note of the processes he is connected to. Source: docs/protocol.md#presence.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moka::sync::Cache;
use tokio::time::{Instant, sleep};
use tracing::debug;

use crate::auth::CurrentUser;
use crate::delivery::{AstrologerStatus, Audience, ServerEvent};
use crate::error::{Error, Result};
use crate::models::{Attendance, Participant, ParticipantKind, ProcessId, Timestamp};
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
/// How long a process may be silent before those connected to it count as gone; it speaks every five seconds.
const PROCESS_SILENT_FOR: Duration = Duration::from_secs(20);
/// How often it is looked for people whom dead processes left behind.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often the switches of astrologers are looked at, and of how many at once.
const SWITCHES_EVERY: Duration = Duration::from_secs(60);
const SWITCHES_AT_ONCE: usize = 500;
/// Astrologers without a socket whose phones can be reached: so many are looked at with those who are connected.
const MOST_FOLLOWED: usize = 10_000;
/// The pause before a store that was away is asked again.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Of somebody's partners at most so many are told: those he talked to last.
const MOST_TOLD: usize = 100;
/// Partners are remembered for so long, of so many people.
const PARTNERS_KNOWN_FOR: Duration = Duration::from_secs(60);
const PARTNERS_KNOWN: u64 = 20_000;
/// Changes of one event.
const CHANGES_PER_EVENT: usize = 200;
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
    core: Core,
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
    pub(super) fn start(core: &Core, guard: Guard, profiles: Profiles, push: Push) -> Self {
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

    async fn settle(&self, due: &[Participant], now: Instant) -> Result<()> {
        let (here, gone): (Vec<_>, Vec<_>) = due.iter().cloned().partition(|person| self.0.core.delivery.is_connected(person));
        let mut changes = self.settle_here(&here, now).await?;
        changes.extend(self.settle_gone(&gone, now).await?);
        self.decided(&changes).await;
        Ok(())
    }

    /// First it is asked who is known to be elsewhere, then written that they are here: of two processes to which somebody comes at
    /// once, one at least tells it.
    async fn settle_here(&self, here: &[Participant], now: Instant) -> Result<Vec<Attendance>> {
        let core = &self.0.core;
        let untold: Vec<Participant> = {
            let table = self.table();
            here.iter().filter(|person| table.known.get(person).is_some_and(|known| !known.told)).cloned().collect()
        };
        let elsewhere: HashSet<Participant> = self.seen(&untold).await?.into_iter().filter(|s| s.elsewhere).map(|s| s.person).collect();
        let to_note: Vec<Participant> = {
            let mut table = self.table();
            let mut to_note = Vec::new();
            for person in here {
                match table.known.get(person).filter(|known| !known.noted).map(|known| known.write_later(now)) {
                    Some(None) => to_note.push(person.clone()),
                    Some(Some(later)) => table.schedule(person, later),
                    None => {}
                }
            }
            to_note
        };
        if !to_note.is_empty() {
            core.store.note_here(core.process, core.now(), to_note.clone()).await?;
        }
        let mut table = self.table();
        for person in &to_note {
            if let Some(known) = table.known.get_mut(person) {
                (known.noted, known.written_at) = (true, Some(now));
            }
        }
        let mut changes = Vec::new();
        for person in untold {
            let Some(known) = table.known.get_mut(&person) else { continue };
            known.told = true;
            if !elsewhere.contains(&person) {
                changes.push(Attendance { person, is_online: true, last_seen: None });
            }
        }
        Ok(changes)
    }

    /// First it is written that they are gone, then asked who is elsewhere: of two processes that somebody leaves at once, one at least
    /// tells it.
    async fn settle_gone(&self, gone: &[Participant], now: Instant) -> Result<Vec<Attendance>> {
        let core = &self.0.core;
        let (mut to_write, mut told) = (Vec::new(), Vec::new());
        {
            let mut table = self.table();
            for person in gone {
                let Some(known) = table.known.get(person) else { continue };
                let Some((left, left_at)) = known.left else { continue };
                if left + GRACE > now {
                    table.schedule(person, left + GRACE);
                    continue;
                }
                if known.told {
                    told.push((person.clone(), left_at));
                }
                match (known.unwritten, known.write_later(now)) {
                    // What was noted is taken back at once, or others would take him for online.
                    (true, later) if known.noted || later.is_none() => to_write.push((person.clone(), left_at)),
                    (_, Some(later)) => table.schedule(person, later),
                    (_, None) => drop(table.known.remove(person)),
                }
            }
        }
        if !to_write.is_empty() {
            core.store.note_gone(core.process, to_write.clone()).await?;
        }
        let people: Vec<Participant> = told.iter().map(|(person, _)| person.clone()).collect();
        let elsewhere = self.elsewhere(&people).await?;
        let mut table = self.table();
        for (person, _) in &to_write {
            let Some(known) = table.known.get_mut(person) else { continue };
            (known.noted, known.written_at, known.unwritten) = (false, Some(now), false);
            // Whoever came back meanwhile is noted again; who did not is forgotten here.
            let at = if known.left.is_some() { now + WRITTEN_ONCE_IN } else { now };
            table.schedule(person, at);
        }
        let mut changes = Vec::new();
        for (person, left_at) in told {
            let Some(known) = table.known.get_mut(&person).filter(|known| known.left.is_some()) else { continue };
            known.told = false;
            if !elsewhere.contains(&person) {
                changes.push(Attendance { person, is_online: false, last_seen: Some(left_at) });
            }
        }
        Ok(changes)
    }

    async fn seen(&self, people: &[Participant]) -> Result<Vec<Seen>> {
        if people.is_empty() {
            return Ok(Vec::new());
        }
        let core = &self.0.core;
        core.store.seen(core.process, people, core.now().minus(PROCESS_SILENT_FOR)).await
    }

    /// Those who are connected to another node, as far as the nodes or the store know.
    async fn elsewhere(&self, people: &[Participant]) -> Result<HashSet<Participant>> {
        let mut elsewhere: HashSet<Participant> =
            self.seen(people).await?.into_iter().filter(|seen| seen.elsewhere).map(|seen| seen.person).collect();
        elsewhere.extend(self.on_other_nodes(people).await);
        Ok(elsewhere)
    }

    async fn on_other_nodes(&self, people: &[Participant]) -> Vec<Participant> {
        match &self.0.core.bus {
            Some(bus) if !people.is_empty() => bus.are_elsewhere(people).await.unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    /// People whom dead processes left behind are gone, unless they are elsewhere. Returns how many there were.
    async fn look_for_left_behind(&self) -> Result<usize> {
        let core = &self.0.core;
        let alive_since = core.now().minus(PROCESS_SILENT_FOR);
        // One does it: the living one with the least name.
        let others = core.store.other_processes(core.process).await?;
        let me = core.process.to_string();
        if others.iter().any(|(other, at)| *at >= alive_since && other.to_string() < me) {
            return Ok(0);
        }
        let left = core.store.left_behind(core.process, alive_since, SETTLED_AT_ONCE).await?;
        let mut by_process: HashMap<ProcessId, Vec<(Participant, Timestamp)>> = HashMap::new();
        for one in &left {
            by_process.entry(one.process).or_default().push((one.person.clone(), one.at));
        }
        for (process, people) in by_process {
            core.store.note_gone(process, people).await?;
        }
        let people: Vec<Participant> = left.iter().map(|one| one.person.clone()).collect();
        let elsewhere = self.elsewhere(&people).await?;
        let mut changes: HashMap<Participant, Timestamp> = HashMap::new();
        // Whoever left this process lately is still in the table here, and no less gone.
        for one in left.iter().filter(|one| !elsewhere.contains(&one.person) && !self.is_here(&one.person)) {
            let at = changes.entry(one.person.clone()).or_insert(one.at);
            *at = one.at.max(*at);
        }
        let changes: Vec<Attendance> =
            changes.into_iter().map(|(person, at)| Attendance { person, is_online: false, last_seen: Some(at) }).collect();
        self.decided(&changes).await;
        Ok(left.len())
    }

    /// These people have come or gone, for everybody. Whatever else is to happen then belongs here.
    async fn decided(&self, changes: &[Attendance]) {
        if changes.is_empty() {
            return;
        }
        debug!(changes = changes.len(), "people came or went");
        let now = self.0.core.now();
        for change in changes {
            self.0.push.presence_changed(&change.person, change.is_online, now);
        }
        if let Err(e) = self.tell(changes).await {
            // Who asks is told; nobody is told twice for it.
            debug!("partners were not told who came and went: {e}");
        }
        if let Err(e) = self.tell_status(changes).await {
            debug!("admins were not told which astrologers came and went: {e}");
        }
    }

    /// Tells those who talk with them, and the admins; each of them hears of all in one event.
    async fn tell(&self, changes: &[Attendance]) -> Result<()> {
        let Inner { core, partners, .. } = &*self.0;
        let unknown: Vec<Participant> =
            changes.iter().map(|change| &change.person).filter(|person| !partners.contains_key(*person)).cloned().collect();
        if !unknown.is_empty() {
            for (person, found) in core.store.partners_of(&unknown, MOST_TOLD).await? {
                partners.insert(person, found.into());
            }
        }
        let mut news: HashMap<Participant, Vec<&Attendance>> = HashMap::new();
        for change in changes {
            let known = partners.get(&change.person).unwrap_or_default();
            let admins = [Participant::shared_admin()];
            let listeners: HashSet<&Participant> = known.iter().chain(&admins).filter(|one| **one != change.person).collect();
            for listener in listeners {
                // Nobody to tell it to, unless another node has them.
                if core.bus.is_some() || core.delivery.is_connected(listener) {
                    news.entry(listener.clone()).or_default().push(change);
                }
            }
        }
        for (listener, changes) in news {
            for some in changes.chunks(CHANGES_PER_EVENT) {
                let event = ServerEvent::PresenceChanged(some.iter().copied().cloned().collect());
                core.delivery.emit(&Audience::people([listener.clone()]), &event);
            }
        }
        Ok(())
    }

    /// `astrologer:status_changed`: the astrologer's own switch must be on, and he connected or to be reached by push.
    async fn tell_status(&self, changes: &[Attendance]) -> Result<()> {
        let astrologers: Vec<&Attendance> = changes.iter().filter(|c| c.person.kind() == ParticipantKind::Astrologer).collect();
        if astrologers.is_empty() || !self.has_admins() {
            return Ok(());
        }
        let ids: Vec<String> = astrologers.iter().map(|change| change.person.id().to_owned()).collect();
        let switches = self.switches(&ids).await?;
        let absent = astrologers.iter().filter(|change| !change.is_online).map(|change| change.person.clone());
        let reachable = self.reachable(absent.collect()).await?;
        for change in astrologers {
            let switched_on = switches.get(change.person.id()).copied().unwrap_or(true);
            self.note_switch(&change.person, switched_on);
            let is_reachable = reachable.contains(&change.person);
            let is_online = switched_on && (change.is_online || is_reachable);
            self.follow_on(&change.person, is_reachable.then_some(Followed { is_online, last_seen: change.last_seen }));
            self.emit_status(change, is_online).await?;
        }
        Ok(())
    }

    /// Who among these can be reached by push.
    async fn reachable(&self, people: Vec<Participant>) -> Result<HashSet<Participant>> {
        let core = &self.0.core;
        if people.is_empty() || !core.rules.push.outside.pushes() {
            return Ok(HashSet::new());
        }
        Ok(core.store.devices_of(&people).await?.into_iter().map(|device| device.owner).collect())
    }

    fn follow_on(&self, astrologer: &Participant, followed: Option<Followed>) {
        let mut table = self.table();
        match followed {
            Some(followed) if table.followed.len() < MOST_FOLLOWED || table.followed.contains_key(astrologer) => {
                table.followed.insert(astrologer.clone(), followed);
            }
            _ => drop(table.followed.remove(astrologer)),
        }
    }

    fn has_admins(&self) -> bool {
        let admins = Participant::shared_admin();
        // Where there are other nodes, they know their own.
        self.0.core.bus.is_some() || self.0.core.delivery.is_connected(&admins)
    }

    async fn emit_status(&self, astrologer: &Attendance, is_online: bool) -> Result<()> {
        let Inner { core, profiles, .. } = &*self.0;
        let profile = profiles.of(&astrologer.person, None).await?;
        let status = AstrologerStatus {
            astrologer_id: astrologer.person.id().to_owned(),
            is_online,
            presence: astrologer.word(),
            last_seen: astrologer.last_seen.unwrap_or_else(|| core.now()),
            name: profile.name,
            profile_picture: profile.picture,
        };
        core.delivery.emit(&Audience::people([Participant::shared_admin()]), &ServerEvent::AstrologerStatusChanged(status));
        Ok(())
    }

    /// Which astrologers have switched themselves on; nothing of those nobody keeps a switch for.
    async fn switches(&self, ids: &[String]) -> Result<HashMap<String, bool>> {
        let accounts = self.0.core.store.find_accounts(ids).await?.unwrap_or_default();
        Ok(accounts.into_iter().filter_map(|(id, account)| Some((id, account.is_switched_on?))).collect())
    }

    /// True if it was known to be another way before.
    fn note_switch(&self, astrologer: &Participant, switched_on: bool) -> bool {
        let mut table = self.table();
        let before = table.known.get_mut(astrologer).and_then(|known| known.switched_on.replace(switched_on));
        before.is_some_and(|before| before != switched_on)
    }

    /// Astrologers who are here and were switched on or off by another program.
    async fn look_at_switches(&self) -> Result<()> {
        let here: Vec<Participant> = {
            let table = self.table();
            let told = table.known.iter().filter(|(_, known)| known.told).map(|(person, _)| person);
            told.filter(|person| person.kind() == ParticipantKind::Astrologer).cloned().collect()
        };
        for some in here.chunks(SWITCHES_AT_ONCE) {
            let ids: Vec<String> = some.iter().map(|person| person.id().to_owned()).collect();
            let switches = self.switches(&ids).await?;
            for person in some {
                let switched_on = switches.get(person.id()).copied().unwrap_or(true);
                if self.note_switch(person, switched_on) {
                    self.emit_status(&Attendance { person: person.clone(), is_online: true, last_seen: None }, switched_on).await?;
                }
            }
        }
        Ok(())
    }

    /// Astrologers who are not here, and were switched on or off, or cannot be reached any more.
    async fn look_at_followed(&self) -> Result<()> {
        let followed: Vec<(Participant, Followed)> = self.table().followed.iter().map(|(who, told)| (who.clone(), *told)).collect();
        for some in followed.chunks(SWITCHES_AT_ONCE) {
            let people: Vec<Participant> = some.iter().map(|(person, _)| person.clone()).collect();
            let ids: Vec<String> = people.iter().map(|person| person.id().to_owned()).collect();
            let (elsewhere, switches) = (self.elsewhere(&people).await?, self.switches(&ids).await?);
            let reachable = self.reachable(people).await?;
            for (person, told) in some {
                if self.is_here(person) || elsewhere.contains(person) {
                    // Whoever has him tells how it goes on.
                    self.follow_on(person, None);
                    continue;
                }
                let is_reachable = reachable.contains(person);
                let is_online = is_reachable && switches.get(person.id()).copied().unwrap_or(true);
                self.follow_on(person, is_reachable.then_some(Followed { is_online, ..*told }));
                if is_online != told.is_online {
                    let absent = Attendance { person: person.clone(), is_online: false, last_seen: told.last_seen };
                    self.emit_status(&absent, is_online).await?;
                }
            }
        }
        Ok(())
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
        let seen: HashMap<Participant, Seen> = self.seen(&people).await?.into_iter().map(|seen| (seen.person.clone(), seen)).collect();
        let absent: Vec<Participant> = people.iter().filter(|person| !self.is_here(person)).cloned().collect();
        let elsewhere: HashSet<Participant> = self.on_other_nodes(&absent).await.into_iter().collect();
        let stand = |person: Participant| {
            let seen = seen.get(&person);
            let is_online = self.is_here(&person) || elsewhere.contains(&person) || seen.is_some_and(|seen| seen.elsewhere);
            if !is_online && seen.is_none() && user.is_admin() && person.kind() != ParticipantKind::Admin && self.left_at(&person).is_none()
            {
                return None;
            }
            let last_seen = self.left_at(&person).max(seen.map(|seen| seen.at)).filter(|_| !is_online);
            Some(Attendance { person, is_online, last_seen })
        };
        Ok(people.into_iter().filter_map(stand).collect())
    }

    /// Whether somebody has a socket here, or had one so lately that nobody was told otherwise.
    fn is_here(&self, person: &Participant) -> bool {
        self.0.core.delivery.is_connected(person) || self.table().known.get(person).is_some_and(|known| known.told)
    }

    fn left_at(&self, person: &Participant) -> Option<Timestamp> {
        self.table().known.get(person)?.left.map(|(_, at)| at)
    }
}
