//! The mailbox of one socket: its events are handled one after the other, in the order they arrived.
//!
//! The library would start a task per event, in no order and without limit. Here the read loop only puts the event into a
//! bounded queue; a task drains it and exists only while there is work. Sends may overlap each other, because their order
//! is fixed when they are admitted; every other event waits for the sends before it.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use futures_util::stream::{FuturesOrdered, StreamExt};
use serde_json::value::RawValue;
use socketioxide::adapter::LocalAdapter;
use socketioxide::extract::AckSender;
use socketioxide::handler::{FromMessageParts, MessageHandler, Value};
use socketioxide::socket::Socket;
use tokio::sync::Notify;
use tracing::{Instrument, info};

use crate::delivery::Cut;
use crate::error::{Error, Result};
use crate::services::calling::CallAction;
use crate::wire::Payload;

use super::events::ClientEvent;
use super::pace::Pace;
use super::reply::{Asked, Reply};
use super::session::Session;
use super::{calls, messages, presence};

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
    /// Sends are numbered as they come: the one that is answered next. std Mutex: never held across an await.
    next_answer: Mutex<u64>,
    /// None where nothing is limited. std Mutex: never held across an await.
    pace: Option<Mutex<Pace>>,
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
    pub fn closed(paced: bool) -> Arc<Self> {
        let pace = paced.then(|| Mutex::new(Pace::new(Instant::now())));
        Arc::new(Self { queue: Mutex::default(), arrived: Notify::new(), next_answer: Mutex::default(), pace })
    }

    /// Asks the pace; nothing waits where there is none.
    fn pace(&self, ask: impl FnOnce(&mut Pace, Instant) -> Option<Duration>) -> Option<Duration> {
        let Some(pace) = &self.pace else { return Some(Duration::ZERO) };
        ask(&mut pace.lock().unwrap_or_else(PoisonError::into_inner), Instant::now())
    }

    /// Takes note of an answer that says it was too much. Returns how long the next event waits. Who never listens is closed.
    fn note(&self, session: &Session, refusal: Option<&Error>) -> Duration {
        if !matches!(refusal, Some(Error::RateLimited { .. } | Error::Overloaded { .. })) {
            return Duration::ZERO;
        }
        self.pace(Pace::refused).unwrap_or_else(|| {
            info!(connection.id = %session.connection().id(), "a client floods on whatever it is told; closing it");
            session.delivery().close(session.connection(), Cut::Flood);
            Duration::ZERO
        })
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
            let refusal = Error::overloaded();
            self.note(session, Some(&refusal));
            return if known { asked.traced(session).answer(session, Err(refusal)) } else { asked.ignore(session) };
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
            None => {
                queue.draining = !may_end;
                if may_end {
                    // Most sockets say nothing most of the time.
                    queue.waiting = VecDeque::new();
                }
            }
        }
        next
    }

    async fn drain(&self, session: &Arc<Session>) {
        let mut sends: FuturesOrdered<BoxFuture<'static, Option<Answered>>> = FuturesOrdered::new();
        // All sends before have been answered, or another task would still drain.
        let mut number = *self.next_answer();
        let (mut in_a_row, mut slow) = (0, Duration::ZERO);
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
                    answered = sends.next() => slow = slow.max(self.tell_send(session, answered)),
                    () = self.arrived.notified() => {}
                }
                continue;
            };
            let wait = self.pace(|pace, now| Some(pace.event(now))).unwrap_or_default().max(std::mem::take(&mut slow));
            // Its answers would only pile up.
            let mut ready = pin!(async {
                if !wait.is_zero() {
                    let _ = session.services().core().stop.run_until_cancelled(tokio::time::sleep(wait)).await;
                }
                session.outlet().when_caught_up().await;
            });
            loop {
                tokio::select! {
                    biased;
                    () = ready.as_mut() => break,
                    answered = sends.next(), if !sends.is_empty() => slow = slow.max(self.tell_send(session, answered)),
                }
            }
            let (name, argument) = parts(&incoming.text);
            let event = ClientEvent::parse(&name);
            if event != Some(ClientEvent::SendMessage) {
                while let Some(answered) = sends.next().await {
                    slow = slow.max(self.tell_send(session, Some(answered)));
                }
            } else if sends.len() >= MAX_SENDS_UNDER_WAY {
                slow = slow.max(self.tell_send(session, sends.next().await));
            }
            let asked = Asked::new(name, incoming.ack);
            let Some(event) = event else {
                asked.ignore(session);
                continue;
            };
            let asked = asked.traced(session);
            let span = asked.span();
            match handle(session, event, argument, asked, number).instrument(span).await {
                Handled::Done(done) => slow = slow.max(self.tell(session, done)),
                Handled::UnderWay(answer) => {
                    sends.push_back(answer);
                    number += 1;
                }
            }
        }
    }

    /// Answers what has come to its end. Returns how long the next event waits.
    fn tell(&self, session: &Session, (asked, reply): Answered) -> Duration {
        let slow = self.note(session, reply.as_ref().err());
        asked.answer(session, reply);
        slow
    }

    /// The same for the send whose turn it is, unless it was answered when it was told.
    fn tell_send(&self, session: &Session, answered: Option<Option<Answered>>) -> Duration {
        let Some(Some(answered)) = answered else { return Duration::ZERO };
        let slow = self.tell(session, answered);
        *self.next_answer() += 1;
        slow
    }

    /// Answers a send that was stored and told, if it is its turn: the event the sender hears and this answer then leave in one write.
    /// Returns what else is to be answered later.
    fn answer_in_turn(&self, session: &Session, number: u64, asked: &Unanswered, reply: Reply) -> Option<Answered> {
        // Held until the answer is queued, or the next one could overtake it.
        let mut next = self.next_answer();
        let asked = take(asked)?;
        if *next != number {
            return Some((asked, reply));
        }
        asked.answer(session, reply);
        *next += 1;
        None
    }

    fn next_answer(&self) -> MutexGuard<'_, u64> {
        self.next_answer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A send that nobody has answered yet. Shared by those who may: whoever tells of it, and the task that finds that it failed.
