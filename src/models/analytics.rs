//! What the dashboard counts: messages and calls of astrologers, by day, by hour and by astrologer. Source: docs/protocol.md#analytics.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::call::CallType;
use super::participant::ParticipantKind;
use super::time::Timestamp;

const DAY: Duration = Duration::from_secs(24 * 3600);
const DAY_MILLIS: i64 = 24 * 3_600_000;

/// A day of UTC, counted from the first of 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(i64);

impl Day {
    /// The day of a moment.
    pub fn of(at: Timestamp) -> Self {
        Self(at.as_millis().div_euclid(DAY_MILLIS))
    }

    /// The day with this number.
    pub fn from_number(number: i64) -> Self {
        Self(number)
    }

    /// Its number.
    pub fn number(self) -> i64 {
        self.0
    }

    /// Its first moment.
    pub fn start(self) -> Timestamp {
        Timestamp::from_millis(self.0.saturating_mul(DAY_MILLIS))
    }

    /// The first moment of the next one.
    pub fn end(self) -> Timestamp {
        self.start().plus(DAY)
    }

    /// The last `count` days up to this one, in order.
    pub fn last(self, count: u16) -> impl Iterator<Item = Self> {
        (0..i64::from(count)).rev().map(move |back| Self(self.0 - back))
    }
}

/// As `YYYY-MM-DD`.
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.start().to_string().get(..10).unwrap_or_default())
    }
}

/// With whom an astrologer has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum With {
    /// With support.
    Admins,
    /// With customers.
    Users,
}

impl With {
    /// Both, in the order of the pairs below.
    pub const ALL: [Self; 2] = [Self::Admins, Self::Users];

    /// Of the other side of a message or call; `None` where that is an astrologer too.
    pub fn kind(kind: ParticipantKind) -> Option<Self> {
        match kind {
            ParticipantKind::Admin => Some(Self::Admins),
            ParticipantKind::User => Some(Self::Users),
            ParticipantKind::Astrologer => None,
        }
    }
}

/// How a call went, as the dashboard divides them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Answered and over.
    Completed,
    /// Nobody answered in time.
    Missed,
    /// Declined, or the callee was busy.
    Rejected,
    /// Cancelled before an answer, or not over.
    Other,
}

impl Outcome {
    /// The word the drivers' queries use.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "completed" => Some(Self::Completed),
            "missed" => Some(Self::Missed),
            "rejected" => Some(Self::Rejected),
            "other" => Some(Self::Other),
            _ => None,
        }
    }
}

/// Messages of one astrologer in one hour of a day; neither deleted for everyone nor call logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageTally {
    /// 0 to 23.
    pub hour: usize,
    /// The astrologer's id.
    pub astrologer: String,
    /// What the astrologer was called, if it is known.
    pub name: Option<String>,
    /// With whom.
    pub with: With,
    /// How many, either way.
    pub count: u64,
}

/// Calls of one astrologer that began in one hour of a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallTally {
    /// 0 to 23.
    pub hour: usize,
    /// The astrologer's id.
    pub astrologer: String,
    /// What the astrologer was called, if it is known.
    pub name: Option<String>,
    /// With whom.
    pub with: With,
    /// Kind.
    pub call_type: CallType,
    /// How they went.
    pub outcome: Outcome,
    /// How many, either way.
    pub count: u64,
    /// Those of them that lasted a second or longer, by the server's clock.
    pub talked: u64,
    /// How long these lasted together.
    pub seconds: u64,
}

/// Messages and calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Messages.
    pub messages: u64,
    /// Calls with sound alone.
    pub voice: u64,
    /// Calls with picture.
    pub video: u64,
}

impl Counts {
    /// Calls of both kinds.
    pub fn calls(self) -> u64 {
        self.voice + self.video
    }

    /// Everything.
    pub fn total(self) -> u64 {
        self.messages + self.calls()
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        self.messages += more.messages;
        self.voice += more.voice;
        self.video += more.video;
    }
}

/// How calls went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcomes {
    /// Answered and over.
    pub completed: u64,
    /// Not answered in time.
    pub missed: u64,
    /// Declined or busy.
    pub rejected: u64,
}

impl AddAssign for Outcomes {
    fn add_assign(&mut self, more: Self) {
        self.completed += more.completed;
        self.missed += more.missed;
        self.rejected += more.rejected;
    }
}

/// Completed calls that lasted, and how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Talked {
    /// How many.
    pub calls: u64,
    /// Together.
    pub seconds: u64,
}

impl AddAssign for Talked {
    fn add_assign(&mut self, more: Self) {
        self.calls += more.calls;
        self.seconds += more.seconds;
    }
}

/// What one astrologer did. Kept as seven numbers: there is one for every astrologer of every day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "[u64; 7]", into = "[u64; 7]")]
pub struct Activity {
    /// Messages and calls.
    pub counts: Counts,
    /// Completed calls with sound alone.
    pub voice: Talked,
    /// Completed calls with picture.
    pub video: Talked,
}

