//! Rings at a fixed rate, and measures the time from the write of `call:initiate` to the request at a push service played here.
//!
//! Starts the server it is given, on data of its own, and ends it by its pid. Every callee has one device, which tells the rings apart.
//! Exit code: 0 every ring came once, 1 some did not or came twice.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Parser;
use futures_util::{SinkExt, StreamExt};
use samvad::models::{Participant, ParticipantKind};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

const SECRET: &str = "a secret of the push bench";

#[derive(Parser)]
#[command(about = "Time from call:initiate to the push service")]
struct Options {
    /// The server's binary.
    #[arg(long, default_value = "target/release/samvad")]
    server: PathBuf,
    /// Rings per second.
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// For so many seconds.
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    /// Sockets the calls come from.
    #[arg(long, default_value_t = 50)]
    callers: usize,
    /// How long the push service takes for an answer, in milliseconds.
    #[arg(long, default_value_t = 0)]
    answer_ms: u64,
    /// Where the server's data is; on a file system in memory the figures say nothing about durability.
    #[arg(long, default_value = "/var/tmp")]
    folder: PathBuf,
    /// MongoDB instead of the embedded store; the database is left behind.
    #[arg(long)]
    mongodb_uri: Option<String>,
}

/// What the push service played here heard: when which device was rung.
#[derive(Default)]
struct Heard {
    rung: Mutex<HashMap<String, Vec<Instant>>>,
    answer_after: Duration,
}

async fn play(State(heard): State<Arc<Heard>>, uri: Uri, body: Bytes) -> Response {
    let at = Instant::now();
    let json = |body: &'static str| ([(header::CONTENT_TYPE, "application/json")], body).into_response();
    if uri.path() == "/token" {
        return json(r#"{"access_token":"t","expires_in":3600}"#);
    }
    let push: Value = serde_json::from_slice(&body).unwrap_or_default();
    if push["message"]["data"]["type"] == "call" {
        let device = push["message"]["token"].as_str().unwrap_or_default().to_owned();
        heard.rung.lock().expect("not poisoned").entry(device).or_default().push(at);
    }
    tokio::time::sleep(heard.answer_after).await;
    json(r#"{"name":"projects/bench/messages/1"}"#)
}

fn service_account(url: &str) -> String {
    let key = KeyPair::generate(KeySize::Rsa2048).expect("a key");
    let der: Pkcs8V1Der = key.as_der().expect("encodable");
    let text = STANDARD.encode(der.as_ref());
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..(at + 64).min(text.len())]).collect();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
    json!({ "project_id": "bench", "client_email": "bench@example.com", "private_key": pem, "token_uri": format!("{url}/token") })
        .to_string()
}

/// The server, ended when this goes.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(options: &Options, folder: &Path, fcm: &str) -> (Server, String) {
    // Absolute: it works in a folder of its own.
    let binary = options.server.canonicalize().expect("the server is there");
    let mut command = Command::new(binary);
    command.env_clear().current_dir(folder).env("DATA_DIR", folder).env("PORT", "0").env("JWT_SECRET", SECRET);
    command.env("RATE_PROFILE", "off").env("RELATION_CHECK", "off").env("RUST_LOG", "warn").env("CALL_LOGS", "off");
    command.env("FIREBASE_SERVICE_ACCOUNT_JSON", service_account(fcm)).env("FCM_URL", fcm);
    if let Some(uri) = &options.mongodb_uri {
        command.env("MONGODB_URI", uri).env("MONGODB_DB", format!("samvad_push_bench_{}", std::process::id()));
    }
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the server starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let url = lines.find_map(|line| Some(line.strip_prefix("Samvad listens on ")?.split(' ').next()?.to_owned()));
    std::thread::spawn(move || lines.for_each(drop));
    (Server(child), url.expect("it says where it listens"))
}

fn token(kind: ParticipantKind, id: &str) -> String {
    let person = Participant::new(kind, id).expect("legal");
    samvad::auth::Verifier::new(SECRET, None).mint(&person, None, Duration::from_secs(3600)).expect("signs")
}

