//! The mailbox of one socket: its events are handled one after the other, in the order they arrived.
//!
//! The library would start a task per event, in no order and without limit. Here the read loop only puts the event into a
//! bounded queue; a task drains it and exists only while there is work. Sends may overlap each other, because their order
//! is fixed when they are admitted; every other event waits for the sends before it.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesOrdered, StreamExt};
use serde_json::value::RawValue;
use socketioxide::adapter::LocalAdapter;
use socketioxide::extract::AckSender;
use socketioxide::handler::{FromMessageParts, MessageHandler, Value};
use socketioxide::socket::Socket;
use tokio::sync::Notify;

use crate::error::{Error, Result};
use crate::services::calling::CallAction;
use crate::wire::Payload;

use super::events::ClientEvent;
use super::reply::{Asked, Reply};
use super::session::Session;
use super::{calls, messages};

/// Events waiting per socket; further ones are answered `OVERLOADED`.
const MAX_WAITING: usize = 256;
/// Bytes waiting per socket.
const MAX_WAITING_BYTES: usize = 1 << 20;
/// Events handled before others get their turn.
const IN_A_ROW: usize = 8;
/// Sends of one socket that may be on their way to the store at once.
const MAX_SENDS_UNDER_WAY: usize = 32;

/// What the library calls for every event; one per socket.
#[derive(Clone)]
pub(super) struct Dispatcher(Arc<Session>);

impl Dispatcher {
    pub fn new(session: Arc<Session>) -> Self {
        Self(session)
    }
}

/// Marks our way of handling for the library's trait.
pub(super) enum ViaMailbox {}

// `ViaMailbox` has no values, so it is trivially Send and Sync.
impl MessageHandler<LocalAdapter, ViaMailbox> for Dispatcher {
    /// Runs in the read loop, in order of arrival; must not block or panic.
    fn call(&self, socket: Arc<Socket<LocalAdapter>>, mut value: Value, ack_id: Option<i64>) {
        let Ok(ack) = AckSender::from_message_parts(&socket, &mut value, &ack_id);
        let Value::Str(text, _) = value else { return };
        self.0.mailbox().receive(&self.0, Incoming { text: text.as_str().to_owned(), ack });
    }
}

/// One event as it arrived: `["name", argument, …]`.
struct Incoming {
    text: String,
    ack: AckSender,
}

/// The queue of one socket.
pub(super) struct Mailbox {
    // std Mutex: never held across an await.
    queue: Mutex<Queue>,
    arrived: Notify,
}

#[derive(Default)]
struct Queue {
    open: bool,
    draining: bool,
    waiting: VecDeque<Incoming>,
    bytes: usize,
}