impl From<Activity> for [u64; 7] {
    fn from(Activity { counts, voice, video }: Activity) -> Self {
        [counts.messages, counts.voice, counts.video, voice.calls, voice.seconds, video.calls, video.seconds]
    }
}

impl From<[u64; 7]> for Activity {
    fn from([messages, voice, video, voice_calls, voice_seconds, video_calls, video_seconds]: [u64; 7]) -> Self {
        Self {
            counts: Counts { messages, voice, video },
            voice: Talked { calls: voice_calls, seconds: voice_seconds },
            video: Talked { calls: video_calls, seconds: video_seconds },
        }
    }
}

impl AddAssign for Activity {
    fn add_assign(&mut self, more: Self) {
        self.counts += more.counts;
        self.voice += more.voice;
        self.video += more.video;
    }
}

/// An astrologer in a day or more of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AstrologerDay {
    /// The name, if it is known.
    #[serde(rename = "n", skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// With admins and with users.
    #[serde(rename = "w")]
    pub with: [Activity; 2],
}

/// Everything counted of one day. Pairs are [`With::ALL`]: with admins, with users.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayTotals {
    /// By hour.
    pub hours: [[Counts; 24]; 2],
    /// How the calls went.
    pub outcomes: [Outcomes; 2],
    /// By astrologer.
    pub astrologers: BTreeMap<String, AstrologerDay>,
}

impl DayTotals {
    /// Adds messages.
    pub fn add_messages(&mut self, tallies: impl IntoIterator<Item = MessageTally>) {
        for tally in tallies {
            let counts = Counts { messages: tally.count, ..Counts::default() };
            self.add(tally.hour, tally.with, tally.astrologer, tally.name, Activity { counts, ..Activity::default() });
        }
    }

    /// Adds calls.
    pub fn add_calls(&mut self, tallies: impl IntoIterator<Item = CallTally>) {
        for tally in tallies {
            let mut activity = Activity::default();
            let talked = match tally.outcome {
                Outcome::Completed => Talked { calls: tally.talked, seconds: tally.seconds },
                Outcome::Missed | Outcome::Rejected | Outcome::Other => Talked::default(),
            };
            match tally.call_type {
                CallType::Voice => (activity.counts.voice, activity.voice) = (tally.count, talked),
                CallType::Video => (activity.counts.video, activity.video) = (tally.count, talked),
            }
            let outcomes = &mut self.outcomes[tally.with as usize];
            match tally.outcome {
                Outcome::Completed => outcomes.completed += tally.count,
                Outcome::Missed => outcomes.missed += tally.count,
                Outcome::Rejected => outcomes.rejected += tally.count,
                Outcome::Other => {}
            }
            self.add(tally.hour, tally.with, tally.astrologer, tally.name, activity);
        }
    }

    fn add(&mut self, hour: usize, with: With, astrologer: String, name: Option<String>, activity: Activity) {
        if let Some(hour) = self.hours[with as usize].get_mut(hour) {
            *hour += activity.counts;
        }
        let entry = self.astrologers.entry(astrologer).or_default();
        entry.with[with as usize] += activity;
        // Of two names either will do.
        entry.name = entry.name.take().or(name);
    }

    /// Messages and calls over all hours.
    pub fn counts(&self) -> [Counts; 2] {
        self.hours.map(|hours| {
            let mut sum = Counts::default();
            hours.into_iter().for_each(|hour| sum += hour);
            sum
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_read_back_as_they_were_kept() {
        let mut totals = DayTotals::default();
        let call = CallTally {
            hour: 23,
            astrologer: "a1".into(),
            name: Some("Asha".into()),
            with: With::Users,
            call_type: CallType::Video,
            outcome: Outcome::Completed,
            count: 3,
            talked: 2,
            seconds: 90,
        };
        totals.add_calls([call.clone(), CallTally { outcome: Outcome::Missed, call_type: CallType::Voice, name: None, ..call }]);
        totals.add_messages([MessageTally { hour: 0, astrologer: "a2".into(), name: None, with: With::Admins, count: 7 }]);
        let kept = serde_json::to_string(&totals).expect("JSON");
        assert!(kept.contains(r#""a1":{"n":"Asha","w":[[0,0,0,0,0,0,0],[0,3,3,0,0,2,90]]}"#), "{kept}");
        assert_eq!(serde_json::from_str::<DayTotals>(&kept).expect("read"), totals);
    }

    #[test]
    fn days_are_those_of_utc() {
        let at = Timestamp::parse("2025-12-20T23:59:59.999Z").expect("a time");
        let day = Day::of(at);
        assert_eq!(day.to_string(), "2025-12-20");
        assert_eq!(
            (day.start().to_string(), day.end().to_string()),
            ("2025-12-20T00:00:00.000Z".into(), "2025-12-21T00:00:00.000Z".into())
        );
        assert_eq!(day.last(3).map(|day| day.to_string()).collect::<Vec<_>>(), ["2025-12-18", "2025-12-19", "2025-12-20"]);
    }
}
