//! Who is speaking: the only place that makes a [`CurrentUser`], from a signed token or the admin key.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::error::AuthError;
use crate::models::{Participant, ParticipantKind, Profile, Timestamp};

/// Clock difference tolerated for `exp` and `nbf`.
pub const LEEWAY: Duration = Duration::from_secs(60);

/// Somebody whose credential was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentUser {
    participant: Participant,
    profile: Profile,
    phone: Option<String>,
}

impl CurrentUser {
    /// Who it is, with the id of the credential (an admin may have one of his own).
    pub fn participant(&self) -> &Participant {
        &self.participant
    }

    /// Who it is for membership, unread counts and rooms: all admins are one.
    pub fn identity(&self) -> Participant {
        self.participant.identity()
    }

    /// Admin, astrologer or user.
    pub fn kind(&self) -> ParticipantKind {
        self.participant.kind()
    }

    /// Whether this is an admin.
    pub fn is_admin(&self) -> bool {
        self.kind() == ParticipantKind::Admin
    }

    /// Name and picture the credential states.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Phone number the credential states; never looked up anywhere else.
    pub fn phone(&self) -> Option<&str> {
        self.phone.as_deref()
    }
}

/// Checks credentials. Cheap to clone.
#[derive(Clone)]
pub struct Verifier(Arc<Keys>);

struct Keys {
    decoding: DecodingKey,
    encoding: EncodingKey,
    validation: Validation,
    admin_key: Option<String>,
}

impl Verifier {
    /// A verifier for HS256 tokens signed with `jwt_secret`, and for the shared admin key if there is one.
    pub fn new(jwt_secret: &str, admin_key: Option<String>) -> Self {
        // One algorithm, so that a token cannot choose a weaker one. `exp` is required by default.
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = LEEWAY.as_secs();
        validation.validate_nbf = true;
        validation.validate_aud = false;
        let secret = jwt_secret.as_bytes();
        Self(Arc::new(Keys {
            decoding: DecodingKey::from_secret(secret),
            encoding: EncodingKey::from_secret(secret),
            validation,
            admin_key,
        }))
    }

    /// Checks the text of `auth.token` or of a bearer header: an admin key or a token; `Bearer ` in front is ignored.
    ///
    /// Errors: `auth.missing`, `auth.invalid`, `auth.expired`. Source: docs/protocol.md#identity.
    pub fn verify(&self, credential: &str) -> Result<CurrentUser, AuthError> {
        let credential = credential.trim();
        let credential =
            credential.strip_prefix("Bearer").filter(|rest| rest.is_empty() || rest.starts_with(' ')).unwrap_or(credential).trim();
        if credential.is_empty() {
            return Err(AuthError::Missing);
        }
        if self.is_admin_key(credential) {
            return Ok(shared_admin());
        }
        let token = jsonwebtoken::decode::<Claims>(credential, &self.0.decoding, &self.0.validation);
        let claims = token.map_err(|e| match e.kind() {
            ErrorKind::ExpiredSignature => AuthError::Expired,
            _ => AuthError::Invalid,
        })?;
        claims.claims.into_user().ok_or(AuthError::Invalid)
    }

    /// Checks an `x-admin-key` header.
    pub fn verify_admin_key(&self, key: &str) -> Result<CurrentUser, AuthError> {
        if self.is_admin_key(key.trim()) { Ok(shared_admin()) } else { Err(AuthError::Invalid) }
    }

    fn is_admin_key(&self, text: &str) -> bool {
        // Constant time, so that the time of a refusal says nothing about how much was right.
        self.0.admin_key.as_ref().is_some_and(|key| bool::from(key.as_bytes().ct_eq(text.as_bytes())))
    }

    /// Signs a token for demo use and the command line. Errors: only if the secret cannot sign at all.
    pub fn mint(&self, person: &Participant, name: Option<&str>, ttl: Duration) -> Result<String, jsonwebtoken::errors::Error> {
        #[derive(Serialize)]
        struct Minted<'a> {
            id: &'a str,
            r#type: ParticipantKind,
            #[serde(skip_serializing_if = "Option::is_none")]
            name: Option<&'a str>,
            iat: i64,
            exp: i64,
        }
        let iat = Timestamp::now().as_millis() / 1000;
        let exp = iat.saturating_add(i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX));
        let claims = Minted { id: person.id(), r#type: person.kind(), name, iat, exp };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.0.encoding)
    }
}

/// Reads the secret kept in `path`, or makes one there that only this user may read.
///
/// Errors: the file cannot be read or made, or holds less than [`crate::config::MIN_SECRET_LEN`] characters.
pub fn kept_secret(path: &Path) -> io::Result<String> {
    if let Some(folder) = path.parent() {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        // The messages will be in there too.
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder)?;
    }
    let fresh: String = rand::random::<[u8; 32]>().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(mut file) => {
            file.write_all(fresh.as_bytes())?;
            file.sync_all()?;
            Ok(fresh)
        }
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            let kept = std::fs::read_to_string(path)?.trim().to_owned();
            let long_enough = kept.len() >= crate::config::MIN_SECRET_LEN;
            long_enough.then_some(kept).ok_or_else(|| io::Error::other("it holds no usable secret; delete it to have a new one made"))
        }
        Err(e) => Err(e),
    }
}

