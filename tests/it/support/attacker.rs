//! Somebody who speaks websocket byte by byte, so that every mistake can be made on purpose.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::client::PATIENCE;
use super::http::UPGRADE;

/// The opcode of a text frame with its FIN bit.
pub const TEXT: u8 = 0x81;

/// A websocket frame as a client must mask it, with any first byte. The mask is zero, so the payload stays as it is.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(first, payload.len() as u64, true);
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// The head of a frame of this length, true or not; what follows is the mask, if there is one.
pub fn head(first: u8, length: u64, masked: bool) -> Vec<u8> {
    let mask_bit = if masked { 0x80 } else { 0 };
    let mut head = vec![first];
    match length {
        0..126 => head.push(mask_bit | u8::try_from(length).expect("below 126")),
        126..=0xffff => {
            head.push(mask_bit | 126);
            head.extend_from_slice(&u16::try_from(length).expect("two bytes").to_be_bytes());
        }
        _ => {
            head.push(mask_bit | 127);
            head.extend_from_slice(&length.to_be_bytes());
        }
    }
    head
}

/// A websocket by hand.
pub struct Line {
    stream: TcpStream,
    heard: Vec<u8>,
}

/// What became of somebody who misbehaved.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate {
    /// The line is closed.
    Cut,
    /// The line is open and serves.
    Served,
}

impl Line {
    /// A websocket past the upgrade and the Engine.IO handshake.
    pub async fn open(url: &str, source: Ipv4Addr) -> Self {
        Self::open_with_buffer(url, source, None).await
    }

    /// The same with a receive buffer of the kernel of this size, so that a few frames fill it.
    pub async fn open_with_buffer(url: &str, source: Ipv4Addr, buffer_bytes: Option<u32>) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((source, 0).into()).expect("any address of 127.0.0.0/8 is ours");
        if let Some(bytes) = buffer_bytes {
            socket.set_recv_buffer_size(bytes).expect("a small buffer");
        }
        let server = url.trim_start_matches("http://").parse().expect("an address");
        let mut stream = timeout(PATIENCE, socket.connect(server)).await.expect("in time").expect("connects");
        let headers: String = UPGRADE.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request = format!("GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: samvad\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut answer = Vec::new();
        // Byte by byte: the first frame may follow at once.
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(timeout(PATIENCE, stream.read_u8()).await.expect("in time").expect("an answer"));
        }
        assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
        let mut line = Self { stream, heard: Vec::new() };
        assert!(line.next().await.expect("the handshake").starts_with('0'));
        line
    }

    /// The same past CONNECT and `connected`.
    pub async fn sign_in(url: &str, source: Ipv4Addr, token: &str) -> Self {
        let mut line = Self::open(url, source).await;
        line.say(&format!("40{}", json!({ "token": token }))).await;
        assert!(line.next().await.expect("CONNECT").starts_with("40"));
        assert!(line.next().await.expect("an event").starts_with(r#"42["connected""#));
        line
    }

    /// Writes bytes; a line that is closed takes them too.
    pub async fn write(&mut self, bytes: &[u8]) {
        // What could not be written is told by the reading side.
        let _ = timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("the server takes bytes or closes");
    }

    /// Writes one text frame.
    pub async fn say(&mut self, text: &str) {
        self.write(&frame(TEXT, text.as_bytes())).await;
    }

    /// The text of the next data frame; `None` when the line is closed. Pings of the server are answered.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            let (opcode, payload) = self.next_frame().await?;
            match opcode {
                1 if payload == b"2" => self.say("3").await,
                1 => return Some(String::from_utf8(payload).expect("the server speaks UTF-8")),
                8 => return None,
                _ => {}
            }
        }
    }

    async fn next_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some((opcode, start, length)) = self.measured()
                && self.heard.len() >= start + length
            {
                let payload = self.heard[start..start + length].to_vec();
                self.heard.drain(..start + length);
                return Some((opcode, payload));
            }
            let mut more = [0; 16 * 1024];
            match timeout(PATIENCE, self.stream.read(&mut more)).await.expect("a frame or the end in time") {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.heard.extend_from_slice(&more[..count]),
            }
        }
    }

    /// Opcode, start of the payload and its length, if the head of a frame is here.
    fn measured(&self) -> Option<(u8, usize, usize)> {
        let [first, second, rest @ ..] = self.heard.as_slice() else { return None };
        let (start, length) = match second & 0x7f {
            126 => (4, u16::from_be_bytes(rest.get(..2)?.try_into().ok()?) as usize),
            127 => (10, usize::try_from(u64::from_be_bytes(rest.get(..8)?.try_into().ok()?)).ok()?),
            length => (2, length as usize),
        };
        Some((first & 0x0f, start, length))
    }

    /// Asks something harmless and waits until it is answered or the line is closed.
    pub async fn fate(&mut self) -> Fate {
        self.say(r#"42987654321["get_stats",{}]"#).await;
        while let Some(text) = self.next().await {
            if text.starts_with("43987654321[") {
                return Fate::Served;
            }
        }
        Fate::Cut
    }

    /// Signs in late and waits until that is answered or the line is closed.
    pub async fn fate_of_late_sign_in(&mut self, token: &str) -> Fate {
        self.say(&format!("40{}", json!({ "token": token }))).await;
        while let Some(text) = self.next().await {
            if text.starts_with(r#"42["connected""#) {
                return Fate::Served;
            }
            assert!(!text.starts_with("42"), "no event before the greeting: {text}");
        }
        Fate::Cut
    }

    /// Whether the server has closed the line within this time, reading nothing of what it says until then.
    pub async fn is_reset_within(&mut self, patience: Duration) -> bool {
        // A write to a line that the server has cut fails, at the second attempt at the latest.
        let cut = async {
            while self.stream.write_all(&frame(TEXT, b"3")).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        timeout(patience, cut).await.is_ok()
    }
}
