//! Whether something that waits in the outbox is about somebody, for `samvad erase`.

use serde_json::Value;

use crate::models::{OutboxEntry, Participant};

use super::job::Job;

/// Whether an entry is for this person, or tells others of him: what he wrote, whom he calls, whether he is there.
///
/// One that cannot be read is about everybody: whoever is to be forgotten must not wait in it.
pub fn is_about(entry: &OutboxEntry, person: &Participant) -> bool {
    if entry.recipient.as_ref().is_some_and(|recipient| recipient.is_same_identity(person)) {
        return true;
    }
    let is_one_of = |people: &[&Participant]| people.iter().any(|one| one.is_same_identity(person));
    match serde_json::from_str(&entry.body) {
        Ok(Job::Message(message)) => is_one_of(&[&message.sender, &message.recipient]),
        Ok(Job::Ring { call }) => is_one_of(&[&call.caller, &call.callee]),
        Ok(Job::Stop { callee, .. }) => is_one_of(&[&callee]),
        Ok(Job::End { to, .. }) => is_one_of(&[&to]),
        Ok(Job::Event { data, .. }) => names(&data, person),
        Err(_) => true,
    }
}

/// Whether the data of an event names him anywhere: `id` with `type`, or `senderId` with `senderType` and the like.
fn names(data: &Value, person: &Participant) -> bool {
    match data {
        Value::Array(all) => all.iter().any(|one| names(one, person)),
        Value::Object(fields) => fields.iter().any(|(name, value)| {
            let kind = match name.as_str() {
                "id" => fields.get("type"),
                name => name.strip_suffix("Id").and_then(|role| fields.get(&format!("{role}Type"))),
            };
            let is_he = value.as_str() == Some(person.id()) && kind.and_then(Value::as_str) == Some(person.kind().as_str());
            is_he || names(value, person)
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::models::ParticipantKind;

    #[test]
    fn an_event_names_the_two_of_a_message_a_call_and_whoever_comes_or_goes() {
        let person = |kind, id| Participant::new(kind, id).unwrap();
        let (user, other) = (person(ParticipantKind::User, "u1"), person(ParticipantKind::Astrologer, "u1"));
        for data in [
            json!({ "message": { "senderId": "u1", "senderType": "user", "recipientId": "a1", "recipientType": "astrologer" } }),
            json!({ "call": { "callerId": "a1", "callerType": "astrologer", "recipientId": "u1", "recipientType": "user" } }),
            json!({ "id": "u1", "type": "user", "isOnline": true }),
        ] {
            assert!(names(&data, &user), "{data}");
            assert!(!names(&data, &other), "{data}");
        }
    }
}
