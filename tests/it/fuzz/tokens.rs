//! Group 4, Agora tokens: anything can be read or is refused, in bounded space; what we make comes back; what was spoilt never verifies.

use std::io::{Read, Write};
use std::time::{Duration, SystemTime};

use agora_token_rs::v006::{AccessToken, Builder as Builder006};
use agora_token_rs::v007::{AccessToken2, Builder as Builder007, Claims, MAX_BODY_BYTES, Payload};
use agora_token_rs::{Credentials, MAX_LIFETIME, RtcPrivilege, RtcService, RtmService, User};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::TestCaseResult;

use super::Group;
use super::garbage::text;

fn credentials() -> Credentials {
    Credentials::parse("970CA35de60c44645bbae8a215061b33", "5CFd2fd1755d40ecb72977518be15d3b").expect("legal")
}

fn other_credentials() -> Credentials {
    Credentials::parse("970ca35de60c44645bbae8a215061b33", "5cfd2fd1755d40ecb72977518be15d3b").expect("legal")
}

/// What somebody asks a token for.
#[derive(Clone, Debug)]
struct Wish {
    channel: String,
    user: User,
    grants: Vec<(RtcPrivilege, u64)>,
    issued_at: SystemTime,
    lifetime: Duration,
}

fn wishes() -> impl Strategy<Value = Wish> {
    let user = prop_oneof![any::<u32>().prop_map(User::Uid), Just(User::Uid(0)), text().prop_map(User::Account)];
    let grants = vec((select(&RtcPrivilege::ALL[..]), 0u64..90_000), 0..5);
    let issued = (0u64..=u64::from(u32::MAX) + 10).prop_map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    (text(), user, grants, issued, (0u64..90_000).prop_map(Duration::from_secs))
        .prop_map(|(channel, user, grants, issued_at, lifetime)| Wish { channel, user, grants, issued_at, lifetime })
}

impl Wish {
    fn service(&self) -> RtcService {
        let service = RtcService::subscriber(self.channel.clone(), self.user.clone());
        self.grants.iter().fold(service, |service, (privilege, seconds)| service.grant_for(*privilege, Duration::from_secs(*seconds)))
    }

    /// Whether Agora would honour it.
    fn is_legal(&self) -> bool {
        let lives = |lifetime: Duration| (Duration::from_secs(1)..=MAX_LIFETIME).contains(&lifetime);
        let account = match &self.user {
            User::Uid(_) => true,
            User::Account(account) => (1..=255).contains(&account.len()),
        };
        // The last grant of a kind counts; joining is always granted, as long as the token.
        let last = |kind| self.grants.iter().rev().find(|(known, _)| *known == kind).map(|(_, seconds)| Duration::from_secs(*seconds));
        (1..=63).contains(&self.channel.len())
            && account
            && lives(self.lifetime)
            && RtcPrivilege::ALL.into_iter().filter_map(last).all(lives)
    }
}

fn a_007_token_comes_back(wish: &Wish) -> TestCaseResult {
    let built = Builder007::new(wish.issued_at, wish.lifetime).rtc(wish.service()).rtm(RtmService::new("1001")).build(&credentials());
    let in_time = wish.issued_at <= SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(u32::MAX));
    prop_assert_eq!(built.is_ok(), wish.is_legal() && in_time, "{:?}", built.err());
    let Ok(built) = built else { return Ok(()) };
    let token = AccessToken2::parse(built.as_str()).map_err(|e| TestCaseError::fail(e.to_string()))?;
    prop_assert_eq!(token.verify_signature(&credentials().certificate), Ok(()));
    prop_assert!(token.verify_signature(&other_credentials().certificate).is_err());
    prop_assert!(token.is_for_app(&credentials().app_id) && !token.is_for_app(&other_credentials().app_id));
    prop_assert_eq!((token.service_count(), token.unknown_service_type(), token.unread_bytes()), (2, None, 0));
    prop_assert_eq!(token.expires_at(), wish.issued_at + wish.lifetime);
    let claims = token.claims();
    match &claims.services[0].payload {
        Payload::Rtc { channel, account } => prop_assert_eq!((channel, account.as_str()), (&wish.channel, &*wish.user.as_token_text())),
        other => prop_assert!(false, "not what was asked for: {:?}", other),
    }
    let again = claims.sign(&credentials().certificate).and_then(|text| AccessToken2::parse(text.as_str()));
    prop_assert_eq!(again.map(Claims::from), Ok(claims.clone()));
    Ok(())
}

