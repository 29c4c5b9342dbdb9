//! Calls: who rings whom, and the one table of what may become of it.
//!
//! Stored words are those of the original schema; clients of the Node backend hear its words for the same things
//! ([`Call::event_status`]). Source: docs/protocol.md#calls.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::conversation::ConversationKey;
use super::ids::CallId;
use super::participant::{Participant, Profile};
use super::time::Timestamp;

/// What travels during the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CallType {
    /// Sound.
    Voice,
    /// Sound and picture.
    Video,
}

impl CallType {
    /// The word on the wire and in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Voice => "voice",
            Self::Video => "video",
        }
    }

    /// Reads the word of the wire; `audio` is an older word for `voice`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "voice" | "audio" => Some(Self::Voice),
            "video" => Some(Self::Video),
            _ => None,
        }
    }

    /// What a call log begins with.
    pub fn label(self) -> &'static str {
        match self {
            Self::Voice => "Voice call",
            Self::Video => "Video call",
        }
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The stored word.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// Reads the stored word.
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).ok_or_else(|| serde::de::Error::custom("no such word"))
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "enum": [$($word,)+] })
            }
        }
    };
}

words! {
    /// Where a call stands. The last four are final.
    CallStatus {
        /// Stored; no client of the callee has heard of it.
        Initiated = "initiated",
        /// A client of the callee was connected.
        Ringing = "ringing",
        /// Accepted by the callee.
        Answered = "answered",
        /// A party said that media flows.
        Ongoing = "ongoing",
        /// Over after it was answered, or cancelled before.
        Ended = "ended",
        /// The callee did not want it, or was busy.
        Rejected = "rejected",
        /// Nobody answered in time.
        Missed = "missed",
        /// Set by older programs only.
        Failed = "failed",
    }
}

words! {
    /// Why a call is over; finer in [`Call::end_detail`].
    EndReason {
        /// Talked and hung up.
        Completed = "completed",
        /// The callee did not want it, or was busy.
        Rejected = "rejected",
        /// Nobody answered in time.
        NoAnswer = "no_answer",
        /// A side vanished.
        NetworkError = "network_error",
        /// The caller gave up.
        Cancelled = "cancelled",
    }
}

impl CallStatus {
    /// Not answered yet and not over.
    pub const RINGING: &'static [Self] = &[Self::Initiated, Self::Ringing];
    /// Answered and not over.
    pub const TALKING: &'static [Self] = &[Self::Answered, Self::Ongoing];

    /// Whether the callee may still answer.
    pub fn is_ringing(self) -> bool {
        Self::RINGING.contains(&self)
    }

    /// Whether it was answered and is not over.
    pub fn is_talking(self) -> bool {
        Self::TALKING.contains(&self)
    }

    /// Whether nothing can change it any more.
    pub fn is_over(self) -> bool {
        !self.is_ringing() && !self.is_talking()
    }

    /// Whether a call that is in this state may have been in `other` before: no state is ever left for an earlier one.
    pub fn is_later_than(self, other: Self) -> bool {
        let place = |status: Self| if status.is_over() { 4 } else { status as usize };
        place(self) > place(other)
    }
}

/// What may happen to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// A client of the callee was handed the call.
    Ring,
    /// `call:accept`.
    Accept,
    /// `call:connected`.
    Connect,
    /// `call:reject`.
    Reject,
    /// `call:end`.
    End,
    /// The callee talks to somebody else.
    Busy,
    /// The ring deadline passed.
    Timeout,
    /// The caller vanished while it rang.
    CallerGone,
    /// Both vanished while they talked.
    BothGone,
}

/// Who makes something happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Actor {
    /// The server itself.
    Server,
    /// The caller.
    Caller,
    /// The callee.
    Callee,
    /// The callee, from the very client that answered.
    Answerer,
}

impl Actor {
    /// The side of a person; none for the server.
    pub fn side(self) -> Option<CallSide> {
        match self {
            Self::Server => None,
            Self::Caller => Some(CallSide::Caller),
            Self::Callee | Self::Answerer => Some(CallSide::Callee),
        }
    }
}

