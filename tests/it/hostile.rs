//! Hostile clients with real sockets, and two honest ones who must not notice: nothing of theirs is lost, and the server does not panic.
//!
//! `HOSTILE=full` makes the crowds larger and waits for what takes half a minute. Speed under attack is measured by `bench/attack`.

use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use samvad::models::ParticipantKind;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::attacker::{Fate, Line, TEXT, frame, head};
use crate::support::client::Client;
use crate::support::http::{UPGRADE, connect_from, get, is_closed, local, send};
use crate::support::program::{Program, token};

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";
/// Where the attackers are; the honest are at 127.0.0.1.
const ATTACKER: u8 = 66;

fn is_full() -> bool {
    std::env::var("HOSTILE").is_ok_and(|word| word == "full")
}

/// The real program with two honest people who talk all the time.
struct Stage {
    program: Program,
    log: PathBuf,
    _folder: TempDir,
    stop: oneshot::Sender<()>,
    talk: JoinHandle<Talked>,
}

/// What the honest said, and how long the slowest message took until it was heard.
struct Talked {
    count: usize,
    slowest: Duration,
}

impl Stage {
    async fn set(settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let program = Program::start_logging_to(Stdio::from(File::create(&log).expect("a file")), folder.path(), None, settings);
        let asha = Client::connect(&program.url, &token(ParticipantKind::User, "asha")).await;
        let ravi = Client::connect(&program.url, &token(ParticipantKind::Astrologer, "ravi")).await;
        let (stop, stopped) = oneshot::channel();
        let talk = tokio::spawn(talk(asha, ravi, stopped));
        Self { program, log, _folder: folder, stop, talk }
    }

    fn url(&self) -> &str {
        &self.program.url
    }

    /// A websocket of a user who means harm.
    async fn attacker(&self) -> Line {
        Line::sign_in(self.url(), local(ATTACKER), &mallory()).await
    }

    /// What the honest said until now arrived, in order and once; a new client is served; nothing panicked or failed.
    async fn end(self) {
        let mut newcomer = Client::connect(self.url(), &token(ParticipantKind::User, "newcomer")).await;
        assert_eq!(newcomer.call("get_stats", &json!({})).await["ok"], true);
        self.stop.send(()).expect("the honest still talk");
        let talked = self.talk.await.expect("the honest were served");
        assert!(talked.count > 0 && talked.slowest < Duration::from_secs(5), "{} messages, slowest {:?}", talked.count, talked.slowest);
        self.program.kill();
        let log = std::fs::read_to_string(self.log).expect("a log");
        let failure = log.lines().find(|line| line.contains("panicked") || line.contains("ERROR"));
        assert!(failure.is_none(), "logged: {failure:?}");
    }
}

