//! The rules. No socket, no HTTP and no database type appears here; a service asks the store, then delivery.

pub mod addressing;
pub mod analytics;
pub mod attachments;
pub mod audit;
mod batches;
pub mod calling;
pub mod content;
pub mod conversations;
pub mod guard;
pub mod history;
pub mod inbox;
pub mod limits;
pub mod media_links;
pub mod media_tokens;
pub mod messaging;
mod neighbours;
mod nodes;
mod ordered;
mod outbox;
pub mod permissions;
pub mod presence;
pub mod presence_changes;
mod profiles;
pub mod push;
mod receipts;
mod rejoin;
pub mod relations;
pub mod sessions;
mod shared_limits;
pub mod stock;
pub mod typing;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::CurrentUser;
pub use crate::bus::Held;
use crate::bus::{Bus, Topic};
use crate::delivery::{Connection, Delivery, Departure};
use crate::metrics::Metrics;
use crate::models::{ProcessId, Timestamp};
use crate::store::Store;

/// Where the time comes from; tests bring their own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What every service works with.
pub struct Core {
    /// Where things are kept.
    pub store: Arc<dyn Store>,
    /// Where things are heard.
    pub delivery: Arc<Delivery>,
    /// This process, for those that run beside it or come after it.
    pub process: ProcessId,
    /// The way to other nodes; none when this is the only one.
    pub bus: Option<Bus>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The wall clock.
    pub clock: Clock,
    /// Owner of the services' background tasks.
    pub tasks: TaskTracker,
    /// Ends the background tasks.
    pub stop: CancellationToken,
    /// What operators may change of the rules.
    pub rules: Rules,
}

impl Core {
    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Waits until what other nodes say about this is heard here.
    async fn hears(&self, topic: Topic) {
        if let Some(bus) = &self.bus {
            bus.followed(&topic).await;
        }
    }
}

/// Settings of the rules; see [`crate::config::SETTINGS`].
#[derive(Clone, Debug)]
pub struct Rules {
    /// `DELETE_WINDOW`.
    pub delete_window: Duration,
    /// `TOKEN_MAX_AGE`.
    pub token_max_age: Duration,
    /// `RATE_PROFILE`, `LIMIT_*`.
    pub rates: limits::RateRules,
    /// `RELATION_CHECK`.
    pub relation_check: relations::RelationCheck,
    /// `MEDIA_HOSTS`.
    pub media_hosts: content::MediaHosts,
    /// Of attachments.
    pub media: attachments::MediaRules,
    /// Of calls.
    pub calls: calling::CallRules,
    /// `PUSH_MESSAGES`, and where things are sent to.
    pub push: push::PushRules,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            delete_window: Duration::from_secs(24 * 3600),
            token_max_age: Duration::from_secs(400 * 24 * 3600),
            rates: limits::RateRules::default(),
            relation_check: relations::RelationCheck::default(),
            media_hosts: content::MediaHosts::default(),
            media: attachments::MediaRules::default(),
            calls: calling::CallRules::default(),
            push: push::PushRules::default(),
        }
    }
}

/// All services, sharing one core. Cheap to clone.
#[derive(Clone)]
pub struct Services(Arc<Inner>);

struct Inner {
    core: Arc<Core>,
    conversations: conversations::Conversations,
    attachments: attachments::Attachments,
    messaging: messaging::Messaging,
    typing: typing::TypingIndicators,
    calling: calling::Calling,
    presence: presence::PresenceBook,
    presence_changes: presence_changes::PresenceChanges,
    sessions: sessions::Sessions,
    guard: guard::Guard,
    inbox: inbox::Inbox,
    analytics: analytics::Analytics,
    push: push::Push,
}

