//! What the builders hold callers to, beyond what the format can express.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agora_token_rs::v007::{AccessToken2, Builder, Payload, Service};
use agora_token_rs::{Credentials, Error, Result, RtcPrivilege, RtcService, RtmService, TokenText, User, v006};

const HOUR: Duration = Duration::from_secs(3600);

fn credentials() -> Credentials {
    Credentials::parse("970CA35de60c44645bbae8a215061b33", "5CFd2fd1755d40ecb72977518be15d3b").unwrap()
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

fn build(lifetime: Duration, service: RtcService) -> Result<TokenText> {
    Builder::new(now(), lifetime).rtc(service).build(&credentials())
}

fn publisher() -> RtcService {
    RtcService::publisher("room", User::Uid(7))
}

#[test]
fn a_lifetime_must_be_of_use_and_at_most_a_day() {
    assert!(build(HOUR, publisher()).is_ok());
    assert_eq!(build(Duration::ZERO, publisher()), Err(Error::ZeroLifetime));
    assert_eq!(build(Duration::from_secs(86_401), publisher()), Err(Error::LifetimeTooLong));
    assert_eq!(build(Duration::MAX, publisher()), Err(Error::LifetimeTooLong));
    let audio_for = |lifetime| publisher().grant_for(RtcPrivilege::PublishAudio, lifetime);
    assert_eq!(build(HOUR, audio_for(Duration::ZERO)), Err(Error::ZeroLifetime));
    assert_eq!(build(HOUR, audio_for(Duration::from_secs(86_401))), Err(Error::LifetimeTooLong));
    let login = RtmService::new("7").lasting(Duration::ZERO);
    assert_eq!(Builder::new(now(), HOUR).rtm(login).build(&credentials()), Err(Error::ZeroLifetime));
}

#[test]
fn names_must_fit_agoras_limits() {
    let channel = |bytes: usize| RtcService::subscriber("c".repeat(bytes), User::Uid(7));
    assert!(build(HOUR, channel(63)).is_ok());
    assert_eq!(build(HOUR, channel(64)), Err(Error::FieldTooLong { field: "channel" }));
    assert_eq!(build(HOUR, channel(0)), Err(Error::EmptyField { field: "channel" }));
    let account = |bytes: usize| RtcService::subscriber("room", User::Account("u".repeat(bytes)));
    assert!(build(HOUR, account(255)).is_ok());
    assert_eq!(build(HOUR, account(256)), Err(Error::FieldTooLong { field: "account" }));
    assert_eq!(build(HOUR, account(0)), Err(Error::EmptyField { field: "account" }));
}

#[test]
fn the_006_builder_holds_the_same_limits() {
    let build = |service, lifetime| v006::Builder::rtc(service, now(), lifetime).build(&credentials());
    assert!(build(publisher(), HOUR).is_ok());
    assert_eq!(build(publisher(), Duration::ZERO), Err(Error::ZeroLifetime));
    assert_eq!(build(publisher(), Duration::from_secs(86_401)), Err(Error::LifetimeTooLong));
    assert_eq!(build(RtcService::publisher("c".repeat(64), User::Uid(7)), HOUR), Err(Error::FieldTooLong { field: "channel" }));
}

#[test]
fn a_privilege_without_its_own_lifetime_gets_the_tokens_and_never_zero() {
    let token = AccessToken2::parse(build(HOUR, publisher()).unwrap().as_str()).unwrap();
    let privileges = &token.claims().services[0].privileges;
    assert_eq!(privileges.keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(privileges.values().all(|lifetime| *lifetime == HOUR));
}

#[test]
fn two_tokens_for_the_same_grant_differ_by_their_salt() {
    let tokens = [(); 2].map(|()| build(HOUR, publisher()).unwrap());
    let [first, second] = tokens.map(|token| AccessToken2::parse(token.as_str()).unwrap());
    assert_ne!(first.claims().salt, second.claims().salt);
    assert_ne!(first.signature(), second.signature());
}

#[test]
fn a_token_without_services_or_from_another_century_is_not_built() {
    assert_eq!(Builder::new(now(), HOUR).build(&credentials()), Err(Error::NoService));
    let too_late = UNIX_EPOCH + Duration::from_secs(1 << 32);
    assert_eq!(Builder::new(too_late, HOUR).rtc(publisher()).build(&credentials()), Err(Error::TimeOutOfRange));
    let nearly_too_late = UNIX_EPOCH + Duration::from_secs((1 << 32) - 1);
    assert!(Builder::new(nearly_too_late, HOUR).rtc(publisher()).build(&credentials()).is_ok());
    // 006 writes the end itself, which no longer fits.
    let old = v006::Builder::rtc(publisher(), nearly_too_late, HOUR).build(&credentials());
    assert_eq!(old, Err(Error::TimeOutOfRange));
}

#[test]
fn what_does_not_fit_the_wire_is_an_error_and_never_cut() {
    let general = |service: Service| Builder::new(now(), HOUR).service(service).build(&credentials());
    let chat = |bytes: usize| Service::new(Payload::Chat { user_id: "u".repeat(bytes) });
    assert!(general(chat(60_000)).is_ok());
    assert_eq!(general(chat(65_536)), Err(Error::FieldTooLong { field: "user id" }));
    let too_long = Duration::from_secs(1 << 32);
    assert_eq!(general(Service::new(Payload::Fpa).with_privilege(1, too_long)), Err(Error::LifetimeTooLong));
    let full = (0..=u16::MAX).fold(Service::new(Payload::Fpa), |service, key| service.with_privilege(key, HOUR));
    assert_eq!(general(full), Err(Error::FieldTooLong { field: "privileges" }));
    // Fits every field, but not the size our own reader allows.
    let (first, second) = (chat(40_000), chat(40_000));
    let large = Builder::new(now(), HOUR).service(first).service(second).build(&credentials());
    assert_eq!(large, Err(Error::FieldTooLong { field: "token" }));
}
