//! Mode `attack`: misbehaves at a fixed pace, so that `chat` beside it shows what honest clients notice.
//!
//! Every attack is paced, because attackers share the cores with the server here: the figures are to say what the server does with so much
//! nonsense, not who gets the CPU. Attackers come from other addresses of 127.0.0.0/8 than honest clients, as they would.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use crate::people::{Cast, Pairs};
use crate::proc::Processes;
use crate::report::{Problem, Report};
use crate::session::{Door, Session};
use crate::stage::Common;
use crate::wire::{self, Frame};

/// Sockets one identity may have by default.
const SOCKETS_OF_ONE: usize = 50;
/// What somebody who waits for the server's reaction waits at most.
const PATIENCE: Duration = Duration::from_secs(10);
const GIANT_BYTES: usize = 5 << 20;
/// What malformed packets are made of; the first byte of the frame, and its payload.
const NONSENSE: [(u8, &str); 12] = [
    (0x81, "42"),
    (0x81, "42[\"dm:send_message\",{"),
    (0x81, "4299999999999999999999[\"get_stats\",{}]"),
    (0x81, "459999-[\"get_stats\",{\"_placeholder\":true,\"num\":0}]"),
    (0x81, "42/admin,[\"get_stats\",{}]"),
    (0x81, "9"),
    (0x81, "4x"),
    (0x82, "bytes nobody asked for"),
    (0x83, "reserved"),
    (0xf1, "reserved"),
    (0x80, "a continuation of nothing"),
    (0x8b, ""),
];

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    /// Sockets that flood, half with messages to the sockets that never read, half with history.
    #[arg(long, default_value_t = 20)]
    flooders: usize,
    /// Events per second over all of them.
    #[arg(long, default_value_t = 2000)]
    flood_rate: u64,
    /// Characters of each message.
    #[arg(long, default_value_t = 4000)]
    size: usize,
    /// Sockets that never read.
    #[arg(long, default_value_t = 1000)]
    stuck: usize,
    /// Handshakes per second from one address.
    #[arg(long, default_value_t = 100)]
    handshakes: u64,
    /// Websocket frames of 5 MB per second.
    #[arg(long, default_value_t = 2)]
    giants: u64,
    /// Malformed packets per second, each on a connection of its own.
    #[arg(long, default_value_t = 50)]
    malformed: u64,
}

/// What came back, by kind.
#[derive(Clone, Default)]
struct Tally(Arc<Mutex<BTreeMap<String, u64>>>);

impl Tally {
    fn count(&self, what: impl Into<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(what.into()).or_default() += 1;
    }
}

/// Runs the mode: `--seconds` long, after the sockets that never read are there.
pub async fn run(options: Options) -> Result<Report, Problem> {
    let common = &options.common;
    common.check((options.stuck + options.flooders + 200) as u64)?;
    let (server, tally) = (common.meter().server, Tally::default());
    let cast = Cast::new(&common.jwt_secret, Pairs::User);
    let mut stuck = Vec::new();
    for place in 0..options.stuck {
        stuck.push(never_reading(common.url, source(place), &cast.pair(place / SOCKETS_OF_ONE)?.sides[1].token).await?);
    }
    let until = Instant::now() + Duration::from_secs(common.seconds);
    let mut attacks = JoinSet::new();
    let period = Duration::from_secs_f64(options.flooders.max(1) as f64 / options.flood_rate.max(1) as f64);
    for number in 0..options.flooders {
        let pair = cast.pair(number)?;
        let door = Door { address: common.url, spread: true, read_buffer_bytes: 16 * 1024, attempts: 1 };
        let session = Session::sign_in(door, 200 + number % 40, &pair.sides[0].token).await?;
        let head = wire::send_head(&pair.conversation, &pair.sides[1].id, pair.sides[1].kind);
        let send = format!("{head}{}\"}}]", "x".repeat(options.size));
        let history = format!("[\"dm:history\",{{\"conversationId\":\"{}\"}}]", pair.conversation);
        attacks.spawn(flood(session, [send, history], period, until, tally.clone()));
    }
    let address = common.url;
    attacks.spawn(paced(options.handshakes, until, tally.clone(), move |_| handshake(address)));
    attacks.spawn(paced(options.giants, until, tally.clone(), move |_| giant(address)));
    let token = cast.pair(options.stuck / SOCKETS_OF_ONE + 1)?.sides[0].token.clone();
    attacks.spawn(paced(options.malformed, until, tally.clone(), move |number| {
        let token = token.clone();
        async move { nonsense(address, number, &token).await }
    }));
    let peak = watch_memory(&server, until).await;
    attacks.join_all().await;

    let mut report = Report::new("attack", common);
    let tally = tally.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    report.put("stuck", stuck.len());
    report.put_number("server_rss_peak_mib", peak.map(|kib| kib / 1024.0));
    report.put_number("load_cpu_s", Processes(vec![std::process::id()]).cpu_seconds());
    report.say(&format!(" {} sockets that never read; answers {tally:?}", stuck.len()));
    report.put("answers", json!(tally));
    Ok(report)
}

