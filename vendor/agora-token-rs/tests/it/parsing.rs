//! Every token of the 007 vectors, read and verified, whichever library compressed it.

use agora_token_rs::v007::AccessToken2;
use serde_json::Value;

use crate::support::decoded::decoded_007;
use crate::support::{Checked, cases, certificate, check_all, expect_equal, hex, text, vector_007};

fn reads_as_decoded(token: &str, case: &Value) -> Checked {
    let parsed = AccessToken2::parse(token).map_err(|error| error.to_string())?;
    expect_equal("decoded", &decoded_007(&parsed), &case["expected"]["decoded"])?;
    expect_equal("signature", hex(parsed.signature()).as_str(), text(&case["expected"], "signatureHex"))?;
    parsed.verify_signature(&certificate(&case["inputs"])).map_err(|error| error.to_string())
}

/// The token of a vector, and the same body compressed in other ways.
fn tokens_of(case: &Value) -> impl Iterator<Item = &str> {
    let equivalent = case["equivalentTokens"].as_array().into_iter().flatten();
    std::iter::once(&case["expected"]["token"]).chain(equivalent).map(|token| token.as_str().unwrap())
}

#[test]
fn every_vector_reads_as_decoded_and_verifies() {
    let vectors = cases("/vectors007", 68);
    check_all(vectors, |case| tokens_of(case).try_for_each(|token| reads_as_decoded(token, case)));
    assert!(vectors.iter().flat_map(tokens_of).count() > 100, "the equivalent tokens were not looked at");
}

#[test]
fn a_wrong_expectation_is_noticed_by_the_comparison() {
    for pointer in ["/expected/decoded/salt", "/expected/decoded/services/0/privileges/3/1", "/expected/decoded/serviceCount"] {
        let mut case = vector_007("rtc-uid-publisher").clone();
        *case.pointer_mut(pointer).unwrap() = 7.into();
        assert!(reads_as_decoded(text(&case["expected"], "token"), &case).is_err(), "{pointer} made no difference");
    }
}

#[test]
fn odd_but_valid_tokens_are_accepted() {
    check_all(cases("/parseAccepts007", 3), |case| {
        let parsed = AccessToken2::parse(text(case, "token")).map_err(|error| error.to_string())?;
        let mut found = decoded_007(&parsed);
        found["trailingBytes"] = parsed.unread_bytes().into();
        // These cases state every field but this one, which follows from two others.
        found.as_object_mut().unwrap().remove("expiresAt");
        expect_equal("decoded", &found, &case["decoded"])?;
        expect_equal("outcome", text(case, "outcome"), "valid")?;
        parsed.verify_signature(&certificate(case)).map_err(|error| error.to_string())
    });
}

#[test]
fn a_parsed_token_does_not_print_its_signature() {
    let case = vector_007("rtc-uid-publisher");
    let parsed = AccessToken2::parse(text(&case["expected"], "token")).unwrap();
    let printed = format!("{parsed:?}");
    assert!(printed.contains("issued_at"));
    assert!(!printed.contains("signature") && !printed.contains("118, 70, 144"), "{printed}");
}
