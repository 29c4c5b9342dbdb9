//! Carrying out one entry: to which devices, with which words, and what follows from the answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, error, info, warn};

use crate::error::Result;
use crate::models::{
    Call, CallId, CallType, Device, DeviceKind, MessageStatus, OutboxEntry, OutboxOutcome, OutboxState, Platform, Timestamp,
};
use crate::outside::{FcmPush, Outside, Sent, VoipPush};
use crate::services::Core;
use crate::services::outbox::{Carried, Health, backoff};

use super::Stopped;
use super::job::{Job, MessageJob, cut, ring_id, who};

/// The longest wait between two tries of a push.
const PUSH_BACKOFF: Duration = Duration::from_secs(60);
/// The same of a webhook.
const WEBHOOK_BACKOFF: Duration = Duration::from_secs(600);
/// How long after its deadline it is made sure that a phone was told to stop.
const MADE_SURE_AFTER: Duration = Duration::from_secs(2);
/// How long a ring that is being sent may take to be over before phones are told to stop.
const RING_OVER_WITHIN: Duration = Duration::from_millis(1500);
/// How often that is looked at.
const LOOKED_EVERY: Duration = Duration::from_millis(50);
/// Devices that were reached are noted this long after the first while others are still being asked.
const NOTED_AFTER: Duration = Duration::from_millis(50);

/// Sends what entries say.
pub(super) struct Carrier {
    pub core: Arc<Core>,
    pub outside: Outside,
    pub stopped: Stopped,
    /// Told which calls a phone was told of.
    pub rang: mpsc::Sender<CallId>,
}

/// What is said, in the words of each way.
struct Words {
    app: FcmPush,
    voip: Option<VoipPush>,
}

impl Words {
    fn app(app: FcmPush) -> Self {
        Self { app, voip: None }
    }
}

/// What became of an entry's devices.
#[derive(Default)]
struct Round {
    /// Those that need it no more.
    settled: Vec<String>,
    /// Somebody took it.
    any_accepted: bool,
    /// Why it is to be tried again, and when the other side wants that.
    again: Option<(String, Option<Duration>)>,
    /// Those that may have taken it although nobody said so.
    maybe: Vec<String>,
    health: Option<Health>,
}

impl Carrier {
    fn count(&self, channel: &str, outcome: &str) {
        self.core.metrics.sent_outside.with_label_values(&[channel, outcome]).inc();
    }

    pub async fn carry_out(&self, entry: &OutboxEntry, fresh: bool) -> Carried {
        let job = match serde_json::from_str::<Job>(&entry.body) {
            Ok(job) => job,
            Err(e) => {
                error!("an outbox entry cannot be read: {e}");
                return over(OutboxOutcome::Dead { problem: format!("cannot be read: {e}") });
            }
        };
        let carried = match &job {
            Job::Message(message) => self.message(entry, message, fresh).await,
            Job::Ring { call } => self.ring(entry, call, fresh).await,
            Job::Stop { call, reason, .. } => self.stop(entry, *call, reason).await,
            Job::End { call, duration, .. } => {
                let data =
                    BTreeMap::from([("type", "call_end".to_owned()), ("callId", call.to_string()), ("duration", duration.to_string())]);
                self.to_apps(entry, data, None).await
            }
            Job::Event { event, data, at, .. } => Ok(self.event(entry, event, data, *at).await),
        };
        carried.unwrap_or_else(|e| {
            // The store does not say whom to tell: as if nobody had been reached.
            debug!("an entry is tried again, the store does not answer: {e}");
            let due_at = self.core.now().plus(backoff(entry.attempts, PUSH_BACKOFF));
            over(OutboxOutcome::Later { due_at, settled: entry.settled.clone(), problem: None })
        })
    }