/// One allowed step: who may do what in which status, and what it leads to.
#[derive(Debug)]
pub struct Transition {
    /// What happens.
    pub trigger: Trigger,
    /// Who may make it happen.
    pub actors: &'static [Actor],
    /// In which status.
    pub from: &'static [CallStatus],
    /// The status afterwards.
    pub to: CallStatus,
    /// Set where `to` is final: the reason, and the detail unless the client gave a better one.
    pub end: Option<(EndReason, &'static str)>,
}

const PARTIES: &[Actor] = &[Actor::Caller, Actor::Callee, Actor::Answerer];
const CALLEE: &[Actor] = &[Actor::Callee, Actor::Answerer];
const SERVER: &[Actor] = &[Actor::Server];

const fn step(trigger: Trigger, actors: &'static [Actor], from: &'static [CallStatus], to: CallStatus) -> Transition {
    Transition { trigger, actors, from, to, end: None }
}

const fn last(
    trigger: Trigger,
    actors: &'static [Actor],
    from: &'static [CallStatus],
    to: CallStatus,
    reason: EndReason,
    detail: &'static str,
) -> Transition {
    Transition { trigger, actors, from, to, end: Some((reason, detail)) }
}

/// Every step there is. What is not here changes nothing. Source: docs/protocol.md#call-states.
pub const TRANSITIONS: &[Transition] = {
    use CallStatus::{Answered, Ended, Initiated, Missed, Ongoing, Rejected, Ringing};
    &[
        step(Trigger::Ring, SERVER, &[Initiated], Ringing),
        step(Trigger::Accept, CALLEE, CallStatus::RINGING, Answered),
        // A callee who joins the channel has answered, even if the accept itself never arrived.
        step(Trigger::Connect, CALLEE, CallStatus::RINGING, Answered),
        step(Trigger::Connect, PARTIES, &[Answered], Ongoing),
        last(Trigger::Reject, CALLEE, CallStatus::RINGING, Rejected, EndReason::Rejected, "declined"),
        // From any other client of the callee it is the automatic reject of a screen left open: not here, so it changes nothing.
        last(Trigger::Reject, &[Actor::Answerer], &[Answered], Ended, EndReason::Completed, "completed"),
        last(Trigger::Reject, &[Actor::Answerer], &[Ongoing], Ended, EndReason::Completed, "completed"),
        last(Trigger::End, &[Actor::Caller], CallStatus::RINGING, Ended, EndReason::Cancelled, "caller_cancelled"),
        last(Trigger::End, CALLEE, CallStatus::RINGING, Rejected, EndReason::Rejected, "declined"),
        last(Trigger::End, PARTIES, &[Answered], Ended, EndReason::Completed, "completed"),
        last(Trigger::End, PARTIES, &[Ongoing], Ended, EndReason::Completed, "completed"),
        last(Trigger::Busy, SERVER, CallStatus::RINGING, Rejected, EndReason::Rejected, "busy"),
        last(Trigger::Timeout, SERVER, CallStatus::RINGING, Missed, EndReason::NoAnswer, "timeout"),
        last(Trigger::CallerGone, SERVER, CallStatus::RINGING, Ended, EndReason::NetworkError, "caller_gone"),
        last(Trigger::BothGone, SERVER, &[Answered], Ended, EndReason::NetworkError, "both_gone"),
        last(Trigger::BothGone, SERVER, &[Ongoing], Ended, EndReason::NetworkError, "both_gone"),
    ]
};

/// The step `actor` takes by `trigger` in `status`; `None` where it changes nothing.
pub fn transition(trigger: Trigger, actor: Actor, status: CallStatus) -> Option<&'static Transition> {
    TRANSITIONS.iter().find(|t| t.trigger == trigger && t.actors.contains(&actor) && t.from.contains(&status))
}

/// The two ends of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallSide {
    /// Who rang.
    Caller,
    /// Who was rung.
    Callee,
}

impl CallSide {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Caller => Self::Callee,
            Self::Callee => Self::Caller,
        }
    }
}

/// What is still to be done about a call that is over. Stored with it, so that a crash forgets none of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notices {
    /// The caller has not been told.
    pub caller: bool,
    /// The callee has not been told.
    pub callee: bool,
    /// The call log has not been written.
    pub log: bool,
}

impl Notices {
    /// Everything.
    pub const ALL: Self = Self { caller: true, callee: true, log: true };

