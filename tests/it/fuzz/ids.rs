//! Group 3, ids and cursors: what is written can be read, what can be read has one reading, and nothing else is let through.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestCaseResult;
use samvad::config::{Config, Raw};
use samvad::models::{CallId, ConversationId, ConversationKey, MessageId, Pair, Participant, ParticipantKind, Timestamp};
use samvad::services::history::{MAX_HISTORY_PAGE, Reading};
use samvad::wire::{self, Payload};
use serde_json::json;

use super::Group;
use super::garbage::text;

/// What a four-digit year can say.
const FIRST_PRINTABLE: i64 = -62_167_219_200_000;
const LAST_PRINTABLE: i64 = 253_402_300_799_999;

fn person() -> impl Strategy<Value = Participant> {
    let kind = select(vec![ParticipantKind::Admin, ParticipantKind::Astrologer, ParticipantKind::User]);
    // Made of what keys are made of.
    let id = prop_oneof![
        3 => "(user|admin|astrologer|_|-|a|1){1,6}",
        2 => "[A-Za-z0-9_-]{1,64}",
        1 => "[A-Za-z0-9_-]{64}",
    ];
    (kind, id).prop_filter_map("a legal id", |(kind, id)| Participant::new(kind, &id))
}

fn a_pair_has_one_key(a: &Participant, b: &Participant, c: &Participant) -> TestCaseResult {
    let Some(pair) = Pair::new(a.clone(), b.clone()) else {
        prop_assert!(a.is_same_identity(b));
        return Ok(());
    };
    prop_assert_eq!(Pair::new(b.clone(), a.clone()), Some(pair.clone()));
    let key = pair.key();
    let parsed = ConversationKey::parse(key.as_str());
    prop_assert_eq!(parsed.as_ref(), Some(&key), "a canonical key is a legal id");
    // Two of one kind have no canonical conversation, so nothing needs to read their key.
    if a.kind() != b.kind() {
        prop_assert_eq!(key.pair(), Some(pair.clone()), "{} has one reading", key);
    } else {
        prop_assert_eq!(key.pair(), None, "{} is no canonical key", key);
    }
    if let Some(other) = Pair::new(a.clone(), c.clone()) {
        prop_assert_eq!(other == pair, other.key() == key, "two pairs, two keys");
    }
    Ok(())
}

fn a_text_is_an_id_or_not(text: &str) -> TestCaseResult {
    let legal_key = (1..=140).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_~-".contains(&b));
    let key = ConversationKey::parse(text);
    prop_assert_eq!(key.is_some(), legal_key);
    if let Some(pair) = key.as_ref().and_then(ConversationKey::pair) {
        prop_assert_eq!(pair.key().to_string(), text, "a key that names two people is written as they are");
    }
    for kind in [ParticipantKind::Admin, ParticipantKind::Astrologer, ParticipantKind::User] {
        let legal =
            (1..=64).contains(&text.len()) && legal_key && !text.contains('~') && (text != "admin" || kind == ParticipantKind::Admin);
        prop_assert_eq!(Participant::new(kind, text).is_some(), legal);
    }
    let hex = text.len() == 24 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let printed = [
        MessageId::parse(text).map(|id| id.to_string()),
        CallId::parse(text).map(|id| id.to_string()),
        ConversationId::parse(text).map(|id| id.to_string()),
        wire::parse_call_id(text).ok().map(|id| id.to_string()),
    ];
    prop_assert!(printed.iter().all(|id| *id == hex.then(|| text.to_ascii_lowercase())), "{:?}", printed);
    if let Some(kind) = ParticipantKind::parse(text) {
        prop_assert!(kind.as_str() == text || text == "customer");
    }
    Ok(())
}

fn a_time_comes_back(millis: i64) -> TestCaseResult {
    let (at, printed) = (Timestamp::from_millis(millis), Timestamp::from_millis(millis).to_string());
    prop_assert_eq!(Timestamp::parse(&millis.to_string()), Some(at));
    let read = Timestamp::parse(&printed);
    prop_assert!(printed.ends_with('Z') && read.is_some(), "what is printed can be read: {}", printed);
    if (FIRST_PRINTABLE..=LAST_PRINTABLE).contains(&millis) {
        prop_assert_eq!(printed.len(), "2025-12-20T10:00:00.007Z".len());
        prop_assert_eq!(read, Some(at), "{}", printed);
    }
    Ok(())
}

fn a_time_has_one_reading(text: &str) -> TestCaseResult {
    if let Some(at) = Timestamp::parse(text) {
        let printed = at.to_string();
        let again = Timestamp::parse(&printed);
        prop_assert!(again.is_some(), "{} was read, but not {}", text, printed);
        if (FIRST_PRINTABLE..=LAST_PRINTABLE).contains(&at.as_millis()) {
            prop_assert_eq!(again, Some(at), "{}", text);
        }
    }
    Ok(())
}