    async fn message(&self, entry: &OutboxEntry, message: &MessageJob, fresh: bool) -> Result<Carried> {
        if self.is_too_late(entry) {
            return Ok(over(done(entry)));
        }
        if !fresh {
            // It waited: perhaps nobody needs it any more.
            let found = self.core.store.find_message(message.id).await?;
            if found.is_none_or(|found| found.is_deleted || found.status == MessageStatus::Read) {
                self.count("outbox", "useless");
                return Ok(over(done(entry)));
            }
        }
        let push = FcmPush {
            notification: Some((message.sender_name.clone(), message.content.clone())),
            data: BTreeMap::from([
                ("type", "message".to_owned()),
                ("messageId", message.id.to_string()),
                ("conversationId", message.conversation.clone()),
                ("senderId", message.sender.id().to_owned()),
                ("senderName", message.sender_name.clone()),
                ("senderType", message.sender.kind().to_string()),
                ("senderAvatar", message.sender_avatar.clone()),
                ("messageType", message.message_type.clone()),
                ("content", message.content.clone()),
                ("timestamp", message.at.to_string()),
                ("expiresAt", entry.expires_at.to_string()),
            ]),
            tag: Some(message.conversation.clone()),
            ..self.lasting(entry.expires_at)
        };
        let devices = self.devices(entry, |device| device.kind == DeviceKind::Fcm).await?;
        let round = self.to_devices(entry, devices, &Words::app(push)).await;
        Ok(self.follow_up(entry, round))
    }

    /// A push that is of use until then.
    fn lasting(&self, until: Timestamp) -> FcmPush {
        let left = until.since(self.core.now()).as_secs();
        let expires_at_seconds = until.as_millis() / 1000;
        FcmPush { notification: None, data: BTreeMap::new(), tag: None, ttl_seconds: left, expires_at_seconds }
    }

    async fn ring(&self, entry: &OutboxEntry, call: &Call, fresh: bool) -> Result<Carried> {
        let (stop, _watching) = self.stopped.watch(call.id);
        let still_rings = match fresh {
            true => call.ring_deadline.is_some_and(|at| self.core.now() < at),
            false => self.rings_still(call.id).await?,
        };
        if !still_rings || stop.is_cancelled() {
            return self.make_sure_it_stops(entry, call, fresh).await;
        }
        // An iPhone rings by Apple's way where there is one; what FCM can do there is not ringing.
        let devices = self.devices(entry, |_| true).await?;
        let has_voip = self.outside.apns.is_some() && devices.iter().any(|device| device.kind == DeviceKind::Voip);
        let devices = devices.into_iter().filter(|device| match device.kind {
            DeviceKind::Voip => self.outside.apns.is_some(),
            DeviceKind::Fcm => self.outside.fcm.is_some() && !(has_voip && device.platform == Platform::Ios),
        });
        let devices: Vec<Device> = devices.collect();
        let data = self.ring_data(call, entry.expires_at);
        let push = FcmPush { data: data.clone(), tag: Some(call.id.to_string()), ..self.lasting(entry.expires_at) };
        let words = Words { voip: Some(VoipPush { payload: json!(data) }), ..Words::app(push) };
        let all: Vec<String> = devices.iter().map(Device::fingerprint).collect();
        let round = tokio::select! {
            round = self.to_devices(entry, devices, &words) => round,
            () = stop.cancelled() => {
                // Nobody knows who was told: all of them are told to stop.
                let settled = entry.settled.iter().chain(&all).cloned().collect();
                return Ok(over(OutboxOutcome::Done { settled }));
            }
        };
        if round.any_accepted {
            // Full or closed: the call rings all the same, it only does not say so.
            let _ = self.rang.try_send(call.id);
        }
        let nobody_knows = !round.any_accepted && round.maybe.is_empty() && entry.settled.is_empty();
        if round.again.is_none() && nobody_knows {
            return Ok(Carried {
                outcome: OutboxOutcome::Done { settled: round.settled },
                health: round.health.unwrap_or(Health::Unknown),
            });
        }
        let health = round.health.unwrap_or(Health::Unknown);
        let last_look = entry.expires_at.plus(MADE_SURE_AFTER);
        let (due_at, problem) = match round.again {
            Some((why, after)) => {
                let due_at = self.core.now().plus(backoff(entry.attempts, PUSH_BACKOFF).max(after.unwrap_or_default()));
                // A ring that comes too late is worse than none.
                (if due_at < entry.expires_at { due_at } else { last_look }, Some(why))
            }
            None => (last_look, None),
        };
        // Should nobody live to say that it stops, somebody looks at it when it must have.
        Ok(Carried { outcome: OutboxOutcome::Later { due_at, settled: round.settled, problem }, health })
    }

