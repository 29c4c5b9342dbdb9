//! Version 006: built text is compared whole, because nothing in it is compressed.

use std::time::{Duration, SystemTime};

use agora_token_rs::v006::{AccessToken, RTM_LOGIN};
use agora_token_rs::{AppId, Error, User};
use serde_json::{Value, json};

use crate::support::claims::claims_006;
use crate::support::{Checked, cases, certificate, check_all, expect_equal, hex, text};

/// The vectors give the user as text, where empty stands for uid 0.
fn user(case: &Value) -> User {
    match text(case, "uid") {
        "" => User::Uid(0),
        account => User::Account(account.into()),
    }
}

fn builds_to_the_expected_text(case: &Value) -> Checked {
    let token = claims_006(&case["inputs"]).sign(&certificate(&case["inputs"])).map_err(|error| error.to_string())?;
    expect_equal("token", token.as_str(), text(&case["expected"], "token"))
}

fn reads_as_decoded(case: &Value) -> Checked {
    let (inputs, expected) = (&case["inputs"], &case["expected"]);
    let parsed = AccessToken::parse(text(expected, "token")).map_err(|error| error.to_string())?;
    let privileges = parsed.privileges().iter().map(|(key, end)| json!([key, end.unix_seconds()]));
    let decoded = json!({
        "appId": parsed.app_id().as_str(),
        "salt": parsed.salt(),
        "ts": parsed.valid_until().unix_seconds(),
        "crcChannel": parsed.channel_crc(),
        "crcUid": parsed.user_crc(),
        "privileges": privileges.collect::<Vec<_>>(),
    });
    expect_equal("decoded", &decoded, &expected["decoded"])?;
    expect_equal("signature", hex(parsed.signature()).as_str(), text(expected, "signatureHex"))?;
    parsed.verify(&certificate(inputs), text(inputs, "channel"), &user(inputs)).map_err(|error| error.to_string())
}

fn refused_as_expected(case: &Value) -> Checked {
    let outcome =
        AccessToken::parse(text(case, "token")).and_then(|token| token.verify(&certificate(case), text(case, "channel"), &user(case)));
    let class = match outcome {
        Ok(()) => "valid",
        Err(Error::Malformed { .. } | Error::UnsupportedVersion) => "format",
        Err(Error::ChannelOrUserMismatch) => "mismatch",
        Err(Error::SignatureMismatch) => "signature",
        Err(other) => return Err(other.to_string()),
    };
    expect_equal("outcome", class, text(case, "outcome"))
}

#[test]
fn every_vector_builds_to_the_expected_text() {
    check_all(cases("/vectors006", 20), builds_to_the_expected_text);
}

#[test]
fn every_vector_reads_as_decoded_and_verifies() {
    check_all(cases("/vectors006", 20), reads_as_decoded);
}

#[test]
fn every_bad_token_is_refused_for_the_right_reason() {
    check_all(cases("/parseRejects006/cases", 17), refused_as_expected);
}

#[test]
fn the_comparisons_notice_a_difference() {
    let original = &cases("/vectors006", 20)[0];
    let mut built = original.clone();
    built["inputs"]["salt"] = 2.into();
    assert!(builds_to_the_expected_text(&built).is_err());
    let mut read = original.clone();
    read["expected"]["decoded"]["privileges"][0][1] = 1.into();
    assert!(reads_as_decoded(&read).is_err());
    let mut rejected = cases("/parseRejects006/cases", 17)[0].clone();
    rejected["token"] = original["expected"]["token"].clone();
    assert!(refused_as_expected(&rejected).is_err());
}

#[test]
fn an_rtm_token_is_verified_with_the_account_as_channel() {
    let case = cases("/vectors006", 20).iter().find(|case| case["id"] == "006-official-rtm").unwrap();
    let token = AccessToken::parse(text(&case["expected"], "token")).unwrap();
    let certificate = certificate(&case["inputs"]);
    assert!(token.privileges().contains_key(&RTM_LOGIN));
    assert_eq!(token.verify(&certificate, "test_user", &User::Uid(0)), Ok(()));
    assert_eq!(token.verify(&certificate, "", &User::Account("test_user".into())), Err(Error::ChannelOrUserMismatch));
}

#[test]
fn the_tokens_own_validity_ends_at_its_timestamp() {
    let token = AccessToken::parse(text(&cases("/vectors006", 20)[0]["expected"], "token")).unwrap();
    let end = SystemTime::from(token.valid_until());
    assert!(!token.is_expired_at(end - Duration::from_secs(1)));
    assert!(token.is_expired_at(end));
    assert!(token.is_for_app(&AppId::parse("970CA35de60c44645bbae8a215061b33").unwrap()));
    assert!(!token.is_for_app(&AppId::parse("970ca35de60c44645bbae8a215061b33").unwrap()));
}