/// The largest resident memory of the server until then.
async fn watch_memory(server: &Processes, until: Instant) -> Option<f64> {
    let (mut peak, mut ticks) = (server.rss_kib(), interval(Duration::from_millis(200)));
    while Instant::now() < until {
        ticks.tick().await;
        peak = server.rss_kib().zip(peak).map(|(now, peak)| now.max(peak));
    }
    peak
}

/// Does something so often, each time in a task of its own; whoever is not done in time is left behind.
async fn paced<F: Future<Output = String> + Send + 'static>(
    per_second: u64,
    until: Instant,
    tally: Tally,
    act: impl Fn(usize) -> F + Send + 'static,
) {
    if per_second == 0 {
        return;
    }
    let (mut ticks, mut under_way) = (interval(Duration::from_secs_f64(1.0 / per_second as f64)), JoinSet::new());
    for number in 0.. {
        ticks.tick().await;
        if Instant::now() >= until {
            break;
        }
        // A hundred at once are enough; beyond that the server would be waited for.
        if under_way.len() < 100 {
            let (acting, tally) = (act(number), tally.clone());
            under_way.spawn(async move { tally.count(acting.await) });
        }
        while under_way.try_join_next().is_some() {}
    }
    under_way.join_all().await;
}

/// Sends both frames in turn at this pace and counts what is answered.
async fn flood(mut session: Session, frames: [String; 2], period: Duration, until: Instant, tally: Tally) {
    let mut ticks = interval(period);
    let mut number = 0_usize;
    while Instant::now() < until {
        tokio::select! {
            _ = ticks.tick() => {
                number += 1;
                let sent = session.feed(format!("42{number}{}", frames[number % 2])).await.is_ok() && session.flush().await.is_ok();
                if !sent {
                    return tally.count("flooder cut");
                }
            }
            text = session.next() => match text.as_deref().map(wire::read) {
                None | Some(Frame::Closed) => return tally.count("flooder cut"),
                Some(Frame::Ack { body, .. }) if wire::is_ok(body) => tally.count("flood ok"),
                Some(Frame::Ack { body, .. }) => tally.count(format!("flood {}", wire::code(body))),
                Some(_) => {}
            },
        }
    }
}

/// Addresses of attackers; honest clients are at 127.0.0.1.
fn source(place: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, 1 + (place % 250) as u8)
}

async fn connect(address: SocketAddrV4, from: Ipv4Addr, receive_buffer: Option<u32>) -> Result<TcpStream, Problem> {
    let connecting = async {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        socket.connect(address.into()).await
    };
    timeout(PATIENCE, connecting).await.map_err(|_| "no connection in time".to_owned())?.map_err(|e| format!("no connection: {e}"))
}

/// A websocket past the upgrade; what follows is not read.
async fn websocket(address: SocketAddrV4, from: Ipv4Addr, receive_buffer: Option<u32>) -> Result<TcpStream, Problem> {
    let mut stream = connect(address, from, receive_buffer).await?;
    let request = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: samvad\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).await.map_err(|e| format!("not written: {e}"))?;
    let mut status = [0; 12];
    let read = timeout(PATIENCE, stream.read_exact(&mut status)).await.map_err(|_| "no answer in time".to_owned())?;
    read.map_err(|e| format!("no answer: {e}"))?;
    if &status[9..] == b"101" { Ok(stream) } else { Err(format!("HTTP {}", String::from_utf8_lossy(&status[9..]))) }
}

/// A frame as a client masks it; the mask is zero.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..126 => frame.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

async fn never_reading(address: SocketAddrV4, from: Ipv4Addr, token: &str) -> Result<TcpStream, Problem> {
    let mut stream = websocket(address, from, Some(4096)).await?;
    stream.write_all(&frame(0x81, wire::sign_in(token).as_bytes())).await.map_err(|e| format!("not written: {e}"))?;
    Ok(stream)
}

/// Begins a session and leaves; all of them come from one address.
async fn handshake(address: SocketAddrV4) -> String {
    match websocket(address, Ipv4Addr::new(127, 0, 2, 1), None).await {
        Ok(_) => "handshake 101".to_owned(),
        Err(why) => format!("handshake {why}"),
    }
}

async fn giant(address: SocketAddrV4) -> String {
    let Ok(mut stream) = websocket(address, Ipv4Addr::new(127, 0, 2, 2), None).await else { return "giant not let in".to_owned() };
    // How much of it could be written says nothing; that the line ends does.
    let _ = stream.write_all(&frame(0x81, &vec![b'x'; GIANT_BYTES])).await;
    ending("giant", &mut stream).await
}

async fn nonsense(address: SocketAddrV4, number: usize, token: &str) -> String {
    let Ok(mut stream) = websocket(address, Ipv4Addr::new(127, 0, 2, 3), None).await else { return "nonsense not let in".to_owned() };
    let (first, payload) = NONSENSE[number % NONSENSE.len()];
    let said = [frame(0x81, wire::sign_in(token).as_bytes()), frame(first, payload.as_bytes())].concat();
    let _ = stream.write_all(&said).await;
    ending("nonsense", &mut stream).await
}

/// Whether the server ends the line within a second.
async fn ending(who: &str, stream: &mut TcpStream) -> String {
    let mut heard = Vec::new();
    let ended = timeout(Duration::from_secs(1), stream.read_to_end(&mut heard)).await.is_ok();
    format!("{who} {}", if ended { "cut" } else { "ignored" })
}
