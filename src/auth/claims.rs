//! From the claims of a checked token, or from an admin key, to the person: the only place that makes a [`CurrentUser`].

use std::sync::Arc;

use serde::Deserialize;

use crate::models::{Participant, ParticipantKind, Profile, Timestamp};

/// Somebody whose credential was checked. Cheap to clone: each socket is known by it in more than one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentUser(Arc<Stated>);

/// What the credential states.
#[derive(Debug, PartialEq, Eq)]
struct Stated {
    participant: Participant,
    profile: Profile,
    phone: Option<String>,
    issued_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    session_id: Option<String>,
    admin_key_name: Option<String>,
}

impl CurrentUser {
    /// Whoever holds an admin key; `key_name` is its name in `ADMIN_KEYS`.
    pub(super) fn by_admin_key(key_name: Option<&str>) -> Self {
        Self(Arc::new(Stated {
            participant: Participant::shared_admin(),
            profile: Profile { name: Some("Admin".into()), picture: None },
            phone: None,
            issued_at: None,
            expires_at: None,
            session_id: None,
            admin_key_name: key_name.map(str::to_owned),
        }))
    }

    /// Who it is, with the id of the credential (an admin may have one of his own).
    pub fn participant(&self) -> &Participant {
        &self.0.participant
    }

    /// Who it is for membership, unread counts and rooms: all admins are one.
    pub fn identity(&self) -> Participant {
        self.0.participant.identity()
    }

    /// Admin, astrologer or user.
    pub fn kind(&self) -> ParticipantKind {
        self.0.participant.kind()
    }

    /// Whether this is an admin.
    pub fn is_admin(&self) -> bool {
        self.kind() == ParticipantKind::Admin
    }

    /// Name and picture the credential states.
    pub fn profile(&self) -> &Profile {
        &self.0.profile
    }

    /// Phone number the credential states; never looked up anywhere else.
    pub fn phone(&self) -> Option<&str> {
        self.0.phone.as_deref()
    }

    /// When the token was made (`iat`). `None` for admin keys, and for tokens that do not say so in a number.
    pub fn issued_at(&self) -> Option<Timestamp> {
        self.0.issued_at
    }

    /// When the token ends (`exp`), without the leeway of [`super::LEEWAY`]. `None` for admin keys, which do not expire.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.0.expires_at
    }

    /// The session the token belongs to (`sessionId`). `None` for admin keys, and for tokens that live by themselves.
    pub fn session_id(&self) -> Option<&str> {
        self.0.session_id.as_deref()
    }

    /// Which of `ADMIN_KEYS` was shown, for the audit trail. `None` for tokens and for `ADMIN_SECRET_KEY`.
    pub fn admin_key_name(&self) -> Option<&str> {
        self.0.admin_key_name.as_deref()
    }
}

/// The claims in use on either side; which of them decide is in [`Claims::into_user`].
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Claims {
    astrologer_id: Option<Claim>,
    user_id: Option<Claim>,
    id: Option<Claim>,
    #[serde(rename = "_id")]
    document_id: Option<Claim>,
    sub: Option<Claim>,
    admin_id: Option<Claim>,
    r#type: Option<Claim>,
    user_type: Option<Claim>,
    role: Option<Claim>,
    name: Option<Claim>,
    phone: Option<Claim>,
    profile_picture: Option<Claim>,
    profile_image: Option<Claim>,
    avatar: Option<Claim>,
    session_id: Option<Claim>,
    iat: Option<Seconds>,
    exp: Option<Seconds>,
}

/// A claim that should be text. Numbers are read as text, because some issuers write numeric ids; anything else says nothing.
#[derive(Deserialize)]
#[serde(untagged)]
enum Claim {
    Text(String),
    Number(i64),
    Other(serde::de::IgnoredAny),
}

impl Claim {
    fn into_string(self) -> Option<String> {
        match self {
            Self::Text(text) if !text.is_empty() => Some(text),
            Self::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }
}

/// Seconds since the epoch; RFC 7519 allows fractions. Anything else says nothing (an unreadable `exp` was refused before).
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Whole(i64),
    Fraction(f64),
    Other(serde::de::IgnoredAny),
}

impl Seconds {
    fn into_timestamp(self) -> Option<Timestamp> {
        match self {
            Self::Whole(seconds) => Some(Timestamp::from_millis(seconds.saturating_mul(1000))),
            // `as` stops at the ends of the range, which is what a date out of reach should do.
            Self::Fraction(seconds) => Some(Timestamp::from_millis((seconds * 1000.0) as i64)),
            Self::Other(_) => None,
        }
    }
}

