//! Requests by hand, from any address of 127.0.0.0/8, so that limits per address can be seen.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::client::PATIENCE;
use super::contract;

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    head: String,
    /// Everything after the headers.
    pub body: String,
}

impl Answer {
    /// A header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// The address with this last part.
pub fn local(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, last)
}

/// A TCP connection from `source`.
pub async fn connect_from(source: Ipv4Addr, url: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from((source, 0))).expect("any address of 127.0.0.0/8 is ours");
    let server = url.trim_start_matches("http://").parse().expect("an address");
    timeout(PATIENCE, socket.connect(server)).await.expect("in time").expect("connects")
}

/// Whether the other side closes the connection without a word.
pub async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut heard = [0];
    matches!(timeout(PATIENCE, stream.read(&mut heard)).await.expect("in time"), Ok(0) | Err(_))
}

/// `GET path` with these headers, on a connection of its own from `source`.
pub async fn get(url: &str, source: Ipv4Addr, path: &str, headers: &[(&str, &str)]) -> Answer {
    send(url, source, "GET", path, headers, "").await
}

/// The same with any method and a body.
pub async fn send(url: &str, source: Ipv4Addr, method: &str, path: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Answer {
    let mut stream = connect_from(source, url).await;
    let body = body.as_ref();
    let mut text = format!("{method} {path} HTTP/1.1\r\nContent-Length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| *name == "Host") {
        text += "Host: samvad\r\n";
    }
    if !headers.iter().any(|(name, _)| *name == "Connection") {
        text += "Connection: close\r\n";
    }
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += "\r\n";
    stream.write_all(&[text.as_bytes(), body].concat()).await.expect("written");
    timeout(PATIENCE, answer(&mut stream)).await.expect("an answer in time").expect("an answer")
}

/// Reads one answer: to the end, but of an upgraded connection the headers only.
pub async fn answer(stream: &mut TcpStream) -> io::Result<Answer> {
    let mut heard = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&heard);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
            let expected = Answer { status, head: head.to_owned(), body: body.to_owned() };
            let length = expected.header("content-length").and_then(|length| length.parse().ok());
            if status == 101 || length.is_some_and(|length: usize| body.len() >= length) {
                return Ok(expected);
            }
        }
        let mut more = [0; 4096];
        match stream.read(&mut more).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => heard.extend_from_slice(&more[..count]),
        }
    }
}

/// The headers that ask for a websocket.
pub const UPGRADE: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// A websocket text frame as a client must send it; the mask is zero, so the text stays readable.
pub fn masked_text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("short");
    assert!((126..).contains(&length));
    let mut frame = vec![0x81, 0x80 | 126];
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// A REST request with a token and a JSON body; status and JSON body of the answer.
pub async fn request(url: &str, method: &str, path: &str, token: Option<&str>, body: Option<&Value>) -> (u16, Value) {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let mut headers = vec![("Content-Type", "application/json")];
    headers.extend(bearer.as_deref().map(|bearer| ("Authorization", bearer)));
    let body = body.map(Value::to_string).unwrap_or_default();
    let answer = send(url, local(1), method, path, &headers, &body).await;
    contract::check_answer(method, path, answer.status, &answer.json());
    (answer.status, answer.json())
}