    /// A ring entry whose call rings no more. Whoever ended it has queued a stop, unless he died before.
    async fn make_sure_it_stops(&self, entry: &OutboxEntry, call: &Call, fresh: bool) -> Result<Carried> {
        let now = self.core.now();
        let mut settled = entry.settled.clone();
        if !fresh {
            // A process that died may have told any of them.
            settled.extend(self.devices(entry, |_| true).await?.iter().map(Device::fingerprint));
            let found = self.core.store.find_call(call.id).await?;
            let reason = match &found {
                Some(call) if call.status.is_talking() => "answered_elsewhere",
                Some(call) if call.status.is_over() => call.event_status(),
                _ => "missed",
            };
            let stop = Job::Stop { call: call.id, callee: call.callee.identity(), reason: reason.to_owned(), at: now };
            match stop.entry(now) {
                Ok(entry) => drop(self.core.store.put_outbox(vec![entry]).await?),
                Err(e) => error!("a stop cannot be written down: {e}"),
            }
        }
        Ok(over(OutboxOutcome::Done { settled }))
    }

    async fn rings_still(&self, call: CallId) -> Result<bool> {
        let found = self.core.store.find_call(call).await?;
        Ok(found.is_some_and(|call| call.status.is_ringing() && call.ring_deadline.is_some_and(|at| self.core.now() < at)))
    }

