//! One signed-in socket: websocket transport, Engine.IO and Socket.IO handshake, pings answered on the way.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::report::Problem;
use crate::wire::{self, Frame};

/// A step of the handshake that takes longer counts as failed.
const STEP_TIMEOUT: Duration = Duration::from_secs(15);

/// Where and from where connections are made.
#[derive(Clone, Copy)]
pub struct Door {
    pub address: SocketAddrV4,
    /// Spread source addresses over 127.0.0.2-250: one address has only some 28,000 ports.
    pub spread: bool,
    /// Bytes read at once; small for thousands of idle sockets.
    pub read_buffer_bytes: usize,
    /// How often a sign-in is tried.
    pub attempts: u64,
}

/// A socket past sign-in.
pub struct Session {
    socket: WebSocketStream<TcpStream>,
    /// Set while a pong is due, so that a read that was cancelled between ping and pong still answers.
    owes_pong: bool,
}

/// Accepts `http://127.x.y.z:port` (or `ws://`, or bare) and nothing that could be another machine.
pub fn parse_loopback(url: &str) -> Result<SocketAddrV4, String> {
    let bare = url.strip_prefix("http://").or_else(|| url.strip_prefix("ws://")).unwrap_or(url);
    let address: SocketAddrV4 =
        bare.strip_suffix('/').unwrap_or(bare).parse().map_err(|_| {
            format!("{url:?} is not http://127.x.y.z:port; a load generator takes loopback addresses only, written as numbers")
        })?;
    if address.ip().is_loopback() { Ok(address) } else { Err(format!("{} is not in 127.0.0.0/8", address.ip())) }
}

impl Session {
    /// Connects and signs in. `place` picks the source address when spreading.
    pub async fn sign_in(door: Door, place: usize, token: &str) -> Result<Session, Problem> {
        for _ in 1..door.attempts {
            if let Ok(session) = Self::try_sign_in(door, place, token).await {
                return Ok(session);
            }
        }
        Self::try_sign_in(door, place, token).await
    }

    async fn try_sign_in(door: Door, place: usize, token: &str) -> Result<Session, Problem> {
        let handshake = async {
            let mut session = Session { socket: connect(door, place).await?, owes_pong: false };
            session.say(wire::sign_in(token)).await?;
            loop {
                let text = session.next().await.ok_or("closed by the server before sign-in was answered")?;
                match wire::read(&text) {
                    Frame::Connected => return Ok(session),
                    Frame::Refused(why) => return Err(format!("sign-in refused: {why}")),
                    Frame::Closed => return Err("closed by the server during sign-in".to_owned()),
                    _ => {}
                }
            }
        };
        timeout(STEP_TIMEOUT, handshake).await.map_err(|_| "sign-in not answered in time".to_owned())?
    }

    /// Joins a conversation and waits for the ack. Uses ack id 0.
    pub async fn join(&mut self, conversation: &str) -> Result<(), Problem> {
        self.ask(wire::join(0, conversation)).await.map_err(|problem| format!("joining {conversation}: {problem}"))
    }

    /// Says something with ack id 0 and waits for the answer, past whatever comes before it.
    pub async fn ask(&mut self, frame: String) -> Result<(), Problem> {
        let asking = async {
            self.say(frame).await?;
            loop {
                let text = self.next().await.ok_or("closed by the server before it answered")?;
                if let Frame::Ack { id: 0, body } = wire::read(&text) {
                    return if wire::is_ok(body) { Ok(()) } else { Err(format!("refused: {}", wire::code(body))) };
                }
            }
        };
        timeout(STEP_TIMEOUT, asking).await.map_err(|_| "not answered in time".to_owned())?
    }

    /// The next text frame other than pings, which are answered here. `None` when the connection is over. May be cancelled.
    pub async fn next(&mut self) -> Option<Utf8Bytes> {
        loop {
            if self.owes_pong {
                self.socket.send(Message::text("3")).await.ok()?;
                self.owes_pong = false;
            }
            match self.socket.next().await? {
                Ok(Message::Text(text)) if wire::read(&text) == Frame::Ping => self.owes_pong = true,
                Ok(Message::Text(text)) => return Some(text),
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// The next text frame if one is already here: lets a task answer a burst with one write.
    pub fn next_ready(&mut self) -> Option<Utf8Bytes> {
        // An end of the connection seen here is seen again by the next `next`.
        self.next().now_or_never().flatten()
    }

    /// Queues a frame for the next `flush`.
    pub async fn feed(&mut self, frame: String) -> Result<(), Problem> {
        self.socket.feed(Message::text(frame)).await.map_err(|e| format!("cannot write: {e}"))
    }

    /// Writes what was queued.
    pub async fn flush(&mut self) -> Result<(), Problem> {
        self.socket.flush().await.map_err(|e| format!("cannot write: {e}"))
    }

    /// Says goodbye without waiting for an answer.
    pub async fn leave(mut self) {
        // The connection is dropped next; whether the close frame still got out does not matter.
        let _ = self.socket.send(Message::Close(None)).await;
    }

    async fn say(&mut self, frame: String) -> Result<(), Problem> {
        self.feed(frame).await?;
        self.flush().await
    }
}

async fn connect(door: Door, place: usize) -> Result<WebSocketStream<TcpStream>, Problem> {
    let socket = TcpSocket::new_v4().map_err(|e| format!("cannot open a socket: {e}"))?;
    if door.spread {
        let source = Ipv4Addr::new(127, 0, 0, 2 + (place % 249) as u8);
        socket.bind(SocketAddrV4::new(source, 0).into()).map_err(|e| format!("cannot bind {source}: {e}"))?;
    }
    let stream = socket.connect(door.address.into()).await.map_err(|e| format!("cannot connect to {}: {e}", door.address))?;
    stream.set_nodelay(true).map_err(|e| format!("cannot set TCP_NODELAY: {e}"))?;
    let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", door.address);
    let config = WebSocketConfig::default().read_buffer_size(door.read_buffer_bytes).write_buffer_size(4096);
    let (socket, _) = client_async_with_config(url, stream, Some(config)).await.map_err(|e| format!("no websocket: {e}"))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_numbers_are_accepted() {
        for good in ["http://127.0.0.1:3000", "ws://127.9.9.9:1/", "127.0.0.1:80"] {
            assert!(parse_loopback(good).is_ok(), "{good}");
        }
        for bad in
            ["http://localhost:3000", "http://10.0.0.1:80", "http://example.org:80", "http://127.0.0.1.example.org:80", "http://[::1]:80"]
        {
            assert!(parse_loopback(bad).is_err(), "{bad}");
        }
    }
}
