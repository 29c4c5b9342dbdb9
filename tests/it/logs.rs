//! What is written to the log, and what refusals and `samvad config` say: never a token, a secret or what people say.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use samvad::models::ParticipantKind;
use serde_json::json;

use crate::support::client::{Client, Handshake};
use crate::support::http::{get, local, send};
use crate::support::program::{Program, SECRET, token};
use crate::support::stores;

const ADMIN_KEY: &str = "the-planted-admin-key-0815";
const CERTIFICATE: &str = "5cfd2fd1755d40ecb72977518be15d3b";
const TEXT: &str = "the planted text of a message";
const DEVICE: &str = "the-planted-token-of-a-device";
/// Everything, also where a longer target tries to get around the cap.
const EVERYTHING: &str = "trace,socketioxide::client=trace,socketioxide=trace,engineioxide::transport=trace,hyper=trace,hyper::proto::h1=trace,\
                          tungstenite=trace,tungstenite::protocol=trace,mongodb=trace,mongodb::command=trace,log=trace";

async fn nothing_private_is_logged(mongo: Option<(String, String)>, format: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let settings = [
        ("RUST_LOG", EVERYTHING),
        ("LOG_FORMAT", format),
        ("ADMIN_SECRET_KEY", ADMIN_KEY),
        ("ALLOW_QUERY_TOKEN", "on"),
        ("RATE_PROFILE", "off"),
        ("RELATION_CHECK", "off"),
        ("AGORA_APP_ID", "970ca35de60c44645bbae8a215061b33"),
        ("AGORA_APP_CERTIFICATE", CERTIFICATE),
    ];
    let program = Program::start_logging_to(Stdio::from(File::create(&log).expect("a file")), folder.path(), mongo.as_ref(), &settings);
    let (user, astrologer) = (token(ParticipantKind::User, "u1"), token(ParticipantKind::Astrologer, "a1"));
    let bearer = format!("Bearer {user}");
    let url = program.url.as_str();

    // Every place a credential may be in.
    let mut heard = Client::connect(url, &astrologer).await;
    let mut client = Client::connect(url, &user).await;
    let mut admin = Client::connect(url, ADMIN_KEY).await;
    let Handshake::Accepted(by_header) = Client::handshake_with(url, &json!({}), &[("authorization", &bearer)]).await else {
        panic!("refused")
    };
    // What is said to those who are refused.
    let mut refusals = String::new();
    for wrong in [format!("{ADMIN_KEY}-wrong"), format!("{user}x"), format!("{CERTIFICATE}.{CERTIFICATE}.{CERTIFICATE}")] {
        let Handshake::Refused(why) = Client::handshake(url, &json!({ "token": wrong })).await else { panic!("accepted") };
        refusals += &why;
        for headers in [[("Authorization", wrong.as_str())], [("x-admin-key", wrong.as_str())]] {
            let refused = get(url, local(2), &format!("/api/conversations?token={wrong}"), &headers).await;
            assert_eq!(refused.status, 401);
            refusals += &format!("{refused:?}");
        }
    }
    for version in [3, 4] {
        let polled = get(url, local(2), &format!("/socket.io/?EIO={version}&transport=polling&token={user}"), &[]).await;
        assert_eq!(polled.status, 200);
    }

    // Every way to say something, also in a wrong shape.
    let payload = json!({ "recipientId": "a1", "recipientType": "astrologer", "content": TEXT });
    assert_eq!(client.call("dm:send_message", &payload).await["ok"], true);
    heard.expect("dm:new_message").await;
    assert_eq!(admin.call("dm:send_message", &payload).await["ok"], true);
    for wrong in [json!({ "content": { "is": TEXT } }), json!({ "conversationId": TEXT, "content": TEXT }), json!([TEXT]), json!(TEXT)] {
        let refused = [client.call("dm:send_message", &wrong).await, client.call(TEXT, &wrong).await];
        assert!(refused.iter().all(|refused| refused["ok"] == false));
        refusals += &format!("{refused:?}");
    }
    for wrong in [
        json!({ "recipientId": "a1", "recipientType": "astrologer", "content": TEXT, "messageType": TEXT }),
        json!({ "recipientId": "a1", "recipientType": "astrologer", "content": TEXT, "mediaUrl": format!("http://{ADMIN_KEY}") }),
        json!({ "recipientId": "a1", "recipientType": "astrologer", "content": TEXT.repeat(1_000) }),
        json!({ "recipientId": TEXT, "recipientType": TEXT, "content": TEXT }),
        json!({ "recipientId": "u1", "recipientType": "user", "content": TEXT, "clientMessageId": TEXT.repeat(10) }),
    ] {
        let refused = client.call("dm:send_message", &wrong).await;
        assert_eq!(refused["ok"], false, "{refused}");
        refusals += &refused.to_string();
        let refused =
            send(url, local(2), "POST", "/api/conversations/user_u1_a1/messages", &[("Authorization", &bearer)], &wrong.to_string()).await;
        assert!(refused.status >= 400, "{refused:?}");
        refusals += &format!("{refused:?}");
    }
    for refresh in [json!({ "token": ADMIN_KEY }), json!({ "token": format!("{user}x") }), json!({ "token": { "is": ADMIN_KEY } })] {
        refusals += &client.call("auth:refresh", &refresh).await.to_string();
    }
    for (_, told) in client.heard_so_far().await.into_iter().filter(|(name, _)| name == "error" || name.ends_with(":error")) {
        // The one thing that is repeated is the text the asker gave as the id of a conversation.
        let told = json!({ "message": told["message"], "error": told["error"], "code": told["code"] });
        refusals += &told.to_string();
    }
    assert_eq!(client.call("dm:history", &json!({ "conversationId": "user_u1_a1" })).await["ok"], true);
    assert_eq!(
        client.call("call:initiate", &json!({ "calleeId": "a1", "calleeType": "astrologer", "callType": "voice" })).await["ok"],
        true
    );
    let media = heard.expect("call:incoming").await["agoraToken"].as_str().expect("a media token").to_owned();
    let body = payload.to_string();
    for credential in [("Authorization", bearer.as_str()), ("x-admin-key", ADMIN_KEY)] {
        let sent = send(url, local(2), "POST", "/api/conversations/user_u1_a1/messages", &[credential], &body).await;
        assert_eq!((sent.status, sent.json()["success"].as_bool()), (201, Some(true)), "{sent:?}");
        let refused = send(url, local(2), "POST", "/api/conversations/user_u1_a1/messages", &[credential], TEXT).await;
        assert_eq!(refused.status, 400);
        refusals += &format!("{refused:?}");
    }
    // What is noted of an admin: that he read and deleted, not what.
    let read = admin.call("dm:history", &json!({ "conversationId": "user_u1_a1" })).await;
    let delete = json!({ "messageId": read["messages"][0]["_id"], "scope": "everyone" });
    assert_eq!(admin.call("dm:delete_message", &delete).await["ok"], true, "{read}");
    assert_eq!(admin.call("dm:history", &json!({ "conversationId": TEXT })).await["ok"], false);
    drop((client, by_header));
    let printed = program.printed();
    let noted = async {
        while !trail(folder.path(), mongo.as_ref()).contains("delete") {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    // The embedded store belongs to one program at a time.
    if mongo.is_some() {
        tokio::time::timeout(Duration::from_secs(10), noted).await.expect("noted");
    } else {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    program.kill();
    let trail = trail(folder.path(), mongo.as_ref());
    assert!(["read", "delete", "refused_key"].iter().all(|action| trail.contains(action)), "{trail}");

    let logged = std::fs::read_to_string(log).expect("a log") + &printed;
    assert!(logged.contains("DEBUG") && logged.contains("a client connected"), "it does log:\n{logged}");
    let signature = |token: &str| token.rsplit('.').next().expect("three parts").to_owned();
    let (signed_by_user, signed_by_astrologer) = (signature(&user), signature(&astrologer));
    for private in [TEXT, ADMIN_KEY, CERTIFICATE, SECRET, &media, &signed_by_user, &signed_by_astrologer] {
        let line = logged.lines().find(|line| line.contains(private));
        assert!(line.is_none(), "logged: {line:?}");
        assert!(!refusals.contains(private), "{private:?} is in an answer: {refusals}");
        assert!(!trail.contains(private), "{private:?} is in the audit trail: {trail}");
    }
}

/// What `samvad audit` prints.
fn trail(folder: &Path, mongo: Option<&(String, String)>) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_samvad"));
    command.arg("audit").current_dir(folder).env_clear().env("JWT_SECRET", SECRET).env("DATA_DIR", folder);
    if let Some((uri, database)) = mongo {
        command.envs([("MONGODB_URI", uri), ("MONGODB_DB", database)]);
    }
    let output = command.output().expect("it runs");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// The lines with this text.
fn lines_saying<'a>(log: &'a [serde_json::Value], text: &str) -> Vec<&'a serde_json::Value> {
    log.iter().map(|line| &line["fields"]).filter(|fields| fields["message"] == text).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_thing_somebody_did_is_one_line_with_ids_and_a_limit_is_not_a_line_each_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let settings = [
        ("RUST_LOG", "info,samvad::services::messaging=debug"),
        ("LOG_FORMAT", "json"),
        ("RATE_PROFILE", "default"),
        ("LIMIT_MESSAGES_PER_MINUTE", "2"),
        ("ADMIN_SECRET_KEY", ADMIN_KEY),
    ];
    let program = Program::start_logging_to(Stdio::from(File::create(&log).expect("a file")), folder.path(), None, &settings);
    let mut user = Client::connect(&program.url, &token(ParticipantKind::User, "u1")).await;
    let mut astrologer = Client::connect(&program.url, &token(ParticipantKind::Astrologer, "a1")).await;
    let payload = json!({ "recipientId": "a1", "recipientType": "astrologer", "content": TEXT });
    let first = user.call("dm:send_message", &payload).await["message"]["_id"].clone();
    user.call("dm:send_message", &payload).await;
    for _ in 0..3 {
        assert_eq!(user.call("dm:send_message", &payload).await["code"], "RATE_LIMITED");
    }
    astrologer.call("dm:mark_read", &json!({ "conversationId": "user_u1_a1" })).await;
    user.call("dm:delete_message", &json!({ "messageId": first, "scope": "everyone" })).await;
    let ring = json!({ "calleeId": "a1", "calleeType": "astrologer", "callType": "voice" });
    let call = user.call("call:initiate", &ring).await["callId"].clone();
    astrologer.call("call:accept", &json!({ "callId": call })).await;
    user.call("call:token", &json!({ "callId": call })).await;
    user.call("call:end", &json!({ "callId": call })).await;
    let bearer = format!("Bearer {}", token(ParticipantKind::User, "u1"));
    let (device, feedback) = (format!(r#"{{"fcmToken":"{DEVICE}"}}"#), format!("/api/calls/{}/feedback", call.as_str().expect("an id")));
    for (path, credential, body) in [
        ("/api/fcm/register", ("Authorization", bearer.as_str()), device.as_str()),
        ("/api/fcm/unregister", ("Authorization", &bearer), &device),
        (&feedback, ("Authorization", &bearer), r#"{"rating":5}"#),
        ("/api/admin/relations", ("x-admin-key", ADMIN_KEY), r#"{"userId":"u2","astrologerId":"a2"}"#),
    ] {
        let answer = send(&program.url, local(1), "POST", path, &[credential], body).await;
        assert!(answer.status < 300, "{path}: {answer:?}");
    }
    let Handshake::Refused(_) = Client::handshake(&program.url, &json!({ "token": "nonsense" })).await else { panic!("let in") };
    user.raw("41").await;
    let written = || std::fs::read_to_string(&log).expect("a log");
    let left = async {
        while !written().contains("a client left") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), left).await.expect("noted");
    program.kill();

    let text = written();
    let log: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).expect("every line is JSON")).collect();
    for (said, count) in [
        ("a client connected", 2),
        ("a client was refused", 1),
        ("a message was sent", 2),
        ("messages were read", 1),
        ("a message was deleted", 1),
        ("a conversation was opened", 1),
        ("a call was begun", 1),
        ("a call was rated", 1),
        ("a device was registered", 1),
        ("a device was removed", 1),
        ("a relation was noted", 1),
        ("a media token was issued", 1),
        ("a client left", 1),
    ] {
        assert_eq!(lines_saying(&log, said).len(), count, "{said}: {text}");
    }
    assert!(lines_saying(&log, "a message was sent").iter().all(|f| f["participant"] == "user:u1" && f["message.id"].is_string()));
    assert_eq!(lines_saying(&log, "a message was deleted")[0]["message.id"], first);
    assert!(lines_saying(&log, "a call moved on").iter().all(|f| f["call.id"] == call));
    assert!(lines_saying(&log, "a call moved on").iter().any(|f| f["to"] == "ended"), "{text}");
    let said = |line: &&serde_json::Value| line["fields"]["message"].as_str().is_some_and(|m| m.contains("reached the limit for"));
    let limits: Vec<_> = log.iter().filter(said).collect();
    assert_eq!((limits.len(), limits[0]["level"].as_str()), (1, Some("WARN")), "{text}");
    assert!(!text.contains(TEXT) && !text.contains(DEVICE), "no text, and no token of a device");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_asked_of_the_log_nothing_private_gets_into_it_on_sqlite() {
    nothing_private_is_logged(None, "text").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_asked_of_the_log_nothing_private_gets_into_it_on_mongodb() {
    nothing_private_is_logged(Some((stores::mongo_uri(), stores::fresh_database())), "json").await;
}

#[cfg(not(feature = "otel"))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_built_without_traces_says_that_none_are_sent() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318"), ("OTEL_EXPORTER_OTLP_HEADERS", "x=the%20planted%20header")];
    let program = Program::start_logging_to(Stdio::from(File::create(&log).expect("a file")), folder.path(), None, &settings);
    program.end();
    let said = std::fs::read_to_string(log).expect("a log");
    assert!(said.contains("WARN") && said.contains("built without the feature otel"), "{said}");
    assert!(!said.contains("planted"), "{said}");
}

/// What `samvad config` says with these settings, on either stream.
fn config_with(settings: &[(&str, &str)]) -> (bool, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_samvad"));
    let output = command.arg("config").current_dir(folder.path()).env_clear().envs(settings.iter().copied()).output().expect("it runs");
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[test]
fn neither_the_settings_nor_their_mistakes_are_shown_with_a_secret_in_them() {
    let right = [
        ("JWT_SECRET", SECRET),
        ("ADMIN_SECRET_KEY", ADMIN_KEY),
        ("ADMIN_KEYS", "asha:the-planted-key-of-asha"),
        ("AGORA_APP_ID", "970ca35de60c44645bbae8a215061b33"),
        ("AGORA_APP_CERTIFICATE", CERTIFICATE),
        ("MONGODB_URI", "mongodb://root:the-planted-password@127.0.0.1:1/db"),
        ("PORT", "3999"),
    ];
    let (ok, shown) = config_with(&right);
    assert!(ok && shown.contains("3999"), "{shown}");
    // Each in a place where it does not belong, or not as it must be.
    let wrong = [
        ("JWT_SECRET", "planted-short"),
        ("ADMIN_SECRET_KEY", "planted-key"),
        ("ADMIN_KEYS", "the-planted-key-of-asha"),
        ("AGORA_APP_CERTIFICATE", "planted-certificate"),
        ("MONGODB_URI", "root:the-planted-password@127.0.0.1/db"),
    ];
    let (ok, mistakes) = config_with(&wrong);
    assert!(!ok && mistakes.contains("JWT_SECRET"), "{mistakes}");
    for shown in [shown, mistakes] {
        for private in [SECRET, ADMIN_KEY, CERTIFICATE, "planted"] {
            assert!(!shown.contains(private), "{private:?} is shown: {shown}");
        }
    }
}
