//! `astrologer:status_changed`: who can be reached, by the switches of another program and by push.

use std::collections::{HashMap, HashSet};

use crate::delivery::{AstrologerStatus, Audience, ServerEvent};
use crate::error::Result;
use crate::models::{Attendance, Participant, ParticipantKind};

use super::{Followed, Inner, PresenceChanges};

/// Astrologers looked at at once.
const SWITCHES_AT_ONCE: usize = 500;
/// Astrologers without a socket whose phones can be reached: so many are looked at with those who are connected.
const MOST_FOLLOWED: usize = 10_000;

impl PresenceChanges {
    /// `astrologer:status_changed`: the astrologer's own switch must be on, and he connected or to be reached by push.
    pub(super) async fn tell_status(&self, changes: &[Attendance]) -> Result<()> {
        let mut astrologers: Vec<&Attendance> = changes.iter().filter(|c| c.person.kind() == ParticipantKind::Astrologer).collect();
        let absent = astrologers.iter().filter(|change| !change.is_online).map(|change| change.person.clone());
        let reachable = self.reachable(absent.collect()).await?;
        let has_admins = self.has_admins();
        if !has_admins {
            // Nobody to tell now. Who can be reached by push is followed all the same, for the admin who comes later.
            astrologers.retain(|change| reachable.contains(&change.person));
        }
        if astrologers.is_empty() {
            return Ok(());
        }
        let ids: Vec<String> = astrologers.iter().map(|change| change.person.id().to_owned()).collect();
        let switches = self.switches(&ids).await?;
        for change in astrologers {
            let switched_on = switches.get(change.person.id()).copied().unwrap_or(true);
            self.note_switch(&change.person, switched_on);
            let is_reachable = reachable.contains(&change.person);
            let is_online = switched_on && (change.is_online || is_reachable);
            self.follow_on(&change.person, is_reachable.then_some(Followed { is_online, last_seen: change.last_seen }));
            if has_admins {
                self.emit_status(change, is_online).await?;
            }
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
    pub(super) async fn look_at_switches(&self) -> Result<()> {
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
    pub(super) async fn look_at_followed(&self) -> Result<()> {
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
}
