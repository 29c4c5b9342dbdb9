//! A Socket.IO client of thirty frames' worth: what it sends and hears is what is on the wire.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::contract;

/// How long an expected packet may take.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A connected client.
pub struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Events heard and not asked for yet.
    heard: VecDeque<(String, Value)>,
    acks: Vec<(u64, Value)>,
    next_ack: u64,
    /// What was asked under an id, to hold the answer against its document.
    asked: HashMap<u64, String>,
}

/// What a server said to a handshake.
pub enum Handshake {
    /// Let in.
    Accepted(Box<Client>),
    /// Turned away, with this message.
    Refused(String),
}

impl Client {
    /// Connects to `url` (`http://…`) with this auth object.
    pub async fn handshake(url: &str, auth: &Value) -> Handshake {
        Self::handshake_with(url, auth, &[]).await
    }

    /// The same with these headers.
    pub async fn handshake_with(url: &str, auth: &Value, headers: &[(&'static str, &str)]) -> Handshake {
        let address = format!("{}/socket.io/?EIO=4&transport=websocket", url.replacen("http", "ws", 1));
        let mut request = address.into_client_request().expect("an address");
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a header value"));
        }
        let (socket, _) = connect_async(request).await.expect("the websocket opens");
        let mut client = Self { socket, heard: VecDeque::new(), acks: Vec::new(), next_ack: 1, asked: HashMap::new() };
        assert!(client.frame().await.starts_with('0'), "the Engine.IO handshake comes first");
        client.raw(format!("40{auth}")).await;
        let answer = client.frame().await;
        if answer.starts_with("40") {
            return Handshake::Accepted(Box::new(client));
        }
        let refusal: Value = serde_json::from_str(answer.strip_prefix("44").expect("CONNECT or CONNECT_ERROR")).expect("JSON");
        Handshake::Refused(refusal["message"].as_str().expect("a message").to_owned())
    }

    /// Connects with this token and waits for `connected`.
    pub async fn connect(url: &str, token: &str) -> Self {
        match Self::handshake(url, &json!({ "token": token })).await {
            Handshake::Accepted(mut client) => {
                let (first, _) = client.any().await;
                assert_eq!(first, "connected", "connected is the first packet");
                *client
            }
            Handshake::Refused(why) => panic!("refused: {why}"),
        }
    }

    /// Sends a frame as it is.
    pub async fn raw(&mut self, frame: impl Into<String>) {
        self.socket.send(Message::text(frame.into())).await.expect("the server takes the frame");
    }

    /// The next frame that is not a ping; panics when the line is closed or nothing comes.
    async fn frame(&mut self) -> String {
        self.frame_or_end().await.expect("the server closed the line")
    }

    /// The next frame that is not a ping; `None` when the line is closed.
    async fn frame_or_end(&mut self) -> Option<String> {
        loop {
            match timeout(PATIENCE, self.socket.next()).await.expect("a frame in time") {
                Some(Ok(Message::Text(text))) if text.as_str() == "2" => self.socket.send(Message::text("3")).await.ok()?,
                Some(Ok(Message::Text(text))) => return Some(text.as_str().to_owned()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// Waits until the server has closed the line.
    pub async fn closed(&mut self) {
        while self.frame_or_end().await.is_some() {}
    }

    /// Takes in one frame.
    async fn listen(&mut self) {
        let frame = self.frame().await;
        self.take_in(&frame);
    }

    fn take_in(&mut self, frame: &str) {
        if let Some(event) = frame.strip_prefix("42") {
            let parts: Vec<Value> = serde_json::from_str(event).expect("an event is a JSON array");
            assert_eq!(parts.len(), 2, "exactly one argument: {event}");
            assert!(parts[1].is_object(), "the argument is an object: {event}");
            contract::check_event(parts[0].as_str().expect("a name"), &parts[1]);
            self.heard.push_back((parts[0].as_str().expect("a name").to_owned(), parts[1].clone()));
        } else if let Some(ack) = frame.strip_prefix("43") {
            let body = ack.find('[').expect("an ack has a body");
            let answer: Vec<Value> = serde_json::from_str(&ack[body..]).expect("JSON");
            assert_eq!(answer.len(), 1, "exactly one answer: {frame}");
            let id = ack[..body].parse().expect("an id");
            if let Some(event) = self.asked.remove(&id) {
                contract::check_ack(&event, &answer[0]);
            }
            self.acks.push((id, answer.into_iter().next().expect("one answer")));
        } else {
            panic!("an unexpected frame: {frame}");
        }
    }

    /// Emits without asking for an answer.
    pub async fn emit(&mut self, event: &str, payload: &Value) {
        self.raw(format!("42{}", json!([event, payload]))).await;
    }

    /// Emits and asks for an answer; the id names it.
    pub async fn ask(&mut self, event: &str, payload: &Value) -> u64 {
        let id = self.next_ack;
        self.next_ack += 1;
        self.asked.insert(id, event.to_owned());
        self.raw(format!("42{id}{}", json!([event, payload]))).await;
        id
    }

    /// The same with `["name", …]` as it is written here.
    pub async fn ask_raw(&mut self, body: &str) -> u64 {
        let id = self.next_ack;
        self.next_ack += 1;
        self.raw(format!("42{id}{body}")).await;
        id
    }

    /// The answers that came and were not asked for yet.
    pub fn answers_so_far(&mut self) -> Vec<(u64, Value)> {
        self.acks.drain(..).collect()
    }

    /// The answer to a question asked before.
    pub async fn answer(&mut self, id: u64) -> Value {
        loop {
            if let Some(at) = self.acks.iter().position(|(known, _)| *known == id) {
                return self.acks.remove(at).1;
            }
            self.listen().await;
        }
    }

    /// Emits and waits for the answer.
    pub async fn call(&mut self, event: &str, payload: &Value) -> Value {
        let id = self.ask(event, payload).await;
        self.answer(id).await
    }

    /// The next event of this name; others heard before stay for later.
    pub async fn expect(&mut self, event: &str) -> Value {
        loop {
            if let Some(at) = self.heard.iter().position(|(name, _)| name == event) {
                return self.heard.remove(at).expect("it is there").1;
            }
            self.listen().await;
        }
    }

    /// The next event, whatever it is.
    pub async fn any(&mut self) -> (String, Value) {
        while self.heard.is_empty() {
            self.listen().await;
        }
        self.heard.pop_front().expect("just heard")
    }

    /// Everything heard so far: a round trip makes sure that what was sent before has arrived.
    pub async fn heard_so_far(&mut self) -> Vec<(String, Value)> {
        self.call("get_stats", &json!({})).await;
        let mut heard: Vec<_> = self.heard.drain(..).collect();
        heard.retain(|(name, _)| name != "stats");
        heard
    }

    /// The same, or `None` when the server has closed the line meanwhile.
    pub async fn heard_unless_closed(&mut self) -> Option<Vec<(String, Value)>> {
        let id = self.next_ack;
        self.next_ack += 1;
        self.socket.send(Message::text(format!("42{id}[\"get_stats\"]"))).await.ok()?;
        loop {
            if let Some(at) = self.acks.iter().position(|(known, _)| *known == id) {
                self.acks.remove(at);
                let mut heard: Vec<_> = self.heard.drain(..).collect();
                heard.retain(|(name, _)| name != "stats");
                return Some(heard);
            }
            let frame = self.frame_or_end().await?;
            // The server takes its leave.
            if frame == "1" || frame == "41" {
                return None;
            }
            self.take_in(&frame);
        }
    }
}