impl Claims {
    /// `None` if the claims name nobody, or contradict each other.
    pub(super) fn into_user(self) -> Option<CurrentUser> {
        let text = |claim: Option<Claim>| claim.and_then(Claim::into_string);
        let astrologer_id = text(self.astrologer_id);
        let ids = [self.user_id, self.id, self.document_id, self.sub, self.admin_id].into_iter().filter_map(text);
        let ids: Vec<String> = astrologer_id.iter().cloned().chain(ids).collect();
        let kinds: Vec<ParticipantKind> = [self.r#type, self.user_type, self.role]
            .into_iter()
            .filter_map(text)
            .map(|word| ParticipantKind::parse(&word.to_ascii_lowercase()))
            .collect::<Option<_>>()?;
        let kind = match (astrologer_id, kinds.first()) {
            (Some(_), None) => ParticipantKind::Astrologer,
            (Some(_), Some(ParticipantKind::Astrologer)) => ParticipantKind::Astrologer,
            (Some(_), Some(_)) | (None, None) => return None,
            (None, Some(kind)) => *kind,
        };
        let id = ids.first()?;
        if kinds.iter().any(|k| *k != kind) || ids.iter().any(|other| other != id) {
            return None;
        }
        let default_name = (kind == ParticipantKind::Admin).then(|| "Admin".to_owned());
        Some(CurrentUser(Arc::new(Stated {
            participant: Participant::new(kind, id)?,
            profile: Profile {
                name: text(self.name).or(default_name),
                picture: text(self.profile_picture).or_else(|| text(self.profile_image)).or_else(|| text(self.avatar)),
            },
            phone: text(self.phone),
            issued_at: self.iat.and_then(Seconds::into_timestamp),
            expires_at: self.exp.and_then(Seconds::into_timestamp),
            session_id: text(self.session_id),
            admin_key_name: None,
        })))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn user(claims: Value) -> Option<CurrentUser> {
        serde_json::from_value::<Claims>(claims).expect("any object can be read").into_user()
    }

    #[test]
    fn the_claims_of_every_issuer_name_the_same_people() {
        for (claims, who) in [
            (json!({"id": "u1", "type": "user"}), "user:u1"),
            (json!({"userId": "u1", "role": "customer"}), "user:u1"),
            (json!({"astrologerId": "a1", "sessionId": "s"}), "astrologer:a1"),
            (json!({"astrologerId": "a1", "userType": "astrologer", "id": "a1"}), "astrologer:a1"),
            (json!({"_id": 42, "type": "user"}), "user:42"),
            (json!({"sub": "x", "type": "admin"}), "admin:x"),
            (json!({"adminId": "ops7", "role": "admin"}), "admin:ops7"),
        ] {
            let user = user(claims.clone()).unwrap_or_else(|| panic!("{claims} name nobody"));
            assert_eq!(user.participant().to_string(), who);
        }
    }

    #[test]
    fn claims_that_name_nobody_or_contradict_each_other_are_invalid() {
        for claims in [
            json!({"id": "u1"}),
            json!({"type": "user"}),
            json!({"id": "u1", "type": "god"}),
            json!({"astrologerId": "a1", "type": "user"}),
            json!({"astrologerId": "a1", "id": "a2"}),
            json!({"id": "u1", "userId": "u2", "type": "user"}),
            json!({"id": "u1", "sub": "u2", "type": "user"}),
            json!({"id": "u1", "type": "user", "role": "admin"}),
            json!({"id": "admin", "type": "user"}),
            json!({"id": "a.b", "type": "user"}),
        ] {
            assert_eq!(user(claims.clone()), None, "{claims}");
        }
    }

    #[test]
    fn dates_and_the_session_are_kept_and_what_says_nothing_is_left_out() {
        let at = |millis| Some(Timestamp::from_millis(millis));
        for (iat, exp, session, wanted) in [
            (json!(1_700_000_000), json!(1_700_000_100), json!("s-1"), (at(1_700_000_000_000), at(1_700_000_100_000), Some("s-1"))),
            (json!(1_700_000_000.25), json!(1e300), json!(7), (at(1_700_000_000_250), at(i64::MAX), Some("7"))),
            (json!("yesterday"), json!(5), json!({"a": 1}), (None, at(5_000), None)),
            (Value::Null, json!(5), json!(""), (None, at(5_000), None)),
        ] {
            let user = user(json!({"id": "u1", "type": "user", "iat": iat, "exp": exp, "sessionId": session})).expect("a user");
            assert_eq!((user.issued_at(), user.expires_at(), user.session_id()), wanted);
            assert_eq!(user.admin_key_name(), None);
        }
    }
}
