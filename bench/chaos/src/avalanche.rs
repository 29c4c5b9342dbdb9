//! Avalanche: thousands of clients are cut at once and all come back, each to find its room and the one message it missed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::doc;
use futures_util::{StreamExt, stream};
use rand::Rng;
use samvad::auth::Verifier;
use samvad::models::{Participant, ParticipantKind};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::house::SECRET;
use crate::line::{Cut, Line, Transport};
use crate::recount::{Nodes, Place};
use crate::stage::Stage;

/// How many others talk to them.
const SPEAKERS: usize = 50;

/// What cuts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum How {
    /// The network.
    Cut,
    /// `kill -9` of the server.
    Kill,
    /// SIGTERM.
    Terminate,
}

#[derive(clap::Args, Clone)]
pub struct Options {
    #[command(flatten)]
    pub stage: Stage,
    #[arg(long, default_value_t = 5_000)]
    pub clients: usize,
    #[arg(long, value_enum, default_value = "cut")]
    pub how: How,
}

fn token(kind: ParticipantKind, id: &str) -> String {
    let person = Participant::new(kind, id).expect("legal");
    Verifier::new(SECRET, None).mint(&person, None, Duration::from_secs(4 * 3600)).expect("signs")
}

async fn connect(port: u16, place: usize, token: &str) -> Line {
    loop {
        let opening = async {
            let mut line = Line::open(port, place, Transport::Websocket).await.map_err(|_| Cut)?;
            line.say(format!("40{}", json!({ "token": token }))).await?;
            while !line.next().await?.starts_with("42[\"connected\"") {}
            Ok::<Line, Cut>(line)
        };
        if let Ok(Ok(line)) = timeout(Duration::from_secs(20), opening).await {
            return line;
        }
        let pause = rand::rng().random_range(200..600);
        sleep(Duration::from_millis(pause)).await;
    }
}

async fn ask(line: &mut Line, event: &str, payload: Value) -> Value {
    line.say(format!("421{}", json!([event, payload]))).await.expect("connected");
    loop {
        let packet = line.next().await.expect("connected");
        if let Some(answer) = packet.strip_prefix("431") {
            let answer: Value = serde_json::from_str(answer).expect("JSON");
            return answer[0].clone();
        }
    }
}

/// Everybody is told something by his speaker.
async fn speak(port: u16, clients: usize, text: &'static str) {
    let mut speakers = JoinSet::new();
    for speaker in 0..SPEAKERS {
        speakers.spawn(async move {
            let mut line = connect(port, speaker, &token(ParticipantKind::Astrologer, &format!("a{speaker}"))).await;
            for client in (speaker..clients).step_by(SPEAKERS) {
                let payload = json!({ "recipientId": format!("u{client}"), "recipientType": "user", "content": text });
                let answer = ask(&mut line, "dm:send_message", payload).await;
                assert_eq!(answer["ok"], true, "{answer}");
            }
        });
    }
    speakers.join_all().await;
}

/// Reads so far, as mongod counts them. The embedded store counts nothing.
async fn reads(place: &Place) -> Option<[i64; 3]> {
    let Place::Mongo { uri, .. } = place else { return None };
    let client = mongodb::Client::with_uri_str(uri).await.expect("a usable URI");
    let status = client.database("admin").run_command(doc! { "serverStatus": 1 }).await.expect("it answers");
    let counters = status.get_document("opcounters").expect("counters");
    let number = |name: &str| counters.get(name).and_then(|n| n.as_i64().or_else(|| n.as_i32().map(i64::from))).unwrap_or(0);
    Some([number("query"), number("getmore"), number("insert") + number("update") + number("delete")])
}

/// Runs it. False if somebody does not get what he missed.
pub async fn run(options: Options) -> bool {
    assert!(options.stage.store.nodes() == Nodes::One, "all clients are cut from one server");
    let (mut stage, place) = options.stage.set_up(vec![("MAX_CONNECTIONS_PER_ADDRESS".into(), "20000".into())]).await;
    let server = &mut stage.servers[0];
    server.start();
    let (port, clients) = (server.port, options.clients);
    speak(port, clients, "hello").await;
    let tokens: Arc<Vec<String>> = Arc::new((0..clients).map(|n| token(ParticipantKind::User, &format!("u{n}"))).collect());
    let lines: Vec<Line> = stream::iter(0..clients)
        .map(|n| {
            let tokens = Arc::clone(&tokens);
            async move {
                let mut line = connect(port, n, &tokens[n]).await;
                let joined =
                    ask(&mut line, "dm:join_conversation", json!({ "conversationId": format!("user_u{n}_a{}", n % SPEAKERS) })).await;
                assert_eq!(joined["ok"], true, "{joined}");
                line
            }
        })
        .buffer_unordered(100)
        .collect()
        .await;
    // Rooms are written a second later.
    sleep(Duration::from_secs(4)).await;
    let cut_at = Instant::now();
    match options.how {
        How::Cut => drop(lines),
        How::Kill => {
            server.kill();
            drop(lines);
            server.start();
        }
        How::Terminate => {
            assert_eq!(server.terminate(), Some(0), "an orderly end");
            drop(lines);
            server.start();
        }
    }
    let away = cut_at.elapsed();
    speak(port, clients, "missed").await;
    // What is written lazily is written by now.
    sleep(Duration::from_secs(3)).await;
    let before = reads(&place).await;
    let began = Instant::now();
    let mut people = JoinSet::new();
    for n in 0..clients {
        let tokens = Arc::clone(&tokens);
        people.spawn(async move {
            let mut line = connect(port, n, &tokens[n]).await;
            let signed_in = began.elapsed();
            let told = async {
                loop {
                    let packet = line.next().await?;
                    if packet.starts_with("42[\"dm:message_received\"") && packet.contains("\"content\":\"missed\"") {
                        return Ok::<_, Cut>(());
                    }
                }
            };
            let told = timeout(Duration::from_secs(60), told).await;
            (signed_in, told.is_ok_and(|told| told.is_ok()).then(|| began.elapsed()), line)
        });
    }
    let outcome = people.join_all().await;
    let after = reads(&place).await;
    let mut times: Vec<Duration> = outcome.iter().filter_map(|(_, told, _)| *told).collect();
    times.sort_unstable();
    let signed_in = outcome.iter().map(|(signed_in, ..)| *signed_in).max().unwrap_or_default();
    let at = |part: f64| times.get(((times.len().max(1) - 1) as f64 * part) as usize).map(|t| t.as_millis() as u64);
    let per_client = before.zip(after).map(|(before, after)| {
        let each = |n: usize| (after[n] - before[n]) as f64 / clients as f64;
        json!({ "queries": each(0), "getmores": each(1), "writes": each(2) })
    });
    let line = json!({
        "mode": "avalanche", "store": options.stage.store_name(), "how": format!("{:?}", options.how), "clients": clients, "caughtUp": times.len(),
        "serverAwayMs": away.as_millis() as u64, "signedInMs": signed_in.as_millis() as u64,
        "caughtUpMs": { "p50": at(0.5), "p99": at(0.99), "last": at(1.0) }, "perClient": per_client,
    });
    println!("{line}");
    times.len() == clients
}
