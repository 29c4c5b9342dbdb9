//! Who takes part: generated identities in pairs, each with a token made here.
//!
//! Pairs are user and astrologer. Admins all share one identity (docs/protocol.md section 3.3), so with `--pairs admin` every admin socket
//! is the same person and hears of every other pair's conversation too: a fan-out of its own, not the ordinary case.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::ValueEnum;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

use crate::report::Problem;

/// Longer than any run may last.
const TOKEN_LIFETIME_SECONDS: u64 = 4 * 3600;

/// The first digits of the ids of those whose messages `seed` stores.
const SEEDED_PEOPLE: u32 = 0x5eed_5eed;

/// Who sits opposite the astrologer.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Pairs {
    /// A user of its own in every pair.
    User,
    /// The one shared admin identity in every pair.
    Admin,
}

/// One side of a pair.
pub struct Person {
    pub id: String,
    /// `user`, `astrologer` or `admin`, as in claims and payloads.
    pub kind: &'static str,
    pub token: String,
}

/// Two people and the canonical key of their conversation.
pub struct Pair {
    pub sides: [Person; 2],
    pub conversation: String,
}

/// Makes the people of one run. Ids are new in each run, so a run never meets an older run's conversations.
pub struct Cast {
    key: EncodingKey,
    run: u32,
    /// The first digits of all ids.
    people: u32,
    started: u64,
    pairs: Pairs,
}

impl Cast {
    /// Prepares a run with the server's signing secret.
    pub fn new(secret: &str, pairs: Pairs) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let run = now.subsec_nanos() ^ (now.as_secs() as u32).rotate_left(7) ^ std::process::id().rotate_left(20);
        Self { key: EncodingKey::from_secret(secret.as_bytes()), run, people: run, started: now.as_secs(), pairs }
    }

    /// The people of a seeded store, the same in every run: pairs of user and astrologer.
    pub fn seeded(secret: &str) -> Self {
        Self { people: SEEDED_PEOPLE, ..Self::new(secret, Pairs::User) }
    }

    /// A number that tells this run from others.
    pub fn run(&self) -> u32 {
        self.run
    }

    /// The pair at `index`: the first side is the user (or admin), the second the astrologer.
    pub fn pair(&self, index: usize) -> Result<Pair, Problem> {
        let astrologer = self.person("astrologer", self.id(2, index))?;
        let (first, conversation) = match self.pairs {
            Pairs::User => {
                let user = self.person("user", self.id(1, index))?;
                let conversation = format!("user_{}_{}", user.id, astrologer.id);
                (user, conversation)
            }
            Pairs::Admin => (self.person("admin", "admin".to_owned())?, format!("admin_{}", astrologer.id)),
        };
        Ok(Pair { sides: [first, astrologer], conversation })
    }

    /// 24 hexadecimal digits, as real identities have; no underscore, so the canonical key needs no escaping.
    fn id(&self, kind: u32, index: usize) -> String {
        format!("{:08x}{kind:08x}{index:08x}", self.people)
    }

    fn person(&self, kind: &'static str, id: String) -> Result<Person, Problem> {
        // `iat` a little in the past: the server's clock is ours, but it may round differently.
        let claims = json!({
            "id": id, "type": kind, "name": format!("Load {kind}"), "iat": self.started - 1, "exp": self.started + TOKEN_LIFETIME_SECONDS,
        });
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.key)
            .map_err(|e| format!("cannot sign a token for {kind} {id}: {e}"))?;
        Ok(Person { id, kind, token })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_has_the_canonical_key_and_admins_share_one_identity() {
        let cast = Cast::new("secret", Pairs::User);
        let pair = cast.pair(3).expect("signing works");
        assert_eq!(pair.conversation, format!("user_{}_{}", pair.sides[0].id, pair.sides[1].id));
        assert_eq!(pair.sides[0].id.len(), 24);
        let admins = Cast::new("secret", Pairs::Admin);
        assert_eq!(admins.pair(0).expect("signing works").sides[0].id, admins.pair(1).expect("signing works").sides[0].id);
    }
}
