//! The webhook hears of everything the documentation lists, as people do it, and of a receiver that does not answer in earnest.

use std::sync::Arc;
use std::time::Duration;

use samvad::store::Store;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::outside::{Heard, Outside, Reply};
use crate::support::people::astrologer;
use crate::support::server::TestServer;
use crate::support::stores::{self, on_every_driver};

on_every_driver!(each_step_of_a_call_is_an_event_with_the_call_as_it_was_then, who_is_gone_for_a_while_is_an_event,);

async fn serve(store: &Arc<dyn Store>, outside: &Outside, more: &[(&str, &str)]) -> TestServer {
    let settings = outside.webhook();
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    TestServer::start_with(store.clone(), &[&[("RATE_PROFILE", "off"), ("RELATION_CHECK", "off")], &settings[..], more].concat()).await
}

/// What the webhook heard of a call, in the order the steps were taken.
async fn steps(outside: &Outside, call: &Value, count: usize) -> Vec<Value> {
    let of_it = |heard: &Heard| heard.json()["data"]["call"]["callId"] == *call;
    let heard = outside.wait(count, |o| o.heard("/hook").into_iter().filter(of_it).collect()).await;
    let mut steps: Vec<Value> = heard.iter().map(Heard::json).collect();
    // Several are sent at once; times of one millisecond stay as they came.
    steps.sort_by_key(|step| step["createdAt"].as_str().expect("a time").to_owned());
    steps
}

fn names(steps: &[Value]) -> Vec<&str> {
    let mut names: Vec<&str> = steps.iter().map(|step| step["type"].as_str().expect("a name")).collect();
    names.sort_unstable();
    names
}

async fn call(caller: &mut Client) -> Value {
    let ask = json!({ "calleeId": "ravi", "calleeType": "astrologer", "callType": "voice" });
    let answer = caller.call("call:initiate", &ask).await;
    assert_eq!(answer["ok"], true, "{answer}");
    answer["callId"].clone()
}

async fn each_step_of_a_call_is_an_event_with_the_call_as_it_was_then(store: Arc<dyn Store>) {
    let outside = Outside::start().await;
    let server = serve(&store, &outside, &[("RING_TIMEOUT_SECONDS", "3")]).await;
    let (mut asha, mut ravi) = (server.user("asha").await, server.astrologer("ravi").await);
    // Answered, talked, hung up. Each step is waited for, so that it is in time.
    let answered = call(&mut asha).await;
    let id = json!({ "callId": answered });
    ravi.expect("call:incoming").await;
    assert_eq!(ravi.call("call:accept", &id).await["ok"], true);
    assert_eq!(asha.call("call:connected", &id).await["ok"], true);
    assert_eq!(ravi.call("call:end", &id).await["ok"], true);
    let told = steps(&outside, &answered, 4).await;
    assert_eq!(names(&told), ["call.accepted", "call.connected", "call.ended", "call.initiated"]);
    let of = |name: &str| told.iter().find(|step| step["type"] == name).expect("just seen")["data"]["call"].clone();
    for (name, status, has) in [
        // He has a socket: it rings from the start.
        ("call.initiated", "ringing", "ringingAt"),
        ("call.accepted", "answered", "acceptedAt"),
        ("call.connected", "ongoing", "connectedAt"),
        ("call.ended", "ended", "endedAt"),
    ] {
        let call = of(name);
        assert_eq!((&call["status"], call[has].is_string()), (&json!(status), true), "{name}: {call}");
        assert_eq!((&call["callerId"], &call["calleeId"]), (&json!("asha"), &json!("ravi")), "{name}");
    }
    assert!(of("call.accepted").get("connectedAt").is_none() && of("call.accepted").get("endedAt").is_none());
    // Rejected.
    let rejected = call(&mut asha).await;
    ravi.expect("call:incoming").await;
    assert_eq!(ravi.call("call:reject", &json!({ "callId": rejected })).await["ok"], true);
    assert_eq!(names(&steps(&outside, &rejected, 2).await), ["call.initiated", "call.rejected"]);
    // Nobody is there; then somebody comes, and does not answer.
    drop(ravi);
    while server.services.core().delivery.is_connected(&astrologer("ravi")) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let missed = call(&mut asha).await;
    let mut ravi = server.astrologer("ravi").await;
    assert_eq!(ravi.expect("call:incoming").await["callId"], missed);
    let told = steps(&outside, &missed, 3).await;
    assert_eq!(names(&told), ["call.initiated", "call.missed", "call.ringing"]);
    for step in told {
        let status = step["type"].as_str().expect("a name").trim_start_matches("call.");
        assert_eq!(step["data"]["call"]["status"], status);
    }
    // Each once.
    let calls = outside.heard("/hook").into_iter().filter(|heard| heard.header("x-samvad-event").starts_with("call.")).count();
    assert_eq!(calls, 9);
    server.stop().await;
}

async fn who_is_gone_for_a_while_is_an_event(store: Arc<dyn Store>) {
    let outside = Outside::start().await;
    let server = serve(&store, &outside, &[]).await;
    let asha = server.user("asha").await;
    let of = |event: &'static str| move |o: &Outside| o.heard("/hook").into_iter().filter(|heard| heard.json()["type"] == event).collect();
    outside.wait(1, of("presence.online")).await;
    drop(asha);
    // After the 15 seconds a phone may take to come back.
    let gone = outside.wait(1, of("presence.offline")).await.remove(0).json();
    let data = &gone["data"];
    assert_eq!((&data["id"], &data["type"], &data["isOnline"]), (&json!("asha"), &json!("user"), &json!(false)));
    assert!(data["at"].is_string());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_hangs_or_sends_elsewhere_is_asked_again_and_nobody_else() {
    let (store, _folder) = stores::sqlite();
    let outside = Outside::start().await;
    let server = serve(&store, &outside, &[]).await;
    let (elsewhere, answers) = (format!("{}/elsewhere", outside.url), |event: &'static str| {
        move |o: &Outside| -> Vec<Heard> { o.heard("/hook").into_iter().filter(|heard| heard.header("x-samvad-event") == event).collect() }
    });
    let mut asha = server.user("asha").await;
    outside.wait(1, answers("presence.online")).await;
    // A redirect that keeps the method and the body, and one that makes a GET of it: a signed event is for the address in the settings.
    outside.script("hook", [Reply::Moved(307, elsewhere.clone()), Reply::Moved(302, elsewhere), Reply::Hang]);
    let ask = json!({ "recipientId": "ravi", "recipientType": "astrologer", "content": "hello" });
    assert_eq!(asha.call("dm:send_message", &ask).await["ok"], true);
    let tries = outside.wait(4, answers("message.created")).await;
    assert_eq!(tries.iter().map(|one| one.header("x-samvad-attempt")).collect::<Vec<_>>(), ["1", "2", "3", "4"]);
    assert!(tries.iter().all(|one| one.header("x-samvad-delivery") == tries[0].header("x-samvad-delivery")));
    let waited = tries[3].at.duration_since(tries[2].at);
    assert!(waited >= Duration::from_secs(10), "an answer is waited for: {waited:?}");
    assert!(outside.heard("/elsewhere").is_empty(), "a redirect was followed");
    server.stop().await;
}
