//! Bare socketioxide with the events that `samvad-load chat`, `room`, `typing`, `idle` and `connect` need, and nothing behind them: no
//! token is checked, nothing is stored, whoever joins hears. What the server does beyond this is its own cost.
//!
//! `PORT` (3000) is where it listens, on 127.0.0.1 only.

use std::convert::Infallible;
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use axum::Router;
use axum::routing::get;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use socketioxide::SocketIo;
use socketioxide::extract::{AckSender, Data, SocketRef};
use socketioxide::handler::ConnectHandler;
use tokio::net::TcpListener;

/// The packets that may wait for one client, as in the server.
const MAX_BUFFERED_PACKETS: usize = 4096;

/// Where something is said.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    conversation_id: String,
}

/// What is said.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    conversation_id: String,
    recipient_id: String,
    content: String,
}

/// What is heard.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Heard<'a> {
    #[serde(rename = "_id")]
    id: String,
    conversation_id: &'a str,
    recipient_id: &'a str,
    content: &'a str,
}

#[derive(Serialize)]
struct Answer<'a> {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a Heard<'a>>,
}

const DONE: Answer<'_> = Answer { ok: true, message: None };

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port: u16 = std::env::var("PORT").map_or(Ok(3000), |port| port.parse())?;
    let (layer, io) = SocketIo::builder().max_buffer_size(MAX_BUFFERED_PACKETS).build_layer();
    io.ns("/", connected.with(welcome));
    let router = Router::new().route("/ready", get(async || "ready")).layer(layer);
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, router).await?;
    Ok(())
}

async fn connected(_: SocketRef) {}

/// Registers what a client may say, before it hears that it is connected: an event that finds no handler is lost in silence.
async fn welcome(socket: SocketRef) -> Result<(), Infallible> {
    socket.on("dm:join_conversation", async |socket: SocketRef, Data(place): Data<Place>, ack: AckSender| {
        socket.join(place.conversation_id);
        // Whoever has gone needs no answer, here and below.
        let _ = ack.send(&DONE);
    });
    socket.on("dm:send_message", async |socket: SocketRef, Data(said): Data<Said>, ack: AckSender| {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let heard = Heard {
            id: format!("{:024x}", NUMBER.fetch_add(1, Relaxed)),
            conversation_id: &said.conversation_id,
            recipient_id: &said.recipient_id,
            content: &said.content,
        };
        let _ = socket.within(said.conversation_id.clone()).emit("dm:message_received", &heard).await;
        let _ = ack.send(&Answer { ok: true, message: Some(&heard) });
    });
    for (event, also) in [("dm:typing_start", "dm:user_typing"), ("dm:typing_stop", "dm:user_stopped_typing")] {
        socket.on(event, async move |socket: SocketRef, Data(said): Data<Value>, ack: AckSender| {
            let place = said["conversationId"].as_str().unwrap_or_default().to_owned();
            for name in [event, also] {
                let _ = socket.to(place.clone()).emit(name, &said).await;
            }
            let _ = ack.send(&json!({ "ok": true }));
        });
    }
    Ok(())
}
