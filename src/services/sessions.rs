//! How long a credential is good for: expiry while connected, renewal, revocation, and the account it belongs to.
//!
//! A fault of the store admits: the signature was right. What was let in is looked at again later.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moka::sync::Cache;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use crate::auth::CurrentUser;
use crate::bus::Topic;
use crate::delivery::{Connection, ConnectionId, Cut};
use crate::error::{AuthError, Result};
use crate::models::{Account, AuditAction, Participant, ParticipantKind, Revocation, Timestamp};

use super::Core;
use super::audit::Audit;
use super::nodes::Notice;

/// How often sockets are looked through for credentials that ended.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often revocations that are no longer needed are forgotten, and all of them read again: what another process, whose clock is far
/// behind, has added is not among the newest.
const ALL_EVERY: Duration = Duration::from_secs(3600);
/// How far the clocks of servers may be apart for a revocation to be found within [`LOOK_EVERY`].
const SKEW: Duration = Duration::from_secs(300);
/// How often the accounts behind connected sockets are looked up, and how old an answer may be that lets somebody in.
const ACCOUNTS_EVERY: Duration = Duration::from_secs(60);
/// How long signing in waits for the account.
const ACCOUNT_WITHIN: Duration = Duration::from_secs(2);
/// Accounts of one question.
const ACCOUNTS_AT_ONCE: usize = 500;
/// How many answers are kept.
const ACCOUNTS_KEPT: u64 = 50_000;
/// How long an account that refused a credential is not asked about that credential again. Short: a suspension may have been lifted.
const REFUSED_FOR: Duration = Duration::from_secs(3);
/// Questions about accounts at once; those about one account wait for each other, so that a flood of one token asks once.
const LANES: usize = 64;

/// Lets credentials in and out. Cheap to clone.
#[derive(Clone)]
pub struct Sessions(Arc<Inner>);

struct Inner {
    core: Arc<Core>,
    audit: Audit,
    // std Mutex: never held across an await.
    open: Mutex<HashMap<ConnectionId, OpenSession>>,
    revoked: Mutex<Revoked>,
    accounts: Cache<String, Option<Account>>,
    /// Why an account refused a session of it just now. By session, so that one that began since is looked up at once.
    refused: Cache<(String, Option<String>), AuthError>,
    lanes: [tokio::sync::Mutex<()>; LANES],
}

/// A connected socket and the credential it stands on.
struct OpenSession {
    connection: Arc<Connection>,
    user: CurrentUser,
    since: Timestamp,
}

/// A connected socket, for those who look after the server.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "ConnectedSession")]
#[serde(rename_all = "camelCase")]
pub struct SessionView {
    /// The id its client knows the socket by.
    pub socket_id: String,
    /// Whose it is.
    pub user_id: String,
    /// What he is.
    pub user_type: ParticipantKind,
    /// `websocket` or `polling`.
    pub transport: &'static str,
    /// When it was let in.
    pub connected_at: Timestamp,
    /// Where the client is, as far as the handshake told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub address: Option<IpAddr>,
}

#[derive(Default)]
struct Revoked {
    until: HashMap<Participant, Timestamp>,
    /// Not stored yet, because the store was away.
    unsaved: Vec<Revocation>,
    loaded: bool,
}

impl Sessions {
    pub(super) fn start(core: &Arc<Core>, audit: Audit) -> Self {
        let accounts = Cache::builder().max_capacity(ACCOUNTS_KEPT).time_to_live(ACCOUNTS_EVERY).build();
        let refused = Cache::builder().max_capacity(ACCOUNTS_KEPT).time_to_live(REFUSED_FOR).build();
        let lanes = std::array::from_fn(|_| tokio::sync::Mutex::default());
        let (open, revoked) = (Mutex::default(), Mutex::default());
        let this = Self(Arc::new(Inner { core: core.clone(), audit, open, revoked, accounts, refused, lanes }));
        let (sessions, stop) = (this.clone(), core.stop.clone());
        core.tasks.spawn(async move {
            stop.run_until_cancelled(sessions.look_for_ever()).await;
        });
        this
    }

