//! Who has come and who is gone, between this process, the others and the store.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::Result;
use crate::models::{Attendance, Participant, ProcessId, Timestamp};
use crate::store::presence::Seen;

use super::{GRACE, PresenceChanges, SETTLED_AT_ONCE, WRITTEN_ONCE_IN};

/// How long a process may be silent before those connected to it count as gone; it speaks every five seconds.
const PROCESS_SILENT_FOR: Duration = Duration::from_secs(20);

impl PresenceChanges {
    pub(super) async fn settle(&self, due: &[Participant], now: Instant) -> Result<()> {
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

    pub(super) async fn seen(&self, people: &[Participant]) -> Result<Vec<Seen>> {
        if people.is_empty() {
            return Ok(Vec::new());
        }
        let core = &self.0.core;
        core.store.seen(core.process, people, core.now().minus(PROCESS_SILENT_FOR)).await
    }

    /// Those who are connected to another node, as far as the nodes or the store know.
    pub(super) async fn elsewhere(&self, people: &[Participant]) -> Result<HashSet<Participant>> {
        let mut elsewhere: HashSet<Participant> =
            self.seen(people).await?.into_iter().filter(|seen| seen.elsewhere).map(|seen| seen.person).collect();
        elsewhere.extend(self.on_other_nodes(people).await);
        Ok(elsewhere)
    }

    pub(super) async fn on_other_nodes(&self, people: &[Participant]) -> Vec<Participant> {
        match &self.0.core.bus {
            Some(bus) if !people.is_empty() => bus.are_elsewhere(people).await.unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    /// People whom dead processes left behind are gone, unless they are elsewhere. Returns how many there were.
    pub(super) async fn look_for_left_behind(&self) -> Result<usize> {
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
}