impl Mailbox {
    /// A mailbox that collects and does not hand out yet.
    pub fn closed() -> Arc<Self> {
        Arc::new(Self { queue: Mutex::default(), arrived: Notify::new() })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts handing out.
    pub fn open(self: &Arc<Self>, session: &Arc<Session>) {
        let mut queue = self.queue();
        queue.open = true;
        self.drain_if_needed(&mut queue, session);
    }

    fn receive(self: &Arc<Self>, session: &Arc<Session>, incoming: Incoming) {
        let mut queue = self.queue();
        if queue.waiting.len() >= MAX_WAITING || queue.bytes + incoming.text.len() > MAX_WAITING_BYTES {
            drop(queue);
            let (name, _) = parts(&incoming.text);
            let known = ClientEvent::parse(&name).is_some();
            let asked = Asked::new(name, incoming.ack);
            return if known { asked.answer(session, Err(Error::overloaded())) } else { asked.ignore(session) };
        }
        queue.bytes += incoming.text.len();
        queue.waiting.push_back(incoming);
        self.drain_if_needed(&mut queue, session);
        drop(queue);
        self.arrived.notify_one();
    }

    fn drain_if_needed(self: &Arc<Self>, queue: &mut Queue, session: &Arc<Session>) {
        if queue.open && !queue.draining && !queue.waiting.is_empty() {
            queue.draining = true;
            let (mailbox, session) = (Arc::clone(self), Arc::clone(session));
            session.services().core().tasks.clone().spawn(async move { mailbox.drain(&session).await });
        }
    }

    /// The next event; without one the task's end is noted in the same step, so that no event can slip between.
    fn next(&self, may_end: bool) -> Option<Incoming> {
        let mut queue = self.queue();
        let next = queue.waiting.pop_front();
        match &next {
            Some(incoming) => queue.bytes -= incoming.text.len(),
            None => queue.draining = !may_end,
        }
        next
    }

    async fn drain(&self, session: &Arc<Session>) {
        let mut sends: FuturesOrdered<BoxFuture<'static, Answered>> = FuturesOrdered::new();
        let mut in_a_row = 0;
        loop {
            in_a_row += 1;
            if in_a_row >= IN_A_ROW {
                // Events that are refused wait for nothing, and a flood of them would keep everybody else from this thread.
                in_a_row = 0;
                tokio::task::yield_now().await;
            }
            let Some(incoming) = self.next(sends.is_empty()) else {
                if sends.is_empty() {
                    return;
                }
                tokio::select! {
                    answered = sends.next() => tell(session, answered),
                    () = self.arrived.notified() => {}
                }
                continue;
            };
            let (name, argument) = parts(&incoming.text);
            let event = ClientEvent::parse(&name);
            if event != Some(ClientEvent::SendMessage) {
                while let Some(answered) = sends.next().await {
                    tell(session, Some(answered));
                }
            } else if sends.len() >= MAX_SENDS_UNDER_WAY {
                tell(session, sends.next().await);
            }
            let asked = Asked::new(name, incoming.ack);
            let Some(event) = event else {
                asked.ignore(session);
                continue;
            };
            if let Some(answer) = handle(session, event, argument, asked).await {
                sends.push_back(answer);
            }
        }
    }
}

/// A send that has come to its end, and what is to be said about it. Said when its turn comes, not when it is ready.
type Answered = (Asked, Reply);

fn tell(session: &Session, answered: Option<Answered>) {
    if let Some((asked, reply)) = answered {
        asked.answer(session, reply);
    }
}

/// Handles one event. A send that is under way is returned; everything else is answered here. A panic is answered like any failure.
async fn handle(
    session: &Arc<Session>,
    event: ClientEvent,
    argument: Option<&RawValue>,
    mut asked: Asked,
) -> Option<BoxFuture<'static, Answered>> {
    let payload = match event {
        // Asks nothing, so it may come without an argument.
        ClientEvent::GetStats => {
            asked.answer(session, messages::get_stats(session));
            return None;
        }
        _ => Payload::parse(argument),
    };
    let payload = match payload {
        Ok(payload) => payload,
        // A send that failed at once still waits for its turn behind the sends before it.
        Err(e) if event == ClientEvent::SendMessage => return Some(futures_util::future::ready((asked, Err(e))).boxed()),
        Err(e) => {
            asked.answer(session, Err(e));
            return None;
        }
    };
    let named = |names: &[&str]| payload.text(names).ok().flatten().map(str::to_owned);
    (asked.conversation_id, asked.call_id) = (named(&["conversationId"]), named(&["callId"]));
    if event == ClientEvent::SendMessage {
        return match caught(messages::send_message(session, &payload)).await {
            Ok(sent) => Some(caught(sent).map(move |reply| (asked, reply)).boxed()),
            Err(e) => Some(futures_util::future::ready((asked, Err(e))).boxed()),
        };
    }
    let reply = caught(answer(session, event, &payload)).await;
    asked.answer(session, reply);
    None
}

async fn answer(session: &Session, event: ClientEvent, payload: &Payload) -> Reply {
    match event {
        ClientEvent::JoinConversation => messages::join_conversation(session, payload).await,
        ClientEvent::LeaveConversation => messages::leave_conversation(session, payload).await,
        ClientEvent::SendMessage => messages::send_message(session, payload).await?.await,
        ClientEvent::TypingStart => messages::set_typing(session, payload, true).await,
        ClientEvent::TypingStop => messages::set_typing(session, payload, false).await,
        ClientEvent::MarkRead => messages::mark_read(session, payload).await,
        ClientEvent::History => messages::history(session, payload).await,
        ClientEvent::Sync => messages::sync(session, payload).await,
        ClientEvent::DeleteMessage => messages::delete_message(session, payload).await,
        ClientEvent::GetStats => messages::get_stats(session),
        ClientEvent::RefreshAuth => session.refresh(payload).await,
        ClientEvent::InitiateCall => calls::initiate(session, payload).await,
        ClientEvent::AcceptCall => calls::accept(session, payload).await,
        ClientEvent::RejectCall => calls::act(session, payload, CallAction::Reject).await,
        ClientEvent::ConnectCall => calls::act(session, payload, CallAction::Connect).await,
        ClientEvent::EndCall => calls::act(session, payload, CallAction::End).await,
        ClientEvent::CallToken => calls::renew_token(session, payload).await,
        ClientEvent::BareCall => calls::bare(session, payload).await,
    }
}

async fn caught<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| Err(Error::internal("a handler panicked")))
}

/// Name and first argument of `["name", argument, …]`. The library has parsed the name before, so it is there.
fn parts(text: &str) -> (String, Option<&RawValue>) {
    let array: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
    let name = array.first().and_then(|name| serde_json::from_str(name.get()).ok()).unwrap_or_default();
    (name, array.get(1).copied())
}
