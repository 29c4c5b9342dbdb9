//! The typed builders against what Agora's own builder functions give for the same arguments.

use agora_token_rs::v007::Builder;
use agora_token_rs::{Error, Result, RtcPrivilege, RtcService, RtmService, TokenText, User, v006};
use serde_json::Value;

use crate::support::zlib::inflated_body;
use crate::support::{Checked, cases, check_all, credentials, expect_equal, hex, moment, seconds, text, u32_of};

/// Vectors our builders refuse to reproduce on purpose, with the error they give instead. The general form builds all of them.
const REFUSED_BY_POLICY: [(&str, Error); 4] = [
    // Lifetimes of zero, which mean "no limit" and read like "nothing".
    ("rtc-privilege-default-zero", Error::ZeroLifetime),
    ("rtc-uid-zero-privileges", Error::ZeroLifetime),
    // An empty account admits anyone; that has to be asked for with uid 0.
    ("rtc-account-empty", Error::EmptyField { field: "account" }),
    ("rtm-user-empty", Error::EmptyField { field: "account" }),
];

fn build_007(case: &Value) -> Result<TokenText> {
    let (args, inputs) = (&case["builder"]["args"], &case["inputs"]);
    let channel = || text(args, "channelName");
    let user = || match args.get("uid") {
        Some(uid) => User::Uid(u32_of(uid)),
        None => User::Account(args.get("account").unwrap_or(&args["rtcAccount"]).as_str().unwrap().into()),
    };
    let by_role = |role: &str| {
        if args[role] == 1 { RtcService::publisher(channel(), user()) } else { RtcService::subscriber(channel(), user()) }
    };
    // Without the argument Agora's builders write 0; so do we here, to see it refused.
    let lifetime = |name: &str| args.get(name).map(seconds).unwrap_or_default();
    let names = [
        (RtcPrivilege::JoinChannel, "joinChannelPrivilegeExpire"),
        (RtcPrivilege::PublishAudio, "pubAudioPrivilegeExpire"),
        (RtcPrivilege::PublishVideo, "pubVideoPrivilegeExpire"),
        (RtcPrivilege::PublishDataStream, "pubDataStreamPrivilegeExpire"),
    ];
    let each = |service: RtcService, count: usize| {
        names[..count].iter().fold(service, |service, (privilege, name)| service.grant_for(*privilege, lifetime(name)))
    };
    let same = |service: RtcService, role: &str| {
        let count = if args[role] == 1 { 4 } else { 1 };
        RtcPrivilege::ALL[..count].iter().fold(service, |service, privilege| service.grant_for(*privilege, lifetime("privilegeExpire")))
    };

    let token = |expire: &str| Builder::new(moment(&inputs["issueTs"]), lifetime(expire));
    let builder = match text(&case["builder"], "function").split('.').next_back().unwrap() {
        "buildTokenWithUid" | "buildTokenWithUserAccount" => token("tokenExpire").rtc(same(by_role("role"), "role")),
        "buildTokenWithUidAndPrivilege" | "BuildTokenWithUserAccountAndPrivilege" => {
            token("tokenExpire").rtc(each(RtcService::subscriber(channel(), user()), 4))
        }
        "buildTokenWithRtm" => token("tokenExpire").rtc(same(by_role("role"), "role")).rtm(RtmService::new(text(args, "account"))),
        "buildTokenWithRtm2" => {
            let rtm = RtmService::new(text(args, "rtmUserId")).lasting(lifetime("rtmTokenExpire"));
            let count = if args["rtcRole"] == 1 { 4 } else { 1 };
            token("rtcTokenExpire").rtc(each(by_role("rtcRole"), count)).rtm(rtm)
        }
        "buildToken" => token("expire").rtm(RtmService::new(text(args, "userId"))),
        other => panic!("no typed builder for {other}"),
    };
    let credentials = credentials(inputs);
    builder.claims(&credentials.app_id, u32_of(&inputs["salt"]))?.sign(&credentials.certificate)
}

fn gives_what_agora_gives(case: &Value) -> Checked {
    let built = build_007(case);
    let id = text(case, "id");
    if let Some((_, error)) = REFUSED_BY_POLICY.iter().find(|(refused, _)| *refused == id) {
        return expect_equal("refusal", built, Err(error.clone()));
    }
    let token = built.map_err(|error| error.to_string())?;
    expect_equal("body", hex(&inflated_body(token.as_str())).as_str(), text(&case["expected"], "bodyHex"))
}

#[test]
fn every_rtc_and_rtm_builder_of_agora_has_its_counterpart() {
    let is_ours = |case: &&Value| {
        let function = case.pointer("/builder/function").and_then(Value::as_str).unwrap_or_default();
        function.starts_with("RtcTokenBuilder.") || function.starts_with("RtmTokenBuilder.")
    };
    let ours: Vec<Value> = cases("/vectors007", 68).iter().filter(is_ours).cloned().collect();
    assert_eq!(ours.len(), 33);
    check_all(&ours, gives_what_agora_gives);
}

#[test]
fn the_006_builders_give_agoras_text() {
    let built: Vec<Value> = cases("/vectors006", 20).iter().filter(|case| case.get("builder").is_some()).cloned().collect();
    assert_eq!(built.len(), 7);
    check_all(&built, |case| {
        let (args, inputs) = (&case["builder"]["args"], &case["inputs"]);
        let issued_at = moment(&case["builder"]["builtAt"]);
        let ends = args["privilegeExpiredTs"].as_u64().unwrap();
        let lifetime = seconds(&ends.saturating_sub(case["builder"]["builtAt"].as_u64().unwrap()).into());
        let builder = if text(&case["builder"], "function").starts_with("Rtm") {
            v006::Builder::rtm(RtmService::new(text(args, "account")), issued_at, lifetime)
        } else {
            let user = args.get("uid").map(|uid| User::Uid(u32_of(uid)));
            let user = user.unwrap_or_else(|| User::Account(text(args, "account").into()));
            // 0 and 101 are old names of the publisher.
            let of_role = if args["role"] == 2 { RtcService::subscriber } else { RtcService::publisher };
            v006::Builder::rtc(of_role(text(args, "channelName").to_owned(), user), issued_at, lifetime)
        };
        let credentials = credentials(inputs);
        let claims = builder.claims(&credentials.app_id, u32_of(&inputs["salt"]));
        if ends == 0 {
            return expect_equal("refusal", claims, Err(Error::ZeroLifetime));
        }
        let token = claims.and_then(|claims| claims.sign(&credentials.certificate)).map_err(|error| error.to_string())?;
        expect_equal("token", token.as_str(), text(&case["expected"], "token"))
    });
}