/// Asha writes, Ravi reads, until told to stop; both then look at what was kept.
async fn talk(mut asha: Client, mut ravi: Client, mut stopped: oneshot::Receiver<()>) -> Talked {
    let mut talked = Talked { count: 0, slowest: Duration::ZERO };
    while stopped.try_recv().is_err() {
        let (content, begun) = (format!("honest word {}", talked.count), Instant::now());
        let payload = json!({ "recipientId": "ravi", "recipientType": "astrologer", "content": content });
        let answer = asha.call("dm:send_message", &payload).await;
        assert_eq!(answer["ok"], true, "{answer}");
        let heard = ravi.expect("dm:new_message").await;
        assert_eq!((&heard["content"], &heard["senderId"]), (&json!(content), &json!("asha")), "in order, once, and from nobody else");
        talked.count += 1;
        talked.slowest = talked.slowest.max(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for client in [&mut asha, &mut ravi] {
        let kept = client.call("dm:history", &json!({ "conversationId": "user_asha_ravi", "markRead": false })).await;
        assert_eq!(kept["total"], talked.count.min(10_000), "{kept}");
    }
    let stray = ravi.heard_so_far().await.into_iter().find(|(name, _)| name.starts_with("dm:m") || name.starts_with("call"));
    assert!(stray.is_none(), "nobody else reaches him: {stray:?}");
    talked
}

fn mallory() -> String {
    token(ParticipantKind::User, "mallory")
}

/// A frame that is either the line's end or taken in silence; a line must never hang in between.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expected {
    Cut,
    Served,
}
use Expected::{Cut, Served};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_websocket_frames_end_the_line_of_their_sender() {
    let stage = Stage::set(&[]).await;
    let event = br#"42["get_stats",{}]"#;
    let whole = [frame(0x01, b"42[\"get_"), frame(0x00, b"stats\""), frame(0x89, b"ping"), frame(0x80, b",{}]")].concat();
    let flood: Vec<u8> = (0..5_000).flat_map(|_| frame(0x89, &[b'p'; 125])).collect();
    let fragments: Vec<u8> = (0..20_000).flat_map(|n| frame(u8::from(n == 0), b"")).collect();
    let attacks: [(&str, Vec<u8>, Expected); 19] = [
        ("not masked", [head(TEXT, event.len() as u64, false), event.to_vec()].concat(), Cut),
        ("reserved opcode of data", frame(0x83, event), Cut),
        ("reserved opcode of control", frame(0x8b, b""), Cut),
        ("reserved bits", frame(0xf1, event), Cut),
        ("a control frame in fragments", frame(0x09, b"x"), Cut),
        ("a control frame that is too long", frame(0x89, &[0; 126]), Cut),
        ("a continuation of nothing", frame(0x80, event), Cut),
        ("a new message within a message", [frame(0x01, b"42["), frame(TEXT, event)].concat(), Cut),
        ("a length of more than there is memory", head(TEXT, u64::MAX >> 1, true), Cut),
        ("a negative length", head(TEXT, u64::MAX, true), Cut),
        ("no UTF-8", frame(TEXT, b"42[\"get_stats\",{\"a\":\"\xff\xfe\"}]"), Cut),
        ("half a character", frame(TEXT, b"42[\"get_stats\",{\"a\":\"\xe0\xa4\"}]"), Cut),
        ("a close frame with half a code", frame(0x88, &[3]), Cut),
        ("a close frame with a forbidden code", frame(0x88, &[0, 5]), Cut),
        ("an orderly close", frame(0x88, &[3, 232]), Cut),
        ("fragments and a ping between them", whole, Served),
        ("five thousand pings", flood, Served),
        ("twenty thousand empty fragments", [fragments, frame(0x80, event)].concat(), Served),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: samvad\r\n\r\n".to_vec(), Cut),
    ];
    for (what, bytes, expected) in attacks {
        let mut line = stage.attacker().await;
        line.write(&bytes).await;
        let fate = line.fate().await;
        assert_eq!(fate, if expected == Cut { Fate::Cut } else { Fate::Served }, "{what}");
    }
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_packets_are_refused_ignored_or_end_the_line_of_their_sender() {
    let stage = Stage::set(&[]).await;
    let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let digits = "9".repeat(400);
    let packets: Vec<(&str, Vec<u8>)> = [
        // Engine.IO.
        "",
        "0",
        "0{}",
        "1",
        "2",
        "2probe",
        "3",
        "3probe",
        "5",
        "6",
        "7",
        "8",
        "9",
        "x",
        "\0",
        "\u{1}",
        "-1",
        "b",
        "bAAAA",
        "b!!!!",
        "🪐",
        "4",
        // Socket.IO: unknown kinds, namespaces, ack ids, attachments.
        "47",
        "48",
        "49",
        "4-",
        "4x",
        "4🪐",
        "40",
        "40{}",
        "40/admin,",
        "40/admin,{}",
        "40/",
        "40/,",
        "40,",
        "41",
        "41/admin,",
        "41/admin",
        "41{\"a\":1}",
        "42",
        "42/",
        "42/admin",
        "42/admin,",
        "42/admin,[\"get_stats\",{}]",
        "42/admin,1[\"get_stats\",{}]",
        "420",
        "4299999",
        "42-1[\"get_stats\",{}]",
        "4299999999999999999999[\"get_stats\",{}]",
        "429223372036854775807[\"get_stats\",{}]",
        "421.5[\"get_stats\"]",
        "43",
        "430",
        "431",
        "431[]",
        "4399999999999999999999[1]",
        "43-1[1]",
        "431[{\"ok\":true}]",
        "44",
        "44{\"message\":\"x\"}",
        "44/admin,\"x\"",
        "45",
        "450",
        "45-",
        "450-[\"get_stats\"]",
        "451-[\"get_stats\",{\"_placeholder\":true,\"num\":0}]",
        "459999999999-[\"get_stats\"]",
        "4599999999999999999999999999-[\"get_stats\"]",
        "45-1-[\"get_stats\"]",
        "451-",
        "451-/admin,[\"x\",{\"_placeholder\":true,\"num\":0}]",
        "451-[\"get_stats\",{\"_placeholder\":true,\"num\":-1}]",
        "452-1[\"get_stats\",{\"_placeholder\":true,\"num\":99999999999999999999}]",
        "46",
        "460-[]",
        "461-1[{\"_placeholder\":true,\"num\":0}]",
        "4618446744073709551616-[1]",
        // JSON.
        "42[",
        "42]",
        "42[]",
        "42{}",
        "42null",
        "42\"get_stats\"",
        "42[null]",
        "42[5]",
        "42[true]",
        "42[[]]",
        "42[{}]",
        "42[\"",
        "42[\"get_stats\"",
        "42[\"get_stats\",",
        "42[\"get_stats\",]",
        "42[\"get_stats\",{]",
        "42[\"get_stats\",{\"a\"}]",
        "42[\"get_stats\",{\"a\":}]",
        "42[\"get_stats\",NaN]",
        "42[\"get_stats\",1e999999]",
        "42[\"get_stats\",-]",
        "42[\"get_stats\",\"\\ud800\"]",
        "42[\"get_stats\",\"\\u\"]",
        "42[\"get\\u005fstats\",{}]",
        "42[\"\\u0000\",{}]",
        "42[\"\",{}]",
        "42[\"connect\",{}]",
        "42[\"disconnect\",{}]",
        "42[\"error\",{}]",
        "42[\"connect_error\",{}]",
        "42[\"__proto__\",{}]",
        "42[\"constructor\",{\"prototype\":{}}]",
        "42[\"get_stats\",{}]x",
        "42[\"get_stats\",{}][]",
        "42[\"get_stats\",{}]\u{1e}42[\"get_stats\",{}]",
    ]
    .iter()
    .map(|text| (*text, text.as_bytes().to_vec()))
    .chain([
        ("a number of 400 digits", format!("42[\"dm:history\",{{\"limit\":{digits}}}]").into_bytes()),
        ("an ack id of 400 digits", format!("42{digits}[\"get_stats\",{{}}]").into_bytes()),
        ("100,000 deep as the packet", format!("42{}", deep(100_000)).into_bytes()),
        ("100,000 deep as an argument", format!("42[\"dm:history\",{}]", deep(100_000)).into_bytes()),
        ("100,000 deep and never closed", format!("42[\"dm:history\",{}", "[".repeat(100_000)).into_bytes()),
        ("objects 30,000 deep", format!("42[\"dm:history\",{}1{}]", "{\"a\":".repeat(30_000), "}".repeat(30_000)).into_bytes()),
        ("100,000 arguments", format!("42[\"get_stats\"{}]", ",1".repeat(100_000)).into_bytes()),
        ("10,000 fields", format!("42[\"dm:history\",{{{}}}]", vec!["\"conversationId\":1"; 10_000].join(",")).into_bytes()),
        ("100,000 deep as a sign-in", format!("40{}", deep(100_000)).into_bytes()),
        ("100,000 deep as an ack", format!("431{}", deep(100_000)).into_bytes()),
    ])
    .collect();
    let mut cut = 0;
    for (what, packet) in &packets {
        let mut line = stage.attacker().await;
        line.write(&frame(TEXT, packet)).await;
        // Cut or served; what fails here is a line that hangs.
        cut += usize::from(line.fate().await == Fate::Cut);
        // The same in front of CONNECT, where nobody is anybody yet.
        let mut stranger = Line::open(stage.url(), local(ATTACKER)).await;
        stranger.write(&frame(TEXT, packet)).await;
        stranger.fate_of_late_sign_in(&mallory()).await;
        // And as binary, after which a packet with attachments is complete.
        let mut line = stage.attacker().await;
        line.write(&[frame(TEXT, packet), frame(0x82, packet)].concat()).await;
        line.fate().await;
        let _ = what;
    }
    assert!(cut > 0 && cut < packets.len(), "{cut} of {} were cut", packets.len());
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signing_in_twice_late_or_after_leaving_makes_nobody_somebody_else() {
    let stage = Stage::set(&[]).await;
    let mut ear = Client::connect(stage.url(), &token(ParticipantKind::Astrologer, "ear")).await;
    let send = |when: &str| format!(r#"42["dm:send_message",{{"recipientId":"ear","recipientType":"astrologer","content":"{when}"}}]"#);
    let admin = json!({ "token": token(ParticipantKind::Admin, "admin") });
    // Before CONNECT.
    let mut line = Line::open(stage.url(), local(ATTACKER)).await;
    line.say(&send("before CONNECT")).await;
    line.fate_of_late_sign_in(&mallory()).await;
    // After DISCONNECT.
    let mut line = stage.attacker().await;
    line.say("41").await;
    line.say(&send("after DISCONNECT")).await;
    line.fate().await;
    // Back again after DISCONNECT, on the same transport.
    let mut line = stage.attacker().await;
    line.say("41").await;
    // The library passes over a CONNECT that comes while the socket before it is still being taken down.
    tokio::time::sleep(Duration::from_millis(500)).await;
    line.fate_of_late_sign_in(&mallory()).await;
    // Twice, the second time as somebody else: either the line ends, or whoever it was stays.
    let mut line = stage.attacker().await;
    line.say(&format!("40{admin}")).await;
    line.say(r#"427["dm:history",{"conversationId":"user_asha_ravi"}]"#).await;
    while let Some(text) = line.next().await {
        assert!(!text.contains("honest word"), "{text}");
        if text.starts_with("437[") {
            break;
        }
    }
    // Two sign-ins in one write.
    for _ in 0..20 {
        let mut line = Line::open(stage.url(), local(ATTACKER)).await;
        let sign_in = frame(TEXT, format!("40{}", json!({ "token": mallory() })).as_bytes());
        line.write(&[sign_in.clone(), sign_in, frame(TEXT, b"41"), frame(TEXT, format!("40{admin}").as_bytes())].concat()).await;
        line.fate().await;
    }
    for (name, heard) in ear.heard_so_far().await.into_iter().filter(|(name, _)| name == "dm:new_message") {
        eprintln!("{name}: {}", heard["content"]);
        assert_eq!(heard["senderId"], "mallory");
    }
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_megabytes_are_refused_wherever_they_come() {
    let stage = Stage::set(&[]).await;
    let large = "x".repeat(5 << 20);
    for (first, text) in
        [(TEXT, format!("42[\"dm:send_message\",{{\"content\":\"{large}\"}}]")), (0x82, large.clone()), (0x89, large.clone())]
    {
        let mut line = stage.attacker().await;
        line.write(&frame(first, text.as_bytes())).await;
        assert_eq!(line.fate().await, Fate::Cut);
    }
    // In small fragments, each of them legal.
    let mut line = stage.attacker().await;
    line.write(&frame(0x01, b"42[\"dm:send_message\",{\"content\":\"")).await;
    for _ in 0..80 {
        line.write(&frame(0x00, &[b'x'; 64 * 1024])).await;
    }
    assert_eq!(line.fate().await, Fate::Cut);
    // By polling and by REST, with and without a length: the answer may be lost with the connection, which is closed while we write.
    let opened = get(stage.url(), local(ATTACKER), POLLING, &[]).await.body;
    let opened: Value = serde_json::from_str(&opened[1..]).expect("a handshake");
    let session = format!("{POLLING}&sid={}", opened["sid"].as_str().expect("a session"));
    let bearer = format!("Bearer {}", mallory());
    for path in [session.as_str(), "/api/conversations", "/api/conversations/admin/messages"] {
        for head in [format!("Content-Length: {}", large.len()), "Transfer-Encoding: chunked".to_owned()] {
            let mut stream = connect_from(local(ATTACKER), stage.url()).await;
            let request = format!(
                "POST {path} HTTP/1.1\r\nHost: samvad\r\nAuthorization: {bearer}\r\nContent-Type: text/plain;charset=UTF-8\r\n{head}\r\n\r\n{:x}\r\n",
                large.len()
            );
            stream.write_all(request.as_bytes()).await.expect("written");
            let _ = stream.write_all(large.as_bytes()).await;
            let mut answer = Vec::new();
            let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413") || answer.starts_with("HTTP/1.1 4"), "{path}: {answer}");
        }
    }
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    for body in [deep.clone(), format!("{{\"content\":{deep}}}"), "[".repeat(200_000)] {
        let answer =
            send(stage.url(), local(ATTACKER), "POST", "/api/conversations/admin/messages", &[("Authorization", &bearer)], &body).await;
        assert_eq!((answer.status, &answer.json()["code"]), (400, &json!("INVALID_PAYLOAD")));
    }
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_events_is_answered_for_a_while_then_its_socket_closed_and_nobody_is_slowed_down() {
    let stage = Stage::set(&[("RATE_PROFILE", "default"), ("LIMIT_MESSAGES_PER_MINUTE", "100000")]).await;
    let url = stage.url().to_owned();
    let mut flooder = Client::connect(&url, &mallory()).await;
    let (mut stored, mut codes) = (0, std::collections::BTreeMap::<String, usize>::new());
    // In bursts of what one write holds; the flooder reads between them, or it would be cut for what waits for it.
    for burst in 0..4 {
        let mut asked = Vec::new();
        for number in 0..1_000 {
            let (event, payload) = match number % 2 {
                0 => ("dm:send_message", json!({ "recipientType": "admin", "content": format!("{burst} {number}") })),
                _ => ("dm:history", json!({ "conversationId": "admin_user_mallory", "limit": 1 })),
            };
            asked.push(flooder.ask(event, &payload).await);
        }
        for id in asked {
            let answer = flooder.answer(id).await;
            match answer["code"].as_str() {
                None => stored += usize::from(answer["message"].is_object()),
                Some(code) => *codes.entry(code.to_owned()).or_default() += 1,
            }
        }
        flooder.heard_so_far().await;
    }
    assert!(stored > 0 && codes["RATE_LIMITED"] > 0, "{stored} stored, refused {codes:?}");
    assert!(codes.keys().all(|code| ["RATE_LIMITED", "OVERLOADED"].contains(&code.as_str())), "{codes:?}");
    // Twenty thousand without reading a single answer: the server does not collect them, and ends what listens to nothing.
    let mut line = stage.attacker().await;
    let burst: Vec<u8> =
        (0..20_000).flat_map(|n| frame(TEXT, format!("42{n}[\"dm:history\",{{\"conversationId\":\"x\"}}]").as_bytes())).collect();
    line.write(&burst).await;
    assert_eq!(line.fate().await, Fate::Cut);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_that_never_read_are_cut_and_their_memory_returns() {
    let stage = Stage::set(&[]).await;
    let people = if is_full() { 20 } else { 6 };
    let url = stage.url().to_owned();
    let before = stage.program.rss_kib();
    // Fifty of each, as many as one identity may have; of the last one only ten, who get more than the kernel takes in for them.
    let mut stuck = Vec::new();
    for person in 0..=people {
        let token = token(ParticipantKind::Astrologer, &format!("stuck{person}"));
        let opened = (0..if person == people { 10 } else { 50 }).map(|_| Line::open_with_buffer(&url, local(ATTACKER), Some(4096)));
        for mut line in join_all(opened).await {
            line.say(&format!("40{}", json!({ "token": token }))).await;
            stuck.push(line);
        }
    }
    let mut sender = Client::connect(&url, &mallory()).await;
    let content = "x".repeat(4_000);
    for (person, count) in (0..people).map(|person| (person, 40)).chain([(people, 1_200)]) {
        let payload = json!({ "recipientId": format!("stuck{person}"), "recipientType": "astrologer", "content": content });
        for _ in 0..count {
            assert_eq!(sender.call("dm:send_message", &payload).await["ok"], true);
        }
    }
    let during = stage.program.rss_kib();
    let overfull = stuck.split_off(people * 50);
    let cut = join_all(overfull.into_iter().map(|mut line| async move { line.is_reset_within(Duration::from_secs(20)).await })).await;
    assert!(cut.iter().all(|cut| *cut), "who takes no data for 10 s is cut: {cut:?}");
    drop(stuck);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = stage.program.rss_kib();
    // The allocator keeps what it had to have once. What was queued and never freed would come on top of it each time.
    let mut crowd = Vec::new();
    for person in 0..people {
        let token = token(ParticipantKind::Astrologer, &format!("stuck{person}"));
        for mut line in join_all((0..50).map(|_| Line::open_with_buffer(&url, local(ATTACKER), Some(4096)))).await {
            line.say(&format!("40{}", json!({ "token": token }))).await;
            crowd.push(line);
        }
        let payload = json!({ "recipientId": format!("stuck{person}"), "recipientType": "astrologer", "content": content });
        for _ in 0..40 {
            assert_eq!(sender.call("dm:send_message", &payload).await["ok"], true);
        }
    }
    drop(crowd);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let again = stage.program.rss_kib();
    eprintln!("sockets that never read: {before} KiB before, {during} with them, {after} without, {again} after as many more");
    assert!(again < after + (during - before) / 2, "{before} KiB before, {during} with them, {after} without, {again} after as many more");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_handshakes_is_refused_by_address_and_others_are_served() {
    let stage = Stage::set(&[("RATE_PROFILE", "default"), ("HANDSHAKES_PER_MINUTE", "100"), ("LIMIT_MESSAGES_PER_MINUTE", "100000")]).await;
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..20 {
        let begun = (0..50).map(|n| {
            let path = if n % 2 == 0 { POLLING } else { "/socket.io/?EIO=4&transport=websocket" };
            get(stage.url(), local(ATTACKER), path, &UPGRADE)
        });
        for answer in join_all(begun).await {
            match answer.status {
                200 | 101 => taken += 1,
                429 => refused += 1,
                other => panic!("{other}"),
            }
        }
    }
    assert!((100..200).contains(&taken) && taken + refused == 1_000, "{taken} let in, {refused} refused");
    assert_eq!(get(stage.url(), local(67), POLLING, &[]).await.status, 200, "another address is served");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_slow_holds_up_nobody_else() {
    let stage = Stage::set(&[("MAX_CONNECTIONS_PER_ADDRESS", "300")]).await;
    let bearer = mallory();
    let beginnings = [
        String::new(),
        "G".to_owned(),
        "GET / HTTP/1.1\r\nHost: sam".to_owned(),
        "GET / HTTP/1.1\r\nHost: samvad\r\nX-Slow: ".to_owned(),
        format!("POST {POLLING} HTTP/1.1\r\nHost: samvad\r\nContent-Length: 1000\r\n\r\n4"),
        format!("POST /api/conversations HTTP/1.1\r\nHost: samvad\r\nAuthorization: Bearer {bearer}\r\nContent-Length: 1000\r\n\r\n{{"),
        format!(
            "POST /api/conversations HTTP/1.1\r\nHost: samvad\r\nAuthorization: Bearer {bearer}\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n{{"
        ),
    ];
    let mut slow = Vec::new();
    for number in 0..280 {
        let mut stream = connect_from(local(ATTACKER), stage.url()).await;
        stream.write_all(beginnings[number % beginnings.len()].as_bytes()).await.expect("written");
        slow.push(stream);
    }
    // A websocket that stops in the middle of a frame.
    let mut half = stage.attacker().await;
    half.write(&head(TEXT, 1_000, true)).await;
    let begun = Instant::now();
    for _ in 0..100 {
        assert_eq!(get(stage.url(), local(67), "/health", &[]).await.status, 200);
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "100 questions took {:?}", begun.elapsed());
    // A head that never ends is refused by its size.
    let mut endless = connect_from(local(ATTACKER), stage.url()).await;
    let _ = endless.write_all(format!("GET / HTTP/1.1\r\nX-Long: {}", "x".repeat(64 * 1024)).as_bytes()).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(5), endless.read_to_end(&mut answer)).await.expect("it is closed");
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
    if is_full() {
        // A byte now and then does not help: headers have 30 s in all, and so have bodies.
        for _ in 0..7 {
            tokio::time::sleep(Duration::from_secs(5)).await;
            for stream in &mut slow {
                let _ = stream.write_all(b"x").await;
            }
        }
        for (number, stream) in slow.iter_mut().enumerate() {
            let mut answer = Vec::new();
            let ended = tokio::time::timeout(Duration::from_secs(3), stream.read_to_end(&mut answer)).await;
            assert!(ended.is_ok(), "still open: {}", beginnings[number % beginnings.len()]);
        }
        assert!(is_closed(&mut slow[0]).await);
    }
    stage.end().await;
}