    /// The keys the app reads, all of them, all texts.
    fn ring_data(&self, call: &Call, expires_at: Timestamp) -> BTreeMap<&'static str, String> {
        let media = self.core.rules.calls.media.issue(&call.channel, self.core.now());
        let name = call.caller_profile.name.as_deref().filter(|name| !name.is_empty()).unwrap_or_else(|| who(&call.caller));
        let picture = call.caller_profile.picture.as_deref().filter(|address| address.len() <= 512);
        let kind = if call.call_type == CallType::Video { "video_call" } else { "call" };
        BTreeMap::from([
            ("type", kind.to_owned()),
            ("callId", call.id.to_string()),
            ("callerId", call.caller.id().to_owned()),
            ("callerName", cut(name, 128)),
            ("callerType", call.caller.kind().to_string()),
            ("callerAvatar", picture.unwrap_or_default().to_owned()),
            ("callType", call.call_type.as_str().to_owned()),
            ("channelName", call.channel.clone()),
            ("agoraToken", media.token.unwrap_or_default()),
            ("agoraAppId", media.app_id.unwrap_or_default()),
            ("timestamp", call.initiated_at.to_string()),
            ("expiresAt", expires_at.to_string()),
        ])
    }

    /// Tells the phones that ring to stop: those the ring reached, or all if nobody knows which.
    async fn stop(&self, entry: &OutboxEntry, call: CallId, reason: &str) -> Result<Carried> {
        if self.is_too_late(entry) {
            return Ok(over(done(entry)));
        }
        self.stopped.stop(call);
        let id = ring_id(call);
        let give_up = Instant::now() + RING_OVER_WITHIN;
        let ring = loop {
            let ring = self.core.store.find_outbox(&id).await?;
            let is_under_way = ring
                .as_ref()
                .is_some_and(|ring| ring.state == OutboxState::Waiting && ring.lease.is_some_and(|lease| lease.until > self.core.now()));
            if !is_under_way || Instant::now() >= give_up {
                break ring;
            }
            sleep(LOOKED_EVERY).await;
        };
        let Some(ring) = ring else { return Ok(over(done(entry))) };
        self.core.store.finish_outbox(&id).await?;
        let is_known = ring.state == OutboxState::Done;
        let data = BTreeMap::from([("type", "call_cancel".to_owned()), ("callId", call.to_string()), ("reason", cut(reason, 64))]);
        self.to_apps(entry, data, Some(&ring.settled).filter(|_| is_known)).await
    }

    /// Tells apps something they show nothing of; only these devices, if it is known which.
    async fn to_apps(&self, entry: &OutboxEntry, data: BTreeMap<&'static str, String>, only: Option<&Vec<String>>) -> Result<Carried> {
        if self.is_too_late(entry) {
            return Ok(over(done(entry)));
        }
        // Apple wants every VoIP push to show a call, so there is none for its end: the app hears of it by FCM or its socket.
        let devices =
            self.devices(entry, |device| device.kind == DeviceKind::Fcm && only.is_none_or(|only| only.contains(&device.fingerprint())));
        let devices = devices.await?;
        let push = FcmPush { data, ..self.lasting(entry.expires_at) };
        let round = self.to_devices(entry, devices, &Words::app(push)).await;
        Ok(self.follow_up(entry, round))
    }

    async fn event(&self, entry: &OutboxEntry, event: &str, data: &Value, at: Timestamp) -> Carried {
        let Some(webhook) = &self.outside.webhook else {
            return over(OutboxOutcome::Dead { problem: "there is no WEBHOOK_URL any more".into() });
        };
        let now = self.core.now();
        let body = json!({ "id": entry.id, "type": event, "createdAt": at, "data": data }).to_string();
        let sent = webhook.send(event, &entry.id, entry.attempts + 1, &body, now).await;
        self.count("webhook", sent.word());
        let (why, after) = match sent {
            Sent::Accepted => return Carried { outcome: done(entry), health: Health::Well },
            Sent::Later { why, after, .. } => (why, after),
            Sent::Refused(why) => (why, None),
            Sent::Gone { why, .. } => (why.to_owned(), None),
        };
        let due_at = self.core.now().plus(backoff(entry.attempts, WEBHOOK_BACKOFF).max(after.unwrap_or_default()));
        let outcome = if due_at < entry.expires_at {
            OutboxOutcome::Later { due_at, settled: Vec::new(), problem: Some(why) }
        } else {
            warn!("the webhook did not take an event within a day: {why}");
            OutboxOutcome::Dead { problem: why }
        };
        Carried { outcome, health: after.map_or(Health::Away, Health::Resting) }
    }

    fn is_too_late(&self, entry: &OutboxEntry) -> bool {
        let is_too_late = self.core.now() >= entry.expires_at;
        if is_too_late {
            self.count("outbox", "too_late");
        }
        is_too_late
    }

    /// The devices of an entry's recipient that still need it.
    async fn devices(&self, entry: &OutboxEntry, wanted: impl Fn(&Device) -> bool) -> Result<Vec<Device>> {
        let Some(person) = &entry.recipient else { return Ok(Vec::new()) };
        let mut devices = self.core.store.devices_of(std::slice::from_ref(person)).await?;
        devices.retain(|device| wanted(device) && !entry.settled.contains(&device.fingerprint()));
        Ok(devices)
    }

    async fn send(&self, device: &Device, words: &Words) -> Sent {
        match (device.kind, &self.outside, &words.voip) {
            (DeviceKind::Fcm, Outside { fcm: Some(fcm), .. }, _) => {
                let sent = fcm.send(&device.token, device.platform, &words.app).await;
                self.count("fcm", sent.word());
                sent
            }
            (DeviceKind::Voip, Outside { apns: Some(apns), .. }, Some(push)) => {
                let sent = apns.ring(&device.token, push).await;
                self.count("apns", sent.word());
                sent
            }
            // Registered for a service the settings do not name (any more).
            _ => Sent::Refused("there is no way to this device".into()),
        }
    }

    /// Sends to all at once. Should this process die meanwhile, those that were reached a while ago are not asked again.
    async fn to_devices(&self, entry: &OutboxEntry, devices: Vec<Device>, words: &Words) -> Round {
        let asked_at = self.core.now();
        let mut round = Round { settled: entry.settled.clone(), ..Round::default() };
        let count = devices.len();
        let mut under_way: FuturesUnordered<_> =
            devices.into_iter().map(|device| async move { (self.send(&device, words).await, device) }).collect();
        let (mut answered, mut noted, mut note_at) = (0, round.settled.len(), None);
        loop {
            let time_to_note = async {
                match note_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                next = under_way.next() => match next {
                    Some((sent, device)) => {
                        answered += 1;
                        self.take_answer(&mut round, sent, &device, asked_at).await;
                        if answered < count && note_at.is_none() && round.settled.len() > noted {
                            note_at = Some(Instant::now() + NOTED_AFTER);
                        }
                    }
                    None => return round,
                },
                () = time_to_note => {
                    (note_at, noted) = (None, round.settled.len());
                    if let Err(e) = self.core.store.note_outbox(&entry.id, self.core.process, &round.settled).await {
                        debug!("who was reached so far is not noted: {e}");
                    }
                }
            }
        }
    }

    async fn take_answer(&self, round: &mut Round, sent: Sent, device: &Device, asked_at: Timestamp) {
        match sent {
            Sent::Accepted => {
                round.any_accepted = true;
                round.health = Some(Health::Well);
                round.settled.push(device.fingerprint());
            }
            Sent::Gone { why, known_at } => {
                // Not if it was registered while it was asked, or since it was known to be dead: then it is somebody's again.
                let dead_since = known_at.map_or(asked_at, |at| at.min(asked_at));
                match self.core.store.drop_device(&device.token, dead_since).await {
                    Ok(true) => info!(owner = %device.owner, device = device.fingerprint(), "a device is gone ({why}) and forgotten"),
                    Ok(false) => {}
                    Err(e) => debug!("a device that is gone is not forgotten yet: {e}"),
                }
                round.settled.push(device.fingerprint());
            }
            Sent::Refused(why) => {
                warn!(device = device.fingerprint(), "a push was refused, the device stays: {why}");
                round.settled.push(device.fingerprint());
            }
            Sent::Later { why, after, maybe_taken } => {
                if maybe_taken {
                    round.maybe.push(device.fingerprint());
                }
                let rest = after.map_or(Health::Away, Health::Resting);
                round.health.get_or_insert(rest);
                let longest = round.again.as_ref().and_then(|(_, after)| *after).max(after);
                round.again = Some((why, longest));
            }
        }
    }

    /// Done, or when it is tried again. What would come too late is done too.
    fn follow_up(&self, entry: &OutboxEntry, round: Round) -> Carried {
        let health = round.health.unwrap_or(Health::Unknown);
        let Some((why, after)) = round.again else {
            return Carried { outcome: OutboxOutcome::Done { settled: round.settled }, health };
        };
        let due_at = self.core.now().plus(backoff(entry.attempts, PUSH_BACKOFF).max(after.unwrap_or_default()));
        if due_at >= entry.expires_at {
            self.count("outbox", "too_late");
            return Carried { outcome: OutboxOutcome::Done { settled: round.settled }, health };
        }
        Carried { outcome: OutboxOutcome::Later { due_at, settled: round.settled, problem: Some(why) }, health }
    }
}

fn done(entry: &OutboxEntry) -> OutboxOutcome {
    OutboxOutcome::Done { settled: entry.settled.clone() }
}

fn over(outcome: OutboxOutcome) -> Carried {
    Carried { outcome, health: Health::Unknown }
}
