//! Builds and reads Agora tokens from the command line: JSON on standard input, JSON on standard output.
//!
//! ```text
//! agora_token build   {"version", "appId", "appCertificate", "issuedAt", "lifetimeSeconds",
//!                      "rtc": {"channel", "uid" or "account", "role", "privilegeSeconds"?}, "rtm": {"userId", "loginSeconds"?}}
//!                  →  {"token"}
//! agora_token parse   {"token", "appCertificate", "channel"?, "uid" or "account"?}      (the last two for 006)
//!                  →  {"version", "signature", …what the token says…}
//! ```
//!
//! Moments are Unix seconds. The certificate arrives on standard input because other users of a machine can see arguments.
//! It also shows how a caller uses the crate, and it is one half of the cross-check in `tests/node`.

use std::error::Error;
use std::io::{self, Read as _};
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use agora_token_rs::v007::{AccessToken2, Builder, Payload, Service};
use agora_token_rs::{AppCertificate, Credentials, RtcPrivilege, RtcService, RtmService, TokenText, TokenVersion, User, v006};
use serde_json::{Value, json};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let command = std::env::args().nth(1).unwrap_or_default();
    match run(&command) {
        Ok(answer) => {
            println!("{answer}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{}", json!({ "error": error.to_string() }));
            ExitCode::FAILURE
        }
    }
}

fn run(command: &str) -> Outcome<Value> {
    let mut request = String::new();
    io::stdin().read_to_string(&mut request)?;
    let request = serde_json::from_str(&request)?;
    match command {
        "build" => Ok(json!({ "token": build(&request)?.as_str() })),
        "parse" => parse(&request),
        _ => Err("usage: agora_token build|parse < request.json".into()),
    }
}

fn build(request: &Value) -> Outcome<TokenText> {
    let credentials = Credentials::parse(text(request, "appId")?, text(request, "appCertificate")?)?;
    let issued_at = UNIX_EPOCH + seconds(request, "issuedAt")?;
    let lifetime = seconds(request, "lifetimeSeconds")?;
    let rtc = request.get("rtc").map(rtc_service).transpose()?;
    let rtm = request.get("rtm").map(rtm_service).transpose()?;

    let token = match (text(request, "version")?, rtc, rtm) {
        ("007", rtc, rtm) => {
            let builder = Builder::new(issued_at, lifetime);
            let builder = rtc.into_iter().fold(builder, Builder::rtc);
            rtm.into_iter().fold(builder, Builder::rtm).build(&credentials)?
        }
        ("006", Some(rtc), None) => v006::Builder::rtc(rtc, issued_at, lifetime).build(&credentials)?,
        ("006", None, Some(rtm)) => v006::Builder::rtm(rtm, issued_at, lifetime).build(&credentials)?,
        ("006", _, _) => return Err("a 006 token is for either rtc or rtm".into()),
        _ => return Err("version is \"006\" or \"007\"".into()),
    };
    Ok(token)
}

fn rtc_service(request: &Value) -> Outcome<RtcService> {
    let of_role = match text(request, "role")? {
        "publisher" => RtcService::publisher,
        "subscriber" => RtcService::subscriber,
        _ => return Err("role is \"publisher\" or \"subscriber\"".into()),
    };
    let mut service = of_role(text(request, "channel")?.to_owned(), user(request)?);
    let lifetimes = request.get("privilegeSeconds").unwrap_or(&Value::Null);
    for privilege in RtcPrivilege::ALL {
        let key = privilege.key().to_string();
        if lifetimes.get(&key).is_some() {
            service = service.grant_for(privilege, seconds(lifetimes, &key)?);
        }
    }
    Ok(service)
}

fn rtm_service(request: &Value) -> Outcome<RtmService> {
    let service = RtmService::new(text(request, "userId")?);
    Ok(if request.get("loginSeconds").is_some() { service.lasting(seconds(request, "loginSeconds")?) } else { service })
}

fn parse(request: &Value) -> Outcome<Value> {
    let token = text(request, "token")?;
    let certificate = AppCertificate::parse(text(request, "appCertificate")?)?;
    match TokenVersion::of(token)? {
        TokenVersion::V007 => parse_007(token, &certificate),
        TokenVersion::V006 => parse_006(token, &certificate, text(request, "channel")?, &user(request)?),
    }
}

fn parse_007(token: &str, certificate: &AppCertificate) -> Outcome<Value> {
    let token = AccessToken2::parse(token)?;
    let verdict = verdict(token.verify_signature(certificate));
    let claims = token.claims();
    Ok(json!({
        "version": "007",
        "signature": verdict,
        "appId": claims.app_id.as_str(),
        "issuedAt": claims.issued_at.unix_seconds(),
        "lifetimeSeconds": claims.lifetime.as_secs(),
        "salt": claims.salt,
        "serviceCount": token.service_count(),
        "services": claims.services.iter().map(service).collect::<Vec<_>>(),
        // The same claims signed once more: whoever compares the inflated bodies compares every field of every service.
        // Null for a token without services, which can be read but not built.
        "signedAgain": claims.sign(certificate).ok().map(TokenText::into_string),
    }))
}

/// The fields of RTC and RTM; of other services the type and the privileges.
fn service(service: &Service) -> Value {
    let mut fields = match &service.payload {
        Payload::Rtc { channel, account } => json!({ "channel": channel, "account": account }),
        Payload::Rtm { user_id } => json!({ "userId": user_id }),
        _ => json!({}),
    };
    fields["type"] = service.payload.service_type().into();
    fields["privileges"] = service.privileges.iter().map(|(key, lifetime)| (key.to_string(), json!(lifetime.as_secs()))).collect();
    fields
}

fn parse_006(token: &str, certificate: &AppCertificate, channel: &str, user: &User) -> Outcome<Value> {
    let token = v006::AccessToken::parse(token)?;
    let privileges = token.privileges().iter().map(|(key, end)| (key.to_string(), json!(end.unix_seconds())));
    Ok(json!({
        "version": "006",
        "signature": verdict(token.verify(certificate, channel, user)),
        "appId": token.app_id().as_str(),
        "salt": token.salt(),
        "validUntil": token.valid_until().unix_seconds(),
        "privileges": privileges.collect::<Value>(),
    }))
}

fn verdict(outcome: agora_token_rs::Result<()>) -> String {
    outcome.map_or_else(|error| error.to_string(), |()| "valid".to_owned())
}

fn user(request: &Value) -> Outcome<User> {
    match request.get("uid") {
        Some(uid) => Ok(User::Uid(uid.as_u64().and_then(|uid| u32::try_from(uid).ok()).ok_or("uid is not a 32-bit number")?)),
        None => Ok(User::Account(text(request, "account")?.to_owned())),
    }
}

fn text<'a>(request: &'a Value, name: &str) -> Outcome<&'a str> {
    request[name].as_str().ok_or_else(|| format!("{name} is not a text").into())
}

fn seconds(request: &Value, name: &str) -> Outcome<Duration> {
    let seconds = request[name].as_u64().filter(|&seconds| seconds <= u64::from(u32::MAX));
    Ok(Duration::from_secs(seconds.ok_or_else(|| format!("{name} is not a 32-bit number of seconds"))?))
}
