//! Our own facts about trust: who has dealt with whom, who looked at what, and whose tokens are refused.

use bson::{Bson, Document, doc};

use super::engine::{Engine, date};
use super::failure::is_duplicate_key;
use super::fields::{Fields, id_forms};
use crate::error::Result;
use crate::models::{AuditAction, AuditEntry, Pair, Participant, Relation, Revocation, Timestamp};

impl Engine {
    /// Ours first: those questions have an index each.
    pub(super) async fn are_related(&self, pair: &Pair, phone: Option<&str>) -> Result<bool> {
        Ok(self.is_noted(pair).await? || self.have_talked(pair).await? || self.have_dealt(pair, phone).await?)
    }

    async fn is_noted(&self, pair: &Pair) -> Result<bool> {
        let [user, astrologer] = pair.both();
        let find = self.relations.find_one(doc! { "userId": user.id(), "astrologerId": astrologer.id() }).projection(doc! { "_id": 1 });
        Ok(self.ask("finding the relation of", pair.key(), find).await?.is_some())
    }

    /// By who takes part, not by the key: to an older program that is free text, and no proof that these two ever met.
    async fn have_talked(&self, pair: &Pair) -> Result<bool> {
        let member = |person: &Participant| {
            let is_person = doc! { "id": { "$in": id_forms(person.id()) }, "type": person.kind().as_str() };
            doc! { "participants": { "$elemMatch": is_person } }
        };
        // Not `$all`: DocumentDB knows no `$elemMatch` inside it.
        let members = doc! { "$and": pair.both().map(member).to_vec() };
        let find = self.conversations.find_one(members).projection(doc! { "_id": 1 });
        Ok(self.ask("finding a conversation of", pair.key(), find).await?.is_some())
    }

    pub(super) async fn add_relation(&self, relation: &Relation) -> Result<bool> {
        let mut document = doc! { "userId": &relation.user, "astrologerId": &relation.astrologer };
        set(&mut document, "consultationId", relation.consultation_id.as_deref());
        document.insert("createdAt", date(relation.at));
        let insert = async {
            match self.relations.insert_one(document).await {
                Err(e) if is_duplicate_key(&e) => Ok(false),
                outcome => outcome.map(|_| true),
            }
        };
        self.ask("noting a relation of", format!("{} and {}", relation.user, relation.astrologer), insert).await
    }

    pub(super) async fn has_relations(&self) -> Result<bool> {
        let find = self.relations.find_one(doc! {}).projection(doc! { "_id": 1 });
        Ok(self.ask("finding any relation in", self.database.name(), find).await?.is_some())
    }

    pub(super) async fn append_audit(&self, entries: &[AuditEntry]) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let insert = self.audit.insert_many(entries.iter().map(write_entry));
        self.ask("adding to the audit trail of", self.database.name(), insert).await?;
        Ok(())
    }

    pub(super) async fn audit_trail(
        &self,
        action: Option<AuditAction>,
        before: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<AuditEntry>> {
        // To the database a limit of zero is no limit.
        if limit == 0 {
            return Ok(Vec::new());
        }
        let mut filter = Document::new();
        if let Some(action) = action {
            filter.insert("action", action.as_str());
        }
        if let Some(before) = before {
            filter.insert("at", doc! { "$lt": date(before) });
        }
        let find = self.audit.find(filter).sort(doc! { "at": -1, "_id": -1 }).limit(i64::try_from(limit).unwrap_or(i64::MAX));
        let found = self.collect("reading the audit trail of", self.database.name(), find).await?;
        found.iter().map(read_entry).collect()
    }

    pub(super) async fn revoke(&self, revocation: &Revocation) -> Result<()> {
        let person = &revocation.person;
        let who = doc! { "personType": person.kind().as_str(), "personId": person.id() };
        let update = self.revocations.update_one(who, doc! { "$max": { "until": date(revocation.until) } }).upsert(true);
        self.ask("revoking the tokens of", person, update).await?;
        Ok(())
    }

    pub(super) async fn revocations(&self, since: Option<Timestamp>) -> Result<Vec<Revocation>> {
        // All of them also if one has no date: that is told, not skipped.
        let filter = since.map_or_else(Document::new, |since| doc! { "until": { "$gte": date(since) } });
        let found = self.collect("reading the revocations in", self.database.name(), self.revocations.find(filter)).await?;
        found.iter().map(read_revocation).collect()
    }

    pub(super) async fn purge_revocations(&self, before: Timestamp) -> Result<()> {
        let delete = self.revocations.delete_many(doc! { "until": { "$lt": date(before) } });
        self.ask("forgetting old revocations in", self.database.name(), delete).await?;
        Ok(())
    }
}

fn write_entry(entry: &AuditEntry) -> Document {
    let mut document = doc! { "at": date(entry.at), "actor": &entry.actor, "action": entry.action.as_str(), "subject": &entry.subject };
    set(&mut document, "detail", entry.detail.as_deref());
    document
}

fn read_entry(document: &Document) -> Result<AuditEntry> {
    let fields = Fields::of("samvadaudit", document)?;
    Ok(AuditEntry {
        at: require_date(fields, "at")?,
        actor: fields.text("actor")?,
        action: AuditAction::parse(&fields.text("action")?).ok_or_else(|| fields.wrong("action", "is no action"))?,
        subject: fields.text("subject")?,
        detail: fields.find_text("detail")?,
    })
}

fn read_revocation(document: &Document) -> Result<Revocation> {
    let fields = Fields::of("samvadrevocations", document)?;
    Ok(Revocation { person: fields.participant("personType", "personId")?, until: require_date(fields, "until")? })
}

fn require_date(fields: Fields<'_>, name: &str) -> Result<Timestamp> {
    fields.find_date(name)?.ok_or_else(|| fields.wrong(name, "is missing"))
}

/// Adds what is known.
fn set(document: &mut Document, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        document.insert(name, Bson::from(value));
    }
}
