//! Every 007 vector, built from its inputs. Inflated bodies are compared: the text depends on the zlib library.

use agora_token_rs::v007::Claims;
use agora_token_rs::{Credentials, Error};
use serde_json::Value;

use crate::support::claims::claims_007;
use crate::support::zlib::inflated_body;
use crate::support::{Checked, cases, certificate, check_all, credentials, expect_equal, hex, text, vector_007};

fn builds_to_the_expected_body(case: &Value) -> Checked {
    let inputs = &case["inputs"];
    let token = claims_007(inputs).sign(&certificate(inputs)).map_err(|error| error.to_string())?;
    let body = hex(&inflated_body(token.as_str()));
    expect_equal("signature", &body[4..68], text(&case["expected"], "signatureHex"))?;
    expect_equal("body", body.as_str(), text(&case["expected"], "bodyHex"))
}

#[test]
fn every_vector_builds_to_the_expected_body_and_signature() {
    check_all(cases("/vectors007", 68), builds_to_the_expected_body);
}

#[test]
fn the_worked_example_of_the_format_builds_to_its_signature() {
    let case = vector_007("obj-salt-1-issue-1111111");
    assert!(text(&case["expected"], "signatureHex").starts_with("16a0b84c5a5e82cb"));
    assert_eq!(builds_to_the_expected_body(case), Ok(()));
}

#[test]
fn one_changed_input_is_noticed_by_the_comparison() {
    for (pointer, other) in [
        ("/inputs/salt", Value::from(12_345_679)),
        ("/inputs/issueTs", Value::from(1_700_000_001)),
        ("/inputs/expire", Value::from(601)),
        ("/inputs/appCertificate", Value::from("5cfd2fd1755d40ecb72977518be15d3b")),
        ("/inputs/services/0/channel", Value::from("other")),
        ("/inputs/services/0/privileges/0/1", Value::from(601)),
        ("/expected/bodyHex", Value::from("2000")),
    ] {
        let mut case = vector_007("rtc-uid-publisher").clone();
        *case.pointer_mut(pointer).unwrap() = other;
        assert!(builds_to_the_expected_body(&case).is_err(), "{pointer} made no difference");
    }
}

#[test]
fn malformed_credentials_and_an_empty_service_list_build_nothing() {
    check_all(cases("/buildRejects007", 10), |case| {
        let outcome = Credentials::parse(text(case, "appId"), text(case, "appCertificate")).and_then(|credentials| {
            let mut claims: Claims = claims_007(&vector_007("rtc-uid-publisher")["inputs"]);
            claims.app_id = credentials.app_id.clone();
            claims.services.truncate(usize::try_from(case["services"].as_u64().unwrap()).unwrap());
            claims.sign(&credentials.certificate)
        });
        let expected = match text(case, "id") {
            id if id.starts_with("app-id-") => Error::InvalidAppId,
            id if id.starts_with("certificate-") => Error::InvalidCertificate,
            "no-service" => Error::NoService,
            other => return Err(format!("unknown kind {other}")),
        };
        expect_equal("error", outcome, Err(expected))
    });
}

#[test]
fn claims_read_back_are_the_claims_written() {
    let case = vector_007("obj-all-types");
    let claims = claims_007(&case["inputs"]);
    let token = claims.sign(&credentials(&case["inputs"]).certificate).unwrap();
    assert_eq!(Claims::from(agora_token_rs::v007::AccessToken2::parse(token.as_str()).unwrap()), claims);
}