/// Texts like times.
fn times() -> BoxedStrategy<String> {
    let parts = (
        0u32..10_000,
        0u32..14,
        0u32..33,
        0u32..26,
        0u32..62,
        0u32..62,
        "(\\.[0-9]{0,12})?",
        select(vec!["Z", "z", "+05:30", "-23:59", "+24:00", "", " "]),
    );
    let shaped =
        parts.prop_map(|(y, mo, d, h, mi, s, fraction, zone)| format!("{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}{fraction}{zone}"));
    prop_oneof![3 => shaped, 1 => text(), 1 => "[0-9TZ:.+-]{1,30}"].boxed()
}

fn a_cursor_is_bounded(field: &str, text: &str) -> TestCaseResult {
    let read = || Payload::from_value(json!({ field: text })).map_err(|e| TestCaseError::fail(e.to_string()));
    let payload = read()?;
    match wire::history(&payload, Reading::Looks) {
        Ok(ask) => {
            prop_assert!(ask.page >= 1 && (1..=MAX_HISTORY_PAGE).contains(&ask.limit));
            prop_assert!(ask.before.or(ask.after).is_none() || text.len() == 24);
        }
        Err(refused) => prop_assert!(["INVALID_PAYLOAD", "INVALID_ID"].contains(&refused.code())),
    }
    match wire::catch_up(&payload) {
        Ok(ask) => prop_assert!((1..=200).contains(&ask.limit)),
        Err(refused) => prop_assert!(["INVALID_PAYLOAD", "INVALID_ID"].contains(&refused.code())),
    }
    Ok(())
}

/// Durations as the settings have them: read as they are written, or a mistake that names the setting.
fn a_duration_is_read_or_named(text: &str) -> TestCaseResult {
    let settings = |name: &'static str| Config::parse(&Raw::from_pairs([("DATA_DIR", "/nowhere"), (name, text)]));
    match settings("DELETE_WINDOW") {
        Ok(config) => {
            prop_assert!(text.trim().is_empty() || text.trim().starts_with(|c: char| c.is_ascii_digit()), "{:?}", config.delete_window)
        }
        Err(mistakes) => prop_assert!(mistakes.0.len() == 1 && mistakes.0[0].contains("DELETE_WINDOW"), "{:?}", mistakes),
    }
    match settings("RING_TIMEOUT_SECONDS") {
        Ok(config) => prop_assert!((1..=3_600).contains(&config.ring_timeout.as_secs())),
        Err(mistakes) => prop_assert!(mistakes.0.len() == 1 && mistakes.0[0].contains("RING_TIMEOUT_SECONDS"), "{:?}", mistakes),
    }
    Ok(())
}

fn a_written_duration_comes_back(number: u64, unit: &str, millis: u64) -> TestCaseResult {
    let text = format!("{number}{unit}");
    let config = Config::parse(&Raw::from_pairs([("DATA_DIR", "/nowhere"), ("DELETE_WINDOW", text.as_str())]));
    let window = config.map(|config| config.delete_window.as_millis()).map_err(|m| TestCaseError::fail(format!("{text}: {m}")))?;
    prop_assert_eq!(window, u128::from(number) * u128::from(millis));
    Ok(())
}

#[test]
fn ids_times_and_cursors_have_one_reading() {
    let group = Group::new("ids", include_str!("seeds/ids.txt"), 7);
    group.check("pairs", 1_500, &(person(), person(), person()), |(a, b, c)| a_pair_has_one_key(&a, &b, &c));
    let keys = prop_oneof![2 => text(), 2 => "(admin|user|a|_|~|-|1){1,8}", 1 => "[0-9a-fA-F]{24}"];
    group.check("texts", 1_500, &keys, |text| a_text_is_an_id_or_not(&text));
    let millis = prop_oneof![any::<i64>(), FIRST_PRINTABLE..=LAST_PRINTABLE, -2_000_000_000_000..=2_000_000_000_000i64];
    group.check("moments", 1_500, &millis, a_time_comes_back);
    group.check("times", 1_500, &times(), |text| a_time_has_one_reading(&text));
    let fields = select(vec!["page", "limit", "before", "after", "since", "markRead"]);
    let cursors = prop_oneof![text(), "[0-9 +.eE-]{1,24}", "[0-9a-fA-F]{24}"];
    group.check("cursors", 1_000, &(fields, cursors), |(field, text)| a_cursor_is_bounded(field, &text));
    let units = select(vec![("", 1_000), ("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)]);
    group.check("durations", 200, &(0u64..1_000_000_000, units), |(n, (unit, millis))| a_written_duration_comes_back(n, unit, millis));
    let settings = prop_oneof![text(), "[0-9]{1,22}(ms|s|m|h|d| )?"];
    group.check("settings", 200, &settings, |text| a_duration_is_read_or_named(&text));
}