fn a_006_token_comes_back(wish: &Wish) -> TestCaseResult {
    let built = Builder006::rtc(wish.service(), wish.issued_at, wish.lifetime).build(&credentials());
    let in_time = wish.issued_at + MAX_LIFETIME <= SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(u32::MAX));
    prop_assert_eq!(built.is_ok(), wish.is_legal() && in_time, "{:?}", built.err());
    let Ok(built) = built else { return Ok(()) };
    let token = AccessToken::parse(built.as_str()).map_err(|e| TestCaseError::fail(e.to_string()))?;
    prop_assert_eq!(token.verify(&credentials().certificate, &wish.channel, &wish.user), Ok(()));
    prop_assert!(token.verify(&other_credentials().certificate, &wish.channel, &wish.user).is_err());
    let elsewhere = token.verify(&credentials().certificate, &(wish.channel.clone() + "x"), &wish.user);
    prop_assert!(elsewhere.is_err());
    prop_assert!(token.is_for_app(&credentials().app_id) && !token.is_expired_at(wish.issued_at));
    Ok(())
}

/// What is done to a token: to its text, to its packed bytes, or (007) to what is inside the compression.
#[derive(Clone, Debug)]
enum Change {
    Text(Vec<Edit>),
    Packed(Vec<Edit>),
    Inside(Vec<Edit>),
}

/// What is done to one byte, or to a stretch.
#[derive(Clone, Debug)]
enum Edit {
    Flip(Index, u8),
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Cut(Index, Index),
}

fn changes() -> impl Strategy<Value = Change> {
    let edit = prop_oneof![
        3 => (any::<Index>(), 0u8..8).prop_map(|(at, bit)| Edit::Flip(at, bit)),
        3 => (any::<Index>(), prop_oneof![Just(0), Just(0xff), any::<u8>()]).prop_map(|(at, byte)| Edit::Set(at, byte)),
        1 => (any::<Index>(), vec(any::<u8>(), 1..5)).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(a, b)| Edit::Cut(a, b)),
    ];
    let edits = vec(edit, 1..4);
    prop_oneof![edits.clone().prop_map(Change::Text), edits.clone().prop_map(Change::Packed), edits.prop_map(Change::Inside)]
}

fn edited(mut bytes: Vec<u8>, edits: &[Edit]) -> Vec<u8> {
    for edit in edits {
        let length = bytes.len();
        match edit {
            Edit::Flip(at, bit) if length > 0 => bytes[at.index(length)] ^= 1 << bit,
            Edit::Set(at, byte) if length > 0 => bytes[at.index(length)] = *byte,
            Edit::Flip(..) | Edit::Set(..) => {}
            Edit::Insert(at, more) => {
                let at = at.index(length + 1);
                bytes.splice(at..at, more.iter().copied());
            }
            Edit::Cut(a, b) => {
                let (a, b) = (a.index(length + 1), b.index(length + 1));
                bytes.drain(a.min(b)..a.max(b));
            }
        }
    }
    bytes
}

fn deflated(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).expect("a vector takes it");
    encoder.finish().expect("a vector takes it")
}

fn inflated(packed: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    ZlibDecoder::new(packed).read_to_end(&mut body).expect("ours");
    body
}

/// The token's text after the change; `clear` characters in front are not packed.
fn spoilt(text: &str, clear: usize, change: &Change) -> String {
    let packed = || STANDARD.decode(&text[clear..]).expect("ours");
    let pack = |bytes: &[u8]| format!("{}{}", &text[..clear], STANDARD.encode(bytes));
    match change {
        Change::Text(edits) => String::from_utf8_lossy(&edited(text.as_bytes().to_vec(), edits)).into_owned(),
        Change::Inside(edits) if text.starts_with("007") => pack(&deflated(&edited(inflated(&packed()), edits))),
        Change::Packed(edits) | Change::Inside(edits) => pack(&edited(packed(), edits)),
    }
}

