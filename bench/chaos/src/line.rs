//! One Socket.IO connection over websocket or polling that can be cut in the middle of whatever it does.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::net::TcpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

/// A connection that is not there by then counts as refused.
const OPEN_WITHIN: Duration = Duration::from_secs(20);
/// Packets of one polling body are separated by this.
const SEPARATOR: char = '\u{1e}';

/// How packets travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Websocket,
    Polling,
}

/// An open connection. Dropping it cuts it without a goodbye.
pub struct Line {
    packets: mpsc::Receiver<String>,
    to_server: mpsc::Sender<String>,
    // Aborted on drop, and the TCP connections with them.
    _tasks: JoinSet<()>,
}

impl Line {
    /// Opens one from 127.0.0.2 to 127.0.0.250; nobody is signed in yet.
    pub async fn open(port: u16, place: usize, transport: Transport) -> Result<Self, String> {
        let from = Ipv4Addr::new(127, 0, 0, 2 + u8::try_from(place % 249).unwrap_or(0));
        let opening = async {
            match transport {
                Transport::Websocket => websocket(port, from).await,
                Transport::Polling => polling(port, from).await,
            }
        };
        timeout(OPEN_WITHIN, opening).await.map_err(|_| "no connection in time".to_owned())?
    }

    /// Queues a packet. Errors when the line is cut.
    pub async fn say(&self, packet: String) -> Result<(), Cut> {
        self.to_server.send(packet).await.map_err(|_| Cut)
    }

    /// The next packet other than pings, which are answered. May be cancelled.
    pub async fn next(&mut self) -> Result<String, Cut> {
        loop {
            let packet = self.packets.recv().await.ok_or(Cut)?;
            match packet.as_str() {
                "2" => self.say("3".into()).await?,
                "1" | "41" => return Err(Cut),
                _ => return Ok(packet),
            }
        }
    }
}

/// The line is cut.
#[derive(Clone, Copy, Debug)]
pub struct Cut;

async fn websocket(port: u16, from: Ipv4Addr) -> Result<Line, String> {
    let socket = TcpSocket::new_v4().map_err(|e| e.to_string())?;
    socket.bind(SocketAddrV4::new(from, 0).into()).map_err(|e| format!("cannot bind {from}: {e}"))?;
    let stream = socket.connect(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port).into()).await.map_err(|e| e.to_string())?;
    stream.set_nodelay(true).map_err(|e| e.to_string())?;
    let url = format!("ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket");
    let (socket, _) = client_async(url, stream).await.map_err(|e| e.to_string())?;
    let (to_server, mut outgoing) = mpsc::channel::<String>(64);
    let (incoming, packets) = mpsc::channel(1024);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (mut sink, mut source) = socket.split();
        loop {
            tokio::select! {
                packet = outgoing.recv() => match packet {
                    Some(packet) => if sink.send(Message::text(packet)).await.is_err() { return },
                    None => return,
                },
                frame = source.next() => match frame {
                    Some(Ok(Message::Text(text))) => if incoming.send(text.as_str().to_owned()).await.is_err() { return },
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                    Some(Ok(_)) => {}
                },
            }
        }
    });
    Ok(Line { packets, to_server, _tasks: tasks })
}

async fn polling(port: u16, from: Ipv4Addr) -> Result<Line, String> {
    let mut connector = HttpConnector::new();
    connector.set_local_address(Some(IpAddr::V4(from)));
    connector.set_nodelay(true);
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let url = format!("http://127.0.0.1:{port}/socket.io/?EIO=4&transport=polling");
    let first = ask(&client, http::Method::GET, &url, String::new()).await?;
    let sid = first.split("\"sid\":\"").nth(1).and_then(|rest| rest.split('"').next()).ok_or_else(|| format!("no session: {first}"))?;
    let url = format!("{url}&sid={sid}");
    let (to_server, mut outgoing) = mpsc::channel::<String>(64);
    let (incoming, packets) = mpsc::channel(1024);
    let mut tasks = JoinSet::new();
    let (posting, post_url) = (client.clone(), url.clone());
    tasks.spawn(async move {
        loop {
            tokio::select! {
                packet = outgoing.recv() => {
                    let Some(mut body) = packet else { return };
                    while let Ok(more) = outgoing.try_recv() {
                        body.push(SEPARATOR);
                        body.push_str(&more);
                    }
                    if ask(&posting, http::Method::POST, &post_url, body).await.is_err() {
                        return;
                    }
                }
            }
        }
    });
    let first = first.clone();
    tasks.spawn(async move {
        let mut body = first;
        loop {
            for packet in body.split(SEPARATOR).filter(|packet| *packet != "6") {
                if incoming.send(packet.to_owned()).await.is_err() {
                    return;
                }
            }
            match ask(&client, http::Method::GET, &url, String::new()).await {
                Ok(next) => body = next,
                Err(_) => return,
            }
        }
    });
    Ok(Line { packets, to_server, _tasks: tasks })
}

async fn ask(client: &Client<HttpConnector, Full<Bytes>>, method: http::Method, url: &str, body: String) -> Result<String, String> {
    let request = http::Request::builder().method(method).uri(url).header("content-type", "text/plain;charset=UTF-8");
    let request = request.body(Full::new(Bytes::from(body))).map_err(|e| e.to_string())?;
    let answer = client.request(request).await.map_err(|e| e.to_string())?;
    let status = answer.status();
    let body = answer.into_body().collect().await.map_err(|e| e.to_string())?.to_bytes();
    let body = String::from_utf8(body.to_vec()).map_err(|e| e.to_string())?;
    if status.is_success() { Ok(body) } else { Err(format!("{status}: {body}")) }
}

/// What `/ready` says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said {
    /// 0 when nobody answers.
    pub status: u16,
    pub bus_up: bool,
    pub other_nodes: u64,
}

/// What `/ready` says now.
pub async fn ready(port: u16) -> Said {
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
    let Ok(uri) = format!("http://127.0.0.1:{port}/ready").parse() else { return Said::default() };
    let asked = async {
        let answer = client.get(uri).await.ok()?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.ok()?.to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        Some(Said { status, bus_up: body["bus"]["status"] == "up", other_nodes: body["bus"]["otherNodes"].as_u64().unwrap_or(0) })
    };
    timeout(Duration::from_secs(15), asked).await.ok().flatten().unwrap_or_default()
}