    fn open(&self) -> MutexGuard<'_, HashMap<ConnectionId, OpenSession>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn revoked(&self) -> MutexGuard<'_, Revoked> {
        self.0.revoked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a credential whose signature is right may still be used.
    ///
    /// Errors: `auth.expired` if it was revoked, `auth.session_replaced`, `auth.suspended`.
    pub async fn admit(&self, user: &CurrentUser) -> Result<(), AuthError> {
        self.check_revoked(user)?;
        let Some(id) = account_of(user) else { return Ok(()) };
        if let Some(answer) = self.known_answer(user, id) {
            return answer;
        }
        // Nothing is known, or what is known would refuse: a session may have begun since.
        let ids = [id.to_owned()];
        let question = async {
            let _lane = self.lane(id).lock().await;
            // Whoever was before in this lane may have asked the same.
            match self.known_answer(user, id) {
                Some(answer) => Ok(Err(answer)),
                None => self.0.core.store.find_accounts(&ids).await.map(Ok),
            }
        };
        match timeout(ACCOUNT_WITHIN, question).await {
            Ok(Ok(Err(answer))) => answer,
            Ok(Ok(Ok(Some(accounts)))) => {
                let account = accounts.into_iter().next().map(|(_, account)| account);
                self.0.accounts.insert(id.to_owned(), account.clone());
                let answer = check_account(user, account.as_ref());
                if let Err(refusal) = answer {
                    self.0.refused.insert((id.to_owned(), user.session_id().map(str::to_owned)), refusal);
                }
                answer
            }
            Ok(Ok(Ok(None))) => Ok(()),
            Ok(Err(e)) => {
                debug!(participant = %user.participant(), "let in on the signature alone: {e}");
                Ok(())
            }
            Err(_) => Ok(()),
        }
    }

    /// What was found out about this credential's account a short time ago, if that still decides.
    fn known_answer(&self, user: &CurrentUser, id: &str) -> Option<Result<(), AuthError>> {
        if let Some(known) = self.0.accounts.get(id)
            && check_account(user, known.as_ref()).is_ok()
        {
            return Some(Ok(()));
        }
        self.0.refused.get(&(id.to_owned(), user.session_id().map(str::to_owned))).map(Err)
    }

    fn lane(&self, id: &str) -> &tokio::sync::Mutex<()> {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        &self.0.lanes[usize::try_from(hasher.finish() % LANES as u64).unwrap_or_default()]
    }

    fn check_revoked(&self, user: &CurrentUser) -> Result<(), AuthError> {
        // A key has no time of issue and is taken back by changing the setting.
        if user.expires_at().is_none() {
            return Ok(());
        }
        if user.issued_at().is_some_and(|at| at <= self.too_old()) {
            return Err(AuthError::Expired);
        }
        let until = self.revoked().until.get(user.participant()).copied();
        let issued_before = |until: Timestamp| user.issued_at().is_none_or(|at| at <= until);
        if until.is_some_and(issued_before) { Err(AuthError::Expired) } else { Ok(()) }
    }

    /// Whatever was issued until then is refused for its age, revoked or not.
    fn too_old(&self) -> Timestamp {
        self.0.core.now().minus(self.0.core.rules.token_max_age)
    }

    /// A socket was let in.
    pub(super) fn opened(&self, connection: &Arc<Connection>, user: &CurrentUser) {
        let since = self.0.core.now();
        self.open().insert(connection.id(), OpenSession { connection: Arc::clone(connection), user: user.clone(), since });
        // It may have been revoked while it was let in.
        if self.check_revoked(user).is_err() {
            self.0.core.delivery.close(connection, Cut::Revoked);
        }
    }

    /// A socket is gone.
    pub(super) fn closed(&self, connection: ConnectionId) {
        self.open().remove(&connection);
    }

    /// Sockets of this node, the newest first, at most `limit`: of people of this type and with this id, where they are given.
    /// Also how many there are. Who asks for somebody by id is noted in the audit trail.
    ///
    /// The caller has checked that an admin asks.
    pub fn list(&self, admin: &CurrentUser, kind: Option<ParticipantKind>, id: Option<&str>, limit: usize) -> (Vec<SessionView>, usize) {
        if let Some(id) = id {
            let kind = kind.map_or("any", ParticipantKind::as_str);
            self.0.audit.note(admin, AuditAction::Read, format!("sessions of {kind}:{id}"), None);
        }
        let asked_for = |user: &CurrentUser| {
            let person = user.participant();
            kind.is_none_or(|kind| person.kind() == kind) && id.is_none_or(|id| person.id() == id)
        };
        let mut found: Vec<(Timestamp, Arc<Connection>, Participant)> = {
            let open = self.open();
            let asked = open.values().filter(|session| asked_for(&session.user));
            asked.map(|session| (session.since, Arc::clone(&session.connection), session.user.participant().clone())).collect()
        };
        found.sort_unstable_by_key(|(since, connection, _)| std::cmp::Reverse((*since, connection.id())));
        let total = found.len();
        let view = |(connected_at, connection, person): (Timestamp, Arc<Connection>, Participant)| SessionView {
            socket_id: connection.socket_id().to_owned(),
            user_id: person.id().to_owned(),
            user_type: person.kind(),
            transport: connection.transport().as_str(),
            connected_at,
            address: connection.address(),
        };
        (found.into_iter().take(limit).map(view).collect(), total)
    }

    /// Puts a connected socket on a newer credential of the same person. Returns when that one ends.
    ///
    /// Errors: `auth.invalid` for somebody else's; as [`Sessions::admit`].
    pub async fn refresh(&self, connection: ConnectionId, newer: CurrentUser) -> Result<Option<Timestamp>> {
        self.admit(&newer).await?;
        let expires_at = newer.expires_at();
        let mut open = self.open();
        let session = open.get_mut(&connection).ok_or(AuthError::Invalid)?;
        if session.user.participant() != newer.participant() {
            return Err(AuthError::Invalid.into());
        }
        session.user = newer;
        info!(connection.id = %connection, participant = %session.user.participant(), "a credential was renewed");
        Ok(expires_at)
    }

    /// Closes all sockets of a person and refuses his tokens issued until now. Returns how many sockets there were on this node.
    ///
    /// Holds in memory at once, on the other nodes as soon as they hear of it; stored as soon as the store takes it. The caller has
    /// checked that an admin asks.
    pub async fn revoke(&self, admin: &CurrentUser, person: &Participant) -> usize {
        let revocation = Revocation { person: person.clone(), until: self.0.core.now() };
        {
            let mut revoked = self.revoked();
            revoked.until.insert(person.clone(), revocation.until);
            revoked.unsaved.push(revocation.clone());
        }
        self.0.core.tell_nodes(vec![Topic::Everybody], || Notice::Revoked { person: revocation.person, until: revocation.until });
        let closed = self.close_those(Cut::Revoked, |session| session.user.participant() == person);
        info!(participant = %person, sockets = closed, "sessions were revoked");
        self.0.audit.note(admin, AuditAction::Revoke, person.to_string(), None);
        self.save_revocations().await;
        closed
    }

    /// Another node has revoked somebody's sessions.
    pub(super) fn heard_revoked(&self, person: Participant, until: Timestamp) {
        {
            let mut revoked = self.revoked();
            let known = revoked.until.entry(person.clone()).or_insert(until);
            *known = (*known).max(until);
        }
        let closed = self.close_those(Cut::Revoked, |session| self.check_revoked(&session.user).is_err());
        info!(participant = %person, sockets = closed, "sessions were revoked on another node");
    }

    async fn save_revocations(&self) {
        let unsaved = std::mem::take(&mut self.revoked().unsaved);
        for revocation in unsaved {
            if let Err(e) = self.0.core.store.revoke(revocation.clone()).await {
                warn!(participant = %revocation.person, "a revocation holds in memory only for now: {e}");
                self.revoked().unsaved.push(revocation);
            }
        }
    }

    /// Learns of revocations: all of them, or the newest.
    pub(super) async fn load_revocations(&self, all: bool) {
        let since = if all { None } else { self.revoked().until.values().max().map(|newest| newest.minus(SKEW)) };
        match self.0.core.store.revocations(since).await {
            Ok(stored) => {
                {
                    let mut revoked = self.revoked();
                    for Revocation { person, until } in stored {
                        let known = revoked.until.entry(person).or_insert(until);
                        *known = (*known).max(until);
                    }
                    revoked.loaded = true;
                }
                // Whoever came before they were known.
                self.close_those(Cut::Revoked, |session| self.check_revoked(&session.user).is_err());
            }
            Err(e) => warn!("revocations are not known yet: {e}"),
        }
    }

    /// Forgets revocations of tokens that are too old anyway. Tokens without a time of issue, which a revocation refuses too, are told
    /// in docs/protocol.md to end before then.
    async fn forget_old_revocations(&self) {
        let before = self.too_old();
        self.revoked().until.retain(|_, until| *until >= before);
        if let Err(e) = self.0.core.store.purge_revocations(before).await {
            debug!("old revocations are forgotten later: {e}");
        }
    }

    fn close_those(&self, why: Cut, condition: impl Fn(&OpenSession) -> bool) -> usize {
        let found: Vec<Arc<Connection>> = self.open().values().filter(|s| condition(s)).map(|s| Arc::clone(&s.connection)).collect();
        for connection in &found {
            self.0.core.delivery.close(connection, why);
        }
        found.len()
    }

    async fn look_for_ever(&self) {
        let (mut accounts_at, mut all_at) = (Instant::now() + ACCOUNTS_EVERY, Instant::now());
        loop {
            let all = Instant::now() >= all_at;
            if all {
                all_at = Instant::now() + ALL_EVERY;
                self.forget_old_revocations().await;
            }
            // Loaded again and again where other servers may add to them; that is one small question.
            let loaded = self.revoked().loaded;
            if !loaded || self.0.core.store.engine() == "mongodb" {
                self.load_revocations(all || !loaded).await;
            }
            self.save_revocations().await;
            let (now, too_old) = (self.0.core.now(), self.too_old());
            let is_over = |user: &CurrentUser| {
                user.expires_at().is_some_and(|at| at <= now || user.issued_at().is_some_and(|issued| issued <= too_old))
            };
            let ended = self.close_those(Cut::EndedToken, |session| is_over(&session.user));
            if ended > 0 {
                info!(sockets = ended, "sockets were closed because their tokens ended");
            }
            if Instant::now() >= accounts_at {
                accounts_at = Instant::now() + ACCOUNTS_EVERY;
                self.check_accounts().await;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Closes sockets whose account has another session by now, is suspended, or is gone.
    async fn check_accounts(&self) {
        let mut ids: Vec<String> = self.open().values().filter_map(|s| account_of(&s.user).map(str::to_owned)).collect();
        ids.sort_unstable();
        ids.dedup();
        for ids in ids.chunks(ACCOUNTS_AT_ONCE) {
            let accounts: HashMap<String, Account> = match self.0.core.store.find_accounts(ids).await {
                Ok(Some(accounts)) => accounts.into_iter().collect(),
                Ok(None) => return,
                Err(e) => return debug!("accounts are looked up again later: {e}"),
            };
            for id in ids {
                self.0.accounts.insert(id.clone(), accounts.get(id).cloned());
            }
            let closed = self.close_those(Cut::Account, |session| {
                let asked = account_of(&session.user).filter(|id| ids.iter().any(|asked| asked == id));
                asked.is_some_and(|id| check_account(&session.user, accounts.get(id)).is_err())
            });
            if closed > 0 {
                info!(sockets = closed, "sockets were closed because their accounts changed");
            }
        }
    }
}

/// The account a credential stands on: astrologers' only.
fn account_of(user: &CurrentUser) -> Option<&str> {
    (user.kind() == ParticipantKind::Astrologer).then(|| user.participant().id())
}

fn check_account(user: &CurrentUser, account: Option<&Account>) -> Result<(), AuthError> {
    match (account, user.session_id()) {
        (Some(account), _) if account.is_suspended => Err(AuthError::Suspended),
        // A token that names no session stands on its signature.
        (_, None) => Ok(()),
        (Some(account), Some(session)) if account.session_id.as_deref() == Some(session) => Ok(()),
        (_, Some(_)) => Err(AuthError::SessionReplaced),
    }
}
