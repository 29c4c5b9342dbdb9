//! Tokens that must not pass, each with the class of its refusal.

use agora_token_rs::v007::AccessToken2;
use agora_token_rs::{AppCertificate, Error, MAX_TEXT_BYTES};
use serde_json::Value;

use crate::support::{Checked, cases, check_all, expect_equal, text, vector_007};

fn refused_as_expected(case: &Value) -> Checked {
    let outcome = AppCertificate::parse(text(case, "appCertificate"))
        .and_then(|certificate| AccessToken2::parse(text(case, "token"))?.verify_signature(&certificate));
    let class = match outcome {
        Ok(()) => "valid",
        Err(Error::Malformed { .. } | Error::UnsupportedVersion) => "format",
        Err(Error::SignatureMismatch) => "signature",
        Err(Error::InvalidCertificate) => "certificate",
        Err(other) => return Err(other.to_string()),
    };
    expect_equal("outcome", class, text(case, "outcome"))
}

#[test]
fn every_bad_token_is_refused_for_the_right_reason() {
    check_all(cases("/parseRejects007/cases", 54), refused_as_expected);
}

#[test]
fn a_good_token_would_be_noticed_among_the_bad_ones() {
    let mut case = cases("/parseRejects007/cases", 54)[0].clone();
    case["token"] = vector_007("rtc-uid-publisher")["expected"]["token"].clone();
    assert!(refused_as_expected(&case).is_err());
}

#[test]
fn a_short_text_that_inflates_to_megabytes_is_refused_for_its_length() {
    for id in ["bomb-1mib", "bomb-8mib-valid-looking"] {
        let case = cases("/parseRejects007/cases", 54).iter().find(|case| case["id"] == id).unwrap();
        let refused = AccessToken2::parse(text(case, "token")).unwrap_err();
        assert_eq!(refused, Error::Malformed { at: "length of the inflated body" }, "{id}");
    }
}

#[test]
fn too_long_a_text_is_refused_before_it_is_decoded() {
    let text = format!("007{}", "!".repeat(MAX_TEXT_BYTES));
    assert_eq!(AccessToken2::parse(&text), Err(Error::Malformed { at: "length of the text" }));
}

#[test]
fn an_error_never_repeats_the_token() {
    for case in cases("/parseRejects007/cases", 54) {
        let Err(error) = AccessToken2::parse(text(case, "token")) else { continue };
        let printed = format!("{error} {error:?}");
        let token = text(case, "token");
        assert!(token.len() < 12 || !printed.contains(&token[3..12]), "{printed}");
    }
}