    /// The words they are stored as.
    pub const WORDS: [&'static str; 3] = ["caller", "callee", "log"];

    /// Whether nothing is left to do.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// In the order of [`Notices::WORDS`].
    pub fn flags(self) -> [bool; 3] {
        [self.caller, self.callee, self.log]
    }

    /// From flags in the order of [`Notices::WORDS`].
    pub fn from_flags([caller, callee, log]: [bool; 3]) -> Self {
        Self { caller, callee, log }
    }

    /// What is left once `done` is done.
    #[must_use]
    pub fn without(self, done: Self) -> Self {
        Self { caller: self.caller && !done.caller, callee: self.callee && !done.callee, log: self.log && !done.log }
    }

    /// Whether this side has not been told.
    pub fn concerns(self, side: CallSide) -> bool {
        match side {
            CallSide::Caller => self.caller,
            CallSide::Callee => self.callee,
        }
    }

    /// Only this side.
    pub fn of(side: CallSide) -> Self {
        Self { caller: side == CallSide::Caller, callee: side == CallSide::Callee, log: false }
    }
}

/// What a party thought of a call afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feedback {
    /// 1 to 5.
    pub rating: u8,
    /// In words.
    pub comment: Option<String>,
    /// Who; absent in older documents.
    pub by: Option<Participant>,
}

/// A call that a store has not yet accepted.
#[derive(Clone, Debug)]
pub struct NewCall {
    /// Who rings, with the id the client knows (an admin keeps his own).
    pub caller: Participant,
    /// What is shown of the caller.
    pub caller_profile: Profile,
    /// Who is rung.
    pub callee: Participant,
    /// What is shown of the callee.
    pub callee_profile: Profile,
    /// Kind.
    pub call_type: CallType,
    /// Name of the media channel, made by the server, unique, at most 63 bytes.
    pub channel: String,
    /// Canonical key of the two parties' conversation, which may not be opened yet.
    pub conversation_key: ConversationKey,
    /// Document id of the consultation it belongs to, 24 hex digits.
    pub consultation_id: Option<String>,
    /// [`CallStatus::Ringing`] if a client of the callee is connected, else [`CallStatus::Initiated`].
    pub status: CallStatus,
    /// How long it may ring.
    pub ring_for: Duration,
    /// The caller's clock; the store moves it forward if need be.
    pub at: Timestamp,
}

impl NewCall {
    /// The stored form, with the id and time the store chose.
    pub fn into_call(self, id: CallId, initiated_at: Timestamp) -> Call {
        Call {
            id,
            caller: self.caller,
            caller_profile: self.caller_profile,
            callee: self.callee,
            callee_profile: self.callee_profile,
            call_type: self.call_type,
            channel: self.channel,
            conversation_key: Some(self.conversation_key),
            consultation_id: self.consultation_id,
            status: self.status,
            ring_deadline: Some(initiated_at.plus(self.ring_for)),
            initiated_at,
            ringing_at: (self.status == CallStatus::Ringing).then_some(initiated_at),
            answered_at: None,
            connected_at: None,
            ended_at: None,
            duration: 0,
            server_duration: 0,
            end_reason: None,
            end_detail: None,
            ended_by: None,
            notices: Notices::default(),
            feedback: None,
            updated_at: initiated_at,
        }
    }
}

/// A stored call. Tokens are never stored. Other nodes see it without its feedback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Document id; calls are listed by it.
    pub id: CallId,
    /// Who rings.
    pub caller: Participant,
    /// What is shown of the caller.
    pub caller_profile: Profile,
    /// Who is rung.
    pub callee: Participant,
    /// What is shown of the callee.
    pub callee_profile: Profile,
    /// Kind.
    pub call_type: CallType,
    /// Name of the media channel.
    pub channel: String,
    /// Canonical key of the parties' conversation; absent in older documents.
    pub conversation_key: Option<ConversationKey>,
    /// Document id of the consultation it belongs to.
    pub consultation_id: Option<String>,
    /// Where it stands.
    pub status: CallStatus,
    /// When ringing ends by itself; gone once it does not ring any more.
    pub ring_deadline: Option<Timestamp>,
    /// When it was stored.
    pub initiated_at: Timestamp,
    /// When a client of the callee heard of it.
    pub ringing_at: Option<Timestamp>,
    /// When the callee accepted.
    pub answered_at: Option<Timestamp>,
    /// When a party first said that media flows.
    pub connected_at: Option<Timestamp>,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
    /// Whole seconds talked, the client's figure where it is believable; zero if never answered.
    pub duration: u32,
    /// Whole seconds talked by the server's clock.
    pub server_duration: u32,
    /// Why it is over.
    pub end_reason: Option<EndReason>,
    /// The finer reason: `declined`, `busy`, `timeout`, `caller_cancelled`, `caller_gone`, `both_gone`, `completed` or older words.
    pub end_detail: Option<String>,
    /// Which party ended it; the server is nobody.
    pub ended_by: Option<Participant>,
    /// What is still to be done about its end.
    pub notices: Notices,
    /// What a party thought of it.
    #[serde(skip)]
    pub feedback: Option<Feedback>,
    /// When anything of it last changed.
    pub updated_at: Timestamp,
}

