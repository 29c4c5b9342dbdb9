//! The questions asked of a token that has been read: expiry, App ID, and who may do what until when.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agora_token_rs::v007::{AccessToken2, Builder, Claims, Payload, Service};
use agora_token_rs::{AppId, Credentials, RtcPrivilege, RtcService, RtmService, Timestamp, User};

use crate::support::claims::claims_007;
use crate::support::{Checked, cases, certificate, expect_equal, moment, text, unix_seconds, vector_007};

const ISSUED: u32 = 1_700_000_000;
const JOIN: RtcPrivilege = RtcPrivilege::JoinChannel;

fn credentials() -> Credentials {
    Credentials::parse("970CA35de60c44645bbae8a215061b33", "5CFd2fd1755d40ecb72977518be15d3b").unwrap()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A token of ten minutes with exactly these services.
fn token(services: Vec<Service>) -> AccessToken2 {
    let Credentials { app_id, certificate } = credentials();
    let issued_at = Timestamp::from_unix_seconds(ISSUED);
    let claims = Claims { app_id, issued_at, lifetime: seconds(600), salt: 1, services };
    AccessToken2::parse(claims.sign(&certificate).unwrap().as_str()).unwrap()
}

fn rtc(account: &str) -> Service {
    Service::new(Payload::Rtc { channel: "room".into(), account: account.into() })
}

/// Seconds after issue, to keep the expectations readable.
fn after_issue(end: Option<SystemTime>) -> Option<u64> {
    end.map(|end| unix_seconds(end) - u64::from(ISSUED))
}

fn expires_as_stated(case: &serde_json::Value) -> Checked {
    let vector = vector_007(text(case, "vector"));
    let built = claims_007(&vector["inputs"]).sign(&certificate(&vector["inputs"])).unwrap();
    for token in [built.as_str(), text(&vector["expected"], "token")] {
        let parsed = AccessToken2::parse(token).map_err(|error| error.to_string())?;
        expect_equal("expired", parsed.is_expired_at(moment(&case["now"])), case["expired"].as_bool().unwrap())?;
    }
    Ok(())
}

#[test]
fn every_timing_case_expires_as_stated() {
    let failures: Vec<_> = cases("/timing007", 10).iter().filter_map(|case| Some((case, expires_as_stated(case).err()?))).collect();
    assert!(failures.is_empty(), "{failures:?}");
}

#[test]
fn a_token_is_dead_in_the_very_second_of_its_end() {
    let token = token(vec![rtc("7")]);
    let end = UNIX_EPOCH + seconds(u64::from(ISSUED) + 600);
    assert_eq!(token.expires_at(), end);
    assert!(!token.is_expired_at(end - Duration::from_nanos(1)));
    assert!(token.is_expired_at(end));
}

#[test]
fn the_app_id_is_compared_letter_by_letter() {
    let token = token(vec![rtc("7")]);
    assert!(token.is_for_app(&credentials().app_id));
    assert!(!token.is_for_app(&AppId::parse("970ca35de60c44645bbae8a215061b33").unwrap()));
}

#[test]
fn a_privilege_is_for_one_channel_and_one_user() {
    let token = token(vec![rtc("7").with_privilege(1, seconds(60))]);
    assert_eq!(after_issue(token.rtc_privilege_ends_at("room", &User::Uid(7), JOIN)), Some(60));
    assert_eq!(after_issue(token.rtc_privilege_ends_at("room", &User::Account("7".into()), JOIN)), Some(60));
    assert_eq!(token.rtc_privilege_ends_at("room", &User::Uid(8), JOIN), None);
    assert_eq!(token.rtc_privilege_ends_at("room", &User::Uid(0), JOIN), None);
    assert_eq!(token.rtc_privilege_ends_at("rooms", &User::Uid(7), JOIN), None);
    assert_eq!(token.rtc_privilege_ends_at("room", &User::Uid(7), RtcPrivilege::PublishAudio), None);
}

#[test]
fn a_token_without_an_account_admits_anyone() {
    let token = token(vec![rtc("").with_privilege(1, seconds(60))]);
    for user in [User::Uid(0), User::Uid(7), User::Account("alice".into())] {
        assert_eq!(after_issue(token.rtc_privilege_ends_at("room", &user, JOIN)), Some(60), "{user:?}");
    }
}

#[test]
fn zero_means_no_limit_of_its_own_and_nothing_outlives_the_token() {
    let token = token(vec![rtc("7").with_privilege(1, Duration::ZERO).with_privilege(2, seconds(9_000))]);
    for privilege in [JOIN, RtcPrivilege::PublishAudio] {
        assert_eq!(after_issue(token.rtc_privilege_ends_at("room", &User::Uid(7), privilege)), Some(600), "{privilege:?}");
    }
}

#[test]
fn publishing_ends_with_joining() {
    let user = User::Uid(7);
    let short_join = token(vec![rtc("7").with_privilege(1, seconds(60)).with_privilege(3, seconds(300))]);
    assert_eq!(after_issue(short_join.rtc_privilege_ends_at("room", &user, RtcPrivilege::PublishVideo)), Some(60));
    let no_join = token(vec![rtc("7").with_privilege(3, seconds(300))]);
    assert_eq!(no_join.rtc_privilege_ends_at("room", &user, RtcPrivilege::PublishVideo), None);
}

#[test]
fn of_several_services_the_longest_counts_and_none_lends_to_another() {
    let first = rtc("7").with_privilege(1, seconds(60)).with_privilege(2, seconds(60));
    let second = rtc("").with_privilege(1, seconds(300));
    let token = token(vec![first, second]);
    let user = User::Uid(7);
    assert_eq!(after_issue(token.rtc_privilege_ends_at("room", &user, JOIN)), Some(300));
    assert_eq!(after_issue(token.rtc_privilege_ends_at("room", &user, RtcPrivilege::PublishAudio)), Some(60));
    assert_eq!(token.rtm_login_ends_at("7"), None);
}

#[test]
fn an_rtm_login_is_for_one_user() {
    let issued_at = UNIX_EPOCH + seconds(ISSUED.into());
    let text = Builder::new(issued_at, seconds(600))
        .rtc(RtcService::subscriber("room", User::Uid(7)))
        .rtm(RtmService::new("alice").lasting(seconds(60)))
        .build(&credentials())
        .unwrap();
    let token = AccessToken2::parse(text.as_str()).unwrap();
    assert_eq!(after_issue(token.rtm_login_ends_at("alice")), Some(60));
    assert_eq!(token.rtm_login_ends_at("7"), None);
    assert_eq!(token.rtm_login_ends_at(""), None);
}