fn shared_admin() -> CurrentUser {
    CurrentUser { participant: Participant::shared_admin(), profile: Profile { name: Some("Admin".into()), picture: None }, phone: None }
}

/// The claims in use on either side; which of them decide is in [`Claims::into_user`].
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Claims {
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

impl Claims {
    /// `None` if the claims name nobody, or contradict each other.
    fn into_user(self) -> Option<CurrentUser> {
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
        Some(CurrentUser {
            participant: Participant::new(kind, id)?,
            profile: Profile {
                name: text(self.name).or(default_name),
                picture: text(self.profile_picture).or_else(|| text(self.profile_image)).or_else(|| text(self.avatar)),
            },
            phone: text(self.phone),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const SECRET: &str = "a secret of tests only";
    const ADMIN_KEY: &str = "an admin key of tests";

    fn verifier() -> Verifier {
        Verifier::new(SECRET, Some(ADMIN_KEY.into()))
    }

    fn token(mut claims: Value) -> String {
        let exp = Timestamp::now().as_millis() / 1000 + 60;
        claims.as_object_mut().expect("an object").entry("exp").or_insert(json!(exp));
        sign(Algorithm::HS256, SECRET, &claims)
    }

    fn sign(algorithm: Algorithm, secret: &str, claims: &Value) -> String {
        jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).expect("signs")
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
            let user = verifier().verify(&token(claims.clone())).unwrap_or_else(|e| panic!("{claims}: {e}"));
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
            assert_eq!(verifier().verify(&token(claims.clone())), Err(AuthError::Invalid), "{claims}");
        }
    }

    #[test]
    fn only_a_fresh_hs256_signature_with_our_secret_counts() {
        let claims = json!({"id": "u1", "type": "user", "exp": Timestamp::now().as_millis() / 1000 + 60});
        let expired = json!({"id": "u1", "type": "user", "exp": Timestamp::now().as_millis() / 1000 - 61});
        let no_exp = json!({"id": "u1", "type": "user"});
        let early = json!({"id": "u1", "type": "user", "exp": 9_999_999_999_i64, "nbf": Timestamp::now().as_millis() / 1000 + 120});
        let v = verifier();
        assert!(v.verify(&sign(Algorithm::HS256, SECRET, &claims)).is_ok());
        assert!(v.verify(&format!("Bearer {}", sign(Algorithm::HS256, SECRET, &claims))).is_ok());
        assert_eq!(v.verify(&sign(Algorithm::HS256, SECRET, &expired)), Err(AuthError::Expired));
        assert_eq!(v.verify(&sign(Algorithm::HS256, SECRET, &no_exp)), Err(AuthError::Invalid));
        assert_eq!(v.verify(&sign(Algorithm::HS256, SECRET, &early)), Err(AuthError::Invalid));
        assert_eq!(v.verify(&sign(Algorithm::HS384, SECRET, &claims)), Err(AuthError::Invalid));
        assert_eq!(v.verify(&sign(Algorithm::HS256, "another secret", &claims)), Err(AuthError::Invalid));
        assert_eq!(v.verify(" "), Err(AuthError::Missing));
        assert_eq!(v.verify("Bearer "), Err(AuthError::Missing));
        // {"alg":"none","typ":"JWT"} with the same claims and no signature.
        let body = sign(Algorithm::HS256, SECRET, &claims).split('.').nth(1).expect("three parts").to_owned();
        assert_eq!(v.verify(&format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{body}.")), Err(AuthError::Invalid));
    }

    #[test]
    fn a_kept_secret_is_made_once_and_only_its_owner_may_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("data").join("jwt-secret");
        let made = kept_secret(&path).expect("made");
        assert_eq!(kept_secret(&path).expect("kept"), made);
        let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().expect("a folder"))), (0o600, 0o700));
        std::fs::write(&path, "short").expect("written");
        assert!(kept_secret(&path).is_err());
    }

    #[test]
    fn the_admin_key_makes_the_shared_admin_and_nothing_else_does() {
        assert_eq!(verifier().verify(ADMIN_KEY).expect("the key").participant(), &Participant::shared_admin());
        assert!(verifier().verify_admin_key(ADMIN_KEY).is_ok());
        assert_eq!(verifier().verify_admin_key("an admin key of testz"), Err(AuthError::Invalid));
        assert_eq!(Verifier::new(SECRET, None).verify_admin_key(""), Err(AuthError::Invalid));
    }
}