impl Services {
    /// Starts the services and their background tasks. Must be called inside a runtime.
    pub fn start(core: Core) -> Self {
        let core = Arc::new(core);
        let profiles = profiles::Profiles::new(Arc::clone(&core.store));
        let presence = presence::PresenceBook::new(Arc::clone(&core.delivery), core.bus.clone());
        let audit = audit::Audit::start(&core);
        let relations = relations::Relations::new(core.clone(), audit.clone());
        let guard = guard::Guard { limits: limits::Limits::start(&core), relations, audit: audit.clone() };
        let sessions = sessions::Sessions::start(&core, audit);
        let (push, rings) = push::Push::start(&core, presence.clone(), guard.limits.clone());
        let presence_changes = presence_changes::PresenceChanges::start(&core, guard.clone(), profiles.clone(), push.clone());
        let conversations = conversations::Conversations::new(core.clone(), profiles.clone(), guard.clone());
        let typing = typing::TypingIndicators::new(core.clone());
        let attachments = attachments::Attachments::start(&core, conversations.clone());
        let messaging = messaging::Messaging::start(core.clone(), conversations.clone(), attachments.clone(), typing.clone(), push.clone());
        let calling =
            calling::Calling::start(core.clone(), messaging.clone(), profiles.clone(), presence.clone(), guard.clone(), push.clone());
        calling.hear_of_rings(rings);
        let analytics = analytics::Analytics::new(core.clone(), guard.clone(), profiles.clone());
        let inbox = inbox::Inbox::new(core.clone(), messaging.clone(), calling.clone(), presence_changes.clone(), profiles, guard.clone());
        let services = Self(Arc::new(Inner {
            core,
            conversations,
            attachments,
            messaging,
            typing,
            calling,
            presence,
            presence_changes,
            sessions,
            guard,
            inbox,
            analytics,
            push,
        }));
        nodes::start(&services);
        services
    }

    /// What they work with.
    pub fn core(&self) -> &Core {
        &self.0.core
    }

    /// Conversations: finding, opening, joining, listing.
    pub fn conversations(&self) -> &conversations::Conversations {
        &self.0.conversations
    }

    /// Files that messages carry.
    pub fn attachments(&self) -> &attachments::Attachments {
        &self.0.attachments
    }

    /// Messages: sending, reading, deleting, paging.
    pub fn messaging(&self) -> &messaging::Messaging {
        &self.0.messaging
    }

    /// Typing indicators.
    pub fn typing(&self) -> &typing::TypingIndicators {
        &self.0.typing
    }

    /// Calls: ringing, answering, hanging up.
    pub fn calling(&self) -> &calling::Calling {
        &self.0.calling
    }

    /// Who is there, and who is told.
    pub fn presence(&self) -> &presence_changes::PresenceChanges {
        &self.0.presence_changes
    }

    /// Which credentials are still good.
    pub fn sessions(&self) -> &sessions::Sessions {
        &self.0.sessions
    }

    /// Conversations and calls in one list.
    pub fn inbox(&self) -> &inbox::Inbox {
        &self.0.inbox
    }

    /// The figures of the dashboard.
    pub fn analytics(&self) -> &analytics::Analytics {
        &self.0.analytics
    }

    /// What is told outside of the sockets: phones and the webhook.
    pub fn push(&self) -> &push::Push {
        &self.0.push
    }

    /// Limits, relations and the audit trail.
    pub fn guard(&self) -> &guard::Guard {
        &self.0.guard
    }

    /// Somebody is about to be let in. What other nodes say to him is heard here from now on, until the answer is dropped: he may join
    /// and listen from the first moment on.
    pub async fn expect(&self, user: &CurrentUser) -> Option<Held> {
        let bus = self.0.core.bus.as_ref()?;
        self.0.guard.limits.look_up(&user.identity());
        Some(bus.hold(Topic::Person(user.identity())).await)
    }

    /// A socket was greeted: it is in its personal room from now on, and hears what waits for it.
    pub fn came(&self, user: &CurrentUser, connection: &Arc<Connection>) {
        self.0.core.delivery.connect(connection);
        self.0.sessions.opened(connection, user);
        self.0.presence.came(connection.identity());
        self.0.presence_changes.came(connection.identity());
        self.0.calling.came(connection);
        self.0.messaging.give_back_rooms(connection);
    }

    /// A socket is gone. Repeating does nothing.
    pub fn went(&self, connection: &Connection, departure: Departure) {
        self.0.typing.stop_all(connection.id());
        self.0.sessions.closed(connection.id());
        self.0.core.delivery.disconnect(connection, departure);
        self.0.calling.hung_up(connection);
        if self.0.presence.went(connection.identity()) {
            self.0.presence_changes.went(connection.identity());
            self.0.calling.went(connection.identity());
        }
    }

    /// Ends the background tasks after what they already took on, then flushes the store.
    pub async fn close(&self) {
        self.0.core.stop.cancel();
        self.0.core.tasks.close();
        self.0.core.tasks.wait().await;
        // What the tasks said last is still told.
        if let Some(bus) = &self.0.core.bus {
            bus.close().await;
        }
        self.0.core.store.close().await;
    }
}