/// Registers the devices `from..to` on one connection.
async fn register(address: String, from: u32, to: u32) {
    let mut stream = TcpStream::connect(&address).await.expect("connects");
    for n in from..to {
        let body = json!({ "fcmToken": device(n), "platform": "android" }).to_string();
        let bearer = token(ParticipantKind::Astrologer, &format!("a{n}"));
        let request = format!(
            "POST /api/fcm/register HTTP/1.1\r\nHost: samvad\r\nAuthorization: Bearer {bearer}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut answer = Vec::new();
        // The body is short and ends with a brace.
        while !answer.ends_with(b"}") {
            answer.push(stream.read_u8().await.expect("an answer"));
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
}

fn device(n: u32) -> String {
    format!("device-of-a{n}")
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let options = Options::parse();
    let heard = Arc::new(Heard { answer_after: Duration::from_millis(options.answer_ms), ..Heard::default() });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let fcm = format!("http://{}", listener.local_addr().expect("bound"));
    let router = Router::new().fallback(any(play)).with_state(Arc::clone(&heard));
    tokio::spawn(async move { axum::serve(listener, router).await });

    let folder = tempfile::tempdir_in(&options.folder).expect("a folder");
    let (server, url) = start(&options, folder.path(), &fcm);
    let address = url.trim_start_matches("http://").to_owned();
    let rings = options.rate * options.seconds;
    let part = rings.div_ceil(16);
    let registered = (0..16).map(|n| register(address.clone(), (n * part).min(rings), ((n + 1) * part).min(rings)));
    futures_util::future::join_all(registered).await;

    let mut callers = Vec::new();
    for n in 0..options.callers {
        let (socket, _) = connect_async(format!("ws://{address}/socket.io/?EIO=4&transport=websocket")).await.expect("connects");
        let (mut sink, mut stream) = socket.split();
        stream.next().await.expect("a handshake").expect("a handshake");
        let token = token(ParticipantKind::User, &format!("u{n}"));
        sink.send(Message::text(format!("40{}", json!({ "token": token })))).await.expect("sent");
        let (frames, mut waiting) = tokio::sync::mpsc::unbounded_channel::<String>();
        let pongs = frames.clone();
        tokio::spawn(async move {
            while let Some(frame) = waiting.recv().await {
                let _ = sink.send(Message::text(frame)).await;
            }
        });
        tokio::spawn(async move {
            while let Some(Ok(frame)) = stream.next().await {
                if frame.to_text().is_ok_and(|text| text == "2") {
                    let _ = pongs.send("3".to_owned());
                }
            }
        });
        callers.push(frames);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;

    let mut begun = Vec::new();
    let mut pace = tokio::time::interval(Duration::from_secs(1) / options.rate);
    for n in 0..rings {
        pace.tick().await;
        let ask = json!(["call:initiate", { "calleeId": format!("a{n}"), "calleeType": "astrologer", "callType": "voice" }]);
        begun.push(Instant::now());
        callers[n as usize % options.callers].send(format!("42{ask}")).expect("the caller is connected");
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    drop(server);

    let rung = heard.rung.lock().expect("not poisoned");
    let mut took = Vec::new();
    let (mut lost, mut twice) = (0, 0);
    for (n, began) in (0..rings).zip(&begun) {
        match rung.get(&device(n)).map(Vec::as_slice) {
            Some([at, more @ ..]) => {
                took.push(at.duration_since(*began));
                twice += more.len();
            }
            _ => lost += 1,
        }
    }
    took.sort();
    let quantile = |part: f64| took.get(((took.len().saturating_sub(1)) as f64 * part) as usize).copied().unwrap_or_default();
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    println!(
        "{rings} rings at {}/s: p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms; {lost} lost, {twice} twice",
        options.rate,
        ms(quantile(0.5)),
        ms(quantile(0.99)),
        ms(quantile(1.0))
    );
    if lost == 0 && twice == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) }
}