impl Call {
    /// The person on a side.
    pub fn party(&self, side: CallSide) -> &Participant {
        match side {
            CallSide::Caller => &self.caller,
            CallSide::Callee => &self.callee,
        }
    }

    /// The side `person` is on; `None` for strangers.
    pub fn side_of(&self, person: &Participant) -> Option<CallSide> {
        if self.caller.is_same_identity(person) {
            Some(CallSide::Caller)
        } else if self.callee.is_same_identity(person) {
            Some(CallSide::Callee)
        } else {
            None
        }
    }

    /// Whole seconds from media (or the answer) until `at`; zero if it was never answered.
    pub fn seconds_talked(&self, at: Timestamp) -> u32 {
        let since = self.connected_at.or(self.answered_at);
        since.map_or(0, |since| u32::try_from(at.since(since).as_secs()).unwrap_or(u32::MAX))
    }

    /// The status in the words of the events, which are those of the Node backend: `accepted`, `connected`, `cancelled`.
    pub fn event_status(&self) -> &'static str {
        match (self.status, self.end_reason) {
            (CallStatus::Answered, _) => "accepted",
            (CallStatus::Ongoing, _) => "connected",
            (CallStatus::Ended, Some(EndReason::Cancelled)) => "cancelled",
            (status, _) => status.as_str(),
        }
    }

    /// The word a call log has for its end. `None` while it is not over.
    pub fn log_status(&self) -> Option<&'static str> {
        if !self.status.is_over() {
            return None;
        }
        Some(match (self.status, self.end_reason) {
            _ if self.answered_at.is_some() => "completed",
            (CallStatus::Rejected, _) if self.end_detail.as_deref() == Some("busy") => "missed",
            (CallStatus::Rejected, _) => "declined",
            (_, Some(EndReason::Cancelled)) => "cancelled",
            _ => "missed",
        })
    }
}

/// The longest duration a client may state, in seconds.
const LONGEST_STATED: u64 = 86_400;
/// How far a stated duration may exceed the server's, in seconds.
const STATED_TOLERANCE: u32 = 5;

/// The duration to store: the client's figure if it is believable, otherwise the server's. Source: docs/protocol.md#call-duration.
pub fn believable_duration(stated: Option<u64>, server_duration: u32, was_answered: bool) -> u32 {
    if !was_answered {
        return 0;
    }
    let stated = stated.filter(|s| (1..=LONGEST_STATED).contains(s)).and_then(|s| u32::try_from(s).ok());
    stated.filter(|s| *s <= server_duration.saturating_add(STATED_TOLERANCE)).unwrap_or(server_duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_free_of_ambiguity_and_final_states_stay_final() {
        for (i, a) in TRANSITIONS.iter().enumerate() {
            assert!(a.from.iter().all(|s| !s.is_over()), "{a:?} leaves a final state");
            assert_eq!(a.to.is_over(), a.end.is_some(), "{a:?}");
            for b in &TRANSITIONS[i + 1..] {
                let overlaps =
                    a.trigger == b.trigger && a.actors.iter().any(|x| b.actors.contains(x)) && a.from.iter().any(|s| b.from.contains(s));
                assert!(!overlaps, "{a:?} and {b:?} answer the same question");
            }
        }
    }

    #[test]
    fn a_clients_duration_counts_only_where_it_is_believable() {
        for (stated, server, answered, expected) in [
            (Some(50), 60, true, 50),
            (Some(65), 60, true, 65),
            (Some(66), 60, true, 60),
            (Some(0), 60, true, 60),
            (None, 60, true, 60),
            (Some(90_000), 90_000, true, 90_000),
            (Some(50), 0, false, 0),
        ] {
            assert_eq!(believable_duration(stated, server, answered), expected, "{stated:?} {server} {answered}");
        }
    }
}
