//! What the server stored and said, held against what the model expects.

use samvad::models::{Call, MessageType, Pair};
use samvad::store::{Lookup, MessageQuery, Range};
use serde_json::Value;

use super::trace::Trace;
use crate::call_model::state::{Heard, Kind, Outcome, Socket, State};

impl Trace<'_> {
    /// The call as it is in the file.
    pub(super) fn stored(&self) -> Call {
        self.bench.observer.block_on(self.bench.store.find_call(self.call)).expect("it can be read").expect("it is stored")
    }

    /// Holds what the server stored and said against what the model expects.
    pub(super) fn compare(&self, outcome: &Outcome) {
        let (call, state) = (self.stored(), &outcome.state);
        assert_eq!(
            (call.status, call.end_reason.zip(call.end_detail.as_deref()), call.answered_at.is_some(), call.duration),
            (state.status, state.end, state.was_answered, state.duration),
            "status, end, whether it was answered, duration"
        );
        assert_eq!(self.logs(), usize::from(state.logs), "call logs");
        let Some(process) = &self.process else { return };
        for socket in Socket::all() {
            let heard = process.heard_by(socket);
            let expected = outcome.heard_by(socket);
            assert_eq!(names(&heard), expected_names(expected), "{socket:?} hears {heard:?}, but should {expected:?}");
            self.check_payloads(&heard, expected, state);
        }
    }

    fn check_payloads(&self, heard: &[(String, Value)], expected: Heard, state: &State) {
        let id = self.call.to_string();
        for (name, payload) in heard {
            assert_eq!(payload["callId"], *id, "{name} {payload}");
            if name.starts_with("call:end") {
                assert_eq!(payload["duration"], state.duration, "{name} {payload}");
            }
        }
        for (kind, name, reason) in [
            (Kind::Elsewhere, "call:ended", "answered_elsewhere"),
            (Kind::RejectedElsewhere, "call:ended", "rejected"),
            (Kind::Missed, "call:missed", "no_answer"),
            (Kind::Missed, "call:end", "missed"),
        ] {
            let says_so = || heard.iter().any(|(other, payload)| other == name && payload["reason"] == reason);
            assert!(!expected.has(kind) || says_so(), "{name} should say {reason}: {heard:?}");
        }
    }

    fn logs(&self) -> usize {
        let [caller, callee] = &self.people.users;
        let key = Pair::new(caller.identity(), callee.identity()).expect("two people").key();
        self.bench.observer.block_on(async {
            let store = &self.bench.store;
            let Some(conversation) = store.find_conversation(&Lookup::Key(key)).await.expect("it can be read") else { return 0 };
            let viewer = conversation.person_key(caller.participant());
            let query = MessageQuery { conversation: conversation.handle.clone(), viewer, range: Range::Latest { skip: 0 }, limit: 10 };
            let messages = store.messages(query).await.expect("they can be read").items;
            assert!(messages.iter().all(|message| message.message_type == MessageType::CallLog));
            messages.len()
        })
    }
}

/// In alphabetical order.
pub(super) fn names(heard: &[(String, Value)]) -> Vec<&str> {
    let mut names: Vec<_> = heard.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names
}

fn expected_names(heard: Heard) -> Vec<&'static str> {
    let names_of = |kind: Kind| match kind {
        Kind::Incoming => ["call:incoming"].as_slice(),
        Kind::Accepted => &["call:accept", "call:accepted"],
        Kind::Rejected => &["call:reject", "call:rejected"],
        Kind::Elsewhere | Kind::RejectedElsewhere | Kind::Ended | Kind::TooLate => &["call:end", "call:ended"],
        Kind::Missed => &["call:missed", "call:end"],
        Kind::Connected => &["call:connected"],
        Kind::Log => &["dm:message_received"],
    };
    let mut names: Vec<_> = Kind::ALL.into_iter().filter(|kind| heard.has(*kind)).flat_map(names_of).copied().collect();
    names.sort_unstable();
    names
}
