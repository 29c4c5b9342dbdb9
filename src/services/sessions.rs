//! How long a credential is good for: expiry while connected, renewal, revocation, and the account it belongs to.
//!
//! A fault of the store admits: the signature was right. What was let in is looked at again later.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moka::sync::Cache;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use crate::auth::CurrentUser;
use crate::delivery::{Connection, ConnectionId};
use crate::error::{AuthError, Result};
use crate::models::{Account, AuditAction, Participant, ParticipantKind, Revocation, Timestamp};

use super::Core;
use super::audit::Audit;

/// How often sockets are looked through for credentials that ended.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often the accounts behind connected sockets are looked up, and how old an answer may be that lets somebody in.
const ACCOUNTS_EVERY: Duration = Duration::from_secs(60);
/// How long signing in waits for the account.
const ACCOUNT_WITHIN: Duration = Duration::from_secs(2);
/// Accounts of one question.
const ACCOUNTS_AT_ONCE: usize = 500;
/// How many answers are kept.
const ACCOUNTS_KEPT: u64 = 50_000;

/// Lets credentials in and out. Cheap to clone.
#[derive(Clone)]
pub struct Sessions(Arc<Inner>);

struct Inner {
    core: Core,
    audit: Audit,
    // std Mutex: never held across an await.
    open: Mutex<HashMap<ConnectionId, OpenSession>>,
    revoked: Mutex<Revoked>,
    accounts: Cache<String, Option<Account>>,
}

/// A connected socket and the credential it stands on.
struct OpenSession {
    connection: Arc<Connection>,
    user: CurrentUser,
}

#[derive(Default)]
struct Revoked {
    until: HashMap<Participant, Timestamp>,
    /// Not stored yet, because the store was away.
    unsaved: Vec<Revocation>,
    loaded: bool,
}

impl Sessions {
    pub(super) fn start(core: &Core, audit: Audit) -> Self {
        let accounts = Cache::builder().max_capacity(ACCOUNTS_KEPT).time_to_live(ACCOUNTS_EVERY).build();
        let this = Self(Arc::new(Inner { core: core.clone(), audit, open: Mutex::default(), revoked: Mutex::default(), accounts }));
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
        if let Some(known) = self.0.accounts.get(id)
            && check_account(user, known.as_ref()).is_ok()
        {
            return Ok(());
        }
        // Nothing is known, or what is known would refuse: a session may have begun since.
        let ids = [id.to_owned()];
        match timeout(ACCOUNT_WITHIN, self.0.core.store.find_accounts(&ids)).await {
            Ok(Ok(Some(accounts))) => {
                let account = accounts.into_iter().next().map(|(_, account)| account);
                self.0.accounts.insert(id.to_owned(), account.clone());
                check_account(user, account.as_ref())
            }
            Ok(Ok(None)) => Ok(()),
            Ok(Err(e)) => {
                debug!(participant = %user.participant(), "let in on the signature alone: {e}");
                Ok(())
            }
            Err(_) => Ok(()),
        }
    }

    fn check_revoked(&self, user: &CurrentUser) -> Result<(), AuthError> {
        // A key has no time of issue and is taken back by changing the setting.
        if user.expires_at().is_none() {
            return Ok(());
        }
        let until = self.revoked().until.get(user.participant()).copied();
        let issued_before = |until: Timestamp| user.issued_at().is_none_or(|at| at <= until);
        if until.is_some_and(issued_before) { Err(AuthError::Expired) } else { Ok(()) }
    }

    /// A socket was let in.
    pub(super) fn opened(&self, connection: &Arc<Connection>, user: &CurrentUser) {
        self.open().insert(connection.id(), OpenSession { connection: Arc::clone(connection), user: user.clone() });
        // It may have been revoked while it was let in.
        if self.check_revoked(user).is_err() {
            self.0.core.delivery.close(connection);
        }
    }

    /// A socket is gone.
    pub(super) fn closed(&self, connection: ConnectionId) {
        self.open().remove(&connection);
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
        Ok(expires_at)
    }

    /// Closes all sockets of a person and refuses his tokens issued until now. Returns how many sockets there were.
    ///
    /// Holds in memory at once; stored as soon as the store takes it. The caller has checked that an admin asks.
    pub async fn revoke(&self, admin: &CurrentUser, person: &Participant) -> usize {
        let revocation = Revocation { person: person.clone(), until: self.0.core.now() };
        {
            let mut revoked = self.revoked();
            revoked.until.insert(person.clone(), revocation.until);
            revoked.unsaved.push(revocation);
        }
        let closed = self.close_those(|session| session.user.participant() == person);
        info!(participant = %person, sockets = closed, "sessions were revoked");
        self.0.audit.note(admin, AuditAction::Revoke, person.to_string(), None);
        self.save_revocations().await;
        closed
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

    async fn load_revocations(&self) {
        match self.0.core.store.revocations().await {
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
                self.close_those(|session| self.check_revoked(&session.user).is_err());
            }
            Err(e) => warn!("revocations are not known yet: {e}"),
        }
    }

    fn close_those(&self, condition: impl Fn(&OpenSession) -> bool) -> usize {
        let found: Vec<Arc<Connection>> = self.open().values().filter(|s| condition(s)).map(|s| Arc::clone(&s.connection)).collect();
        for connection in &found {
            self.0.core.delivery.close(connection);
        }
        found.len()
    }

    async fn look_for_ever(&self) {
        let mut accounts_at = Instant::now() + ACCOUNTS_EVERY;
        loop {
            // Loaded again and again where other servers may add to them; that is one small question.
            if !self.revoked().loaded || self.0.core.store.engine() == "mongodb" {
                self.load_revocations().await;
            }
            self.save_revocations().await;
            let now = self.0.core.now();
            let ended = self.close_those(|session| session.user.expires_at().is_some_and(|at| at <= now));
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
            let closed = self.close_those(|session| {
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