type Unanswered = Arc<Mutex<Option<Asked>>>;

fn take(unanswered: &Unanswered) -> Option<Asked> {
    unanswered.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// An event that has come to its end, and what is to be said about it. Of a send it is said when its turn comes, not when it is ready.
type Answered = (Asked, Reply);

enum Handled {
    Done(Answered),
    /// A send; nothing if it was answered when it was told.
    UnderWay(BoxFuture<'static, Option<Answered>>),
}

/// Handles one event; a send gets this number. A panic is answered like any failure.
async fn handle(session: &Arc<Session>, event: ClientEvent, argument: Option<&RawValue>, mut asked: Asked, number: u64) -> Handled {
    let payload = match event {
        // Asks nothing, so it may come without an argument.
        ClientEvent::GetStats => {
            return Handled::Done((asked, messages::get_stats(session)));
        }
        _ => Payload::parse(argument),
    };
    let payload = match payload {
        Ok(payload) => payload,
        // A send that failed at once still waits for its turn behind the sends before it.
        Err(e) if event == ClientEvent::SendMessage => return Handled::UnderWay(ready(Some((asked, Err(e)))).boxed()),
        Err(e) => return Handled::Done((asked, Err(e))),
    };
    let named = |names: &[&str]| payload.text(names).ok().flatten().map(str::to_owned);
    (asked.conversation_id, asked.call_id) = (named(&["conversationId"]), named(&["callId"]));
    if event == ClientEvent::SendMessage {
        let asked: Unanswered = Arc::new(Mutex::new(Some(asked)));
        let told = {
            let (session, asked) = (Arc::clone(session), Arc::clone(&asked));
            move |reply| session.mailbox().answer_in_turn(&session, number, &asked, reply)
        };
        let left = move |outcome: Result<Option<Answered>>| outcome.unwrap_or_else(|e| take(&asked).map(|asked| (asked, Err(e))));
        return Handled::UnderWay(match caught(messages::send_message(session, &payload, told)).await {
            Ok(sent) => caught(sent).map(left).boxed(),
            Err(e) => ready(left(Err(e))).boxed(),
        });
    }
    let reply = caught(answer(session, event, &payload)).await;
    Handled::Done((asked, reply))
}

/// What happens often is part of the draining task; the rest has its room while it runs, or every task would be as large as the largest
/// of them, and a task is made for nearly every event.
async fn answer(session: &Session, event: ClientEvent, payload: &Payload) -> Reply {
    match event {
        ClientEvent::TypingStart => messages::set_typing(session, payload, true).await,
        ClientEvent::TypingStop => messages::set_typing(session, payload, false).await,
        ClientEvent::MarkRead => messages::mark_read(session, payload).await,
        ClientEvent::GetStats => messages::get_stats(session),
        ClientEvent::SendMessage => Box::pin(messages::send_message(session, payload, |reply| reply)).await?.await?,
        ClientEvent::JoinConversation => Box::pin(messages::join_conversation(session, payload)).await,
        ClientEvent::LeaveConversation => Box::pin(messages::leave_conversation(session, payload)).await,
        ClientEvent::History => Box::pin(messages::history(session, payload)).await,
        ClientEvent::Sync => Box::pin(messages::sync(session, payload)).await,
        ClientEvent::DeleteMessage => Box::pin(messages::delete_message(session, payload)).await,
        ClientEvent::RefreshAuth => Box::pin(session.refresh(payload)).await,
        ClientEvent::GetPresence => Box::pin(presence::get(session, payload)).await,
        ClientEvent::InitiateCall => Box::pin(calls::initiate(session, payload)).await,
        ClientEvent::AcceptCall => Box::pin(calls::accept(session, payload)).await,
        ClientEvent::RejectCall => Box::pin(calls::act(session, payload, CallAction::Reject)).await,
        ClientEvent::ConnectCall => Box::pin(calls::act(session, payload, CallAction::Connect)).await,
        ClientEvent::EndCall => Box::pin(calls::act(session, payload, CallAction::End)).await,
        ClientEvent::CallToken => Box::pin(calls::renew_token(session, payload)).await,
        ClientEvent::BareCall => Box::pin(calls::bare(session, payload)).await,
    }
}

// Not an async fn: that would have room for the work twice, as its argument and as what it waits for.
fn caught<T>(work: impl Future<Output = Result<T>>) -> impl Future<Output = Result<T>> {
    AssertUnwindSafe(work).catch_unwind().map(|outcome| outcome.unwrap_or_else(|_| Err(Error::internal("a handler panicked"))))
}

/// Name and first argument of `["name", argument, …]`. The library has parsed the name before, so it is there.
fn parts(text: &str) -> (String, Option<&RawValue>) {
    let array: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
    let name = array.first().and_then(|name| serde_json::from_str(name.get()).ok()).unwrap_or_default();
    (name, array.get(1).copied())
}