/// Every question a token can be asked; none of them may panic, whatever it says.
fn ask_everything(token: &AccessToken2) -> TestCaseResult {
    let now = SystemTime::now();
    let _ = (token.expires_at(), token.is_expired_at(now), token.rtm_login_ends_at("1001"), format!("{token:?}"));
    for privilege in RtcPrivilege::ALL {
        let ends = token.rtc_privilege_ends_at("call_42", &User::Uid(1001), privilege);
        prop_assert!(ends.is_none_or(|ends| ends <= token.expires_at()), "a privilege outlives its token");
    }
    prop_assert!(token.unread_bytes() <= MAX_BODY_BYTES && token.signature().len() <= MAX_BODY_BYTES);
    prop_assert!(token.claims().services.len() <= usize::from(token.service_count()));
    Ok(())
}

fn a_spoilt_token_never_verifies(v007: &str, v006: &str, change: &Change) -> TestCaseResult {
    let original = AccessToken2::parse(v007).expect("ours");
    if let Ok(token) = AccessToken2::parse(&spoilt(v007, 3, change)) {
        ask_everything(&token)?;
        // Compression is free to say the same thing differently. What it says is signed.
        let says_the_same = token.claims() == original.claims() && token.signature() == original.signature() && token.unread_bytes() == 0;
        prop_assert_eq!(token.verify_signature(&credentials().certificate).is_ok(), says_the_same);
    }
    let text = spoilt(v006, 35, change);
    if text != v006
        && let Ok(token) = AccessToken::parse(&text)
    {
        let _ = (token.is_expired_at(SystemTime::now()), format!("{token:?}"));
        prop_assert!(token.verify(&credentials().certificate, "call_42", &User::Uid(1001)).is_err(), "{}", text);
    }
    Ok(())
}

/// Any text, with and without a version in front.
fn texts() -> BoxedStrategy<String> {
    let packed = prop_oneof![
        vec(any::<u8>(), 0..200),
        vec(any::<u8>(), 0..300).prop_map(|body| deflated(&body)),
        // A body that is mostly one byte: small when packed, large when not.
        (select(vec![MAX_BODY_BYTES - 1, MAX_BODY_BYTES, MAX_BODY_BYTES + 1, 4 << 20]), any::<u8>())
            .prop_map(|(length, byte)| deflated(&vec![byte; length])),
        // Counts that promise more than there is.
        (vec(any::<u8>(), 0..40), any::<u16>()).prop_map(|(tail, count)| {
            let mut body = vec![0, 0, 32, 0];
            body.extend_from_slice(b"970CA35de60c44645bbae8a215061b33");
            body.extend_from_slice(&[0; 12]);
            body.extend_from_slice(&count.to_le_bytes());
            body.extend_from_slice(&tail);
            deflated(&body)
        }),
    ];
    let front = select(vec!["007", "006", "006970CA35de60c44645bbae8a215061b33", "008", ""]);
    prop_oneof![4 => (front.clone(), packed).prop_map(|(front, bytes)| front.to_owned() + &STANDARD.encode(bytes)), 2 => (front, text()).prop_map(|(f, t)| f.to_owned() + &t), 1 => text()]
        .boxed()
}

fn any_text_is_read_or_refused(text: &str) -> TestCaseResult {
    if let Ok(token) = AccessToken2::parse(text) {
        prop_assert!(text.starts_with("007"));
        ask_everything(&token)?;
        prop_assert!(token.verify_signature(&credentials().certificate).is_err());
    }
    if let Ok(token) = AccessToken::parse(text) {
        prop_assert!(text.starts_with("006"));
        prop_assert!(token.verify(&credentials().certificate, "", &User::Uid(0)).is_err());
    }
    Ok(())
}

#[test]
fn agora_tokens_come_back_and_spoilt_ones_never_verify() {
    let group = Group::new("tokens", include_str!("seeds/tokens.txt"), 4);
    group.check("007 built", 600, &wishes(), |wish| a_007_token_comes_back(&wish));
    group.check("006 built", 600, &wishes(), |wish| a_006_token_comes_back(&wish));
    let service = || RtcService::publisher("call_42", User::Uid(1001));
    let (now, hour) = (SystemTime::now(), Duration::from_secs(3_600));
    let v007 = Builder007::new(now, hour).rtc(service()).rtm(RtmService::new("1001")).build(&credentials()).expect("built");
    let v006 = Builder006::rtc(service(), now, hour).build(&credentials()).expect("built");
    group.check("spoilt", 1_500, &changes(), |change| a_spoilt_token_never_verifies(v007.as_str(), v006.as_str(), &change));
    group.check("texts", 600, &texts(), |text| any_text_is_read_or_refused(&text));
}
