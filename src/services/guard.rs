//! The trust boundary inside the services: how much, who with whom, who what; and what is noted of it.

use std::net::IpAddr;

use crate::auth::CurrentUser;
use crate::error::{Error, Result};
use crate::models::AuditAction;

use super::audit::Audit;
use super::limits::Limits;
use super::permissions::{Answer, Operation, Standing, answer};
use super::relations::Relations;

/// What every service asks before it does something. Cheap to clone.
#[derive(Clone)]
pub struct Guard {
    /// How much one person may ask for.
    pub limits: Limits,
    /// Who has dealt with whom.
    pub relations: Relations,
    /// What is noted of admins.
    pub audit: Audit,
}

/// Whether a credential can only be an admin key: a token has three parts.
fn is_key(credential: &str) -> bool {
    credential.matches('.').count() != 2
}

impl Guard {
    /// Checks that a credential from this address may be looked at: who tries out admin keys is made to wait.
    ///
    /// Errors: `RATE_LIMITED`. Tokens are never held up.
    pub fn check_attempt(&self, credential: &str, key_only: bool, address: Option<IpAddr>) -> Result<()> {
        if key_only || is_key(credential) { self.limits.check_key_attempt(address) } else { Ok(()) }
    }

    /// Notes a credential that was refused, if it was meant as an admin key. Tokens are not noted: they end every day.
    pub fn note_refused(&self, credential: &str, key_only: bool, address: Option<IpAddr>) {
        if key_only || is_key(credential) {
            self.limits.count_wrong_key(address);
            self.audit.note_refused_key(address);
        }
    }

    /// The table's answer to `user`; what admins may do with other people's things is noted under `subject`.
    ///
    /// Errors: `missing` where the table says not found, `FORBIDDEN`.
    pub(super) fn decide(
        &self,
        user: &CurrentUser,
        operation: Operation,
        standing: Standing,
        subject: impl FnOnce() -> String,
        missing: Error,
    ) -> Result<Answer> {
        let answer = answer(operation, standing);
        match answer {
            Answer::NotFound => Err(missing),
            Answer::Forbidden => Err(Error::Forbidden("only those who take part may do this".into())),
            Answer::Audited => {
                let action = if operation == Operation::Delete { AuditAction::Delete } else { AuditAction::Read };
                self.audit.note(user, action, subject(), None);
                Ok(answer)
            }
            Answer::Yes | Answer::Nothing | Answer::Waits => Ok(answer),
        }
    }
}
