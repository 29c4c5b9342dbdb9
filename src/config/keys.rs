//! Who is let in: what tokens are checked with, and the keys of admins.

use std::path::PathBuf;

use super::reader::Reader;
use super::values::jwks_url;

/// The shortest admin key and JWT secret accepted.
pub const MIN_SECRET_LEN: usize = 16;

/// What tokens are checked with.
#[derive(Clone, PartialEq, Eq)]
pub enum TokenKeys {
    /// The secret `JWT_SECRET`.
    Secret(String),
    /// The secret kept in this file, made when it is not there.
    KeptSecret(PathBuf),
    /// The public key in this PEM file (`JWT_PUBLIC_KEY`).
    PublicKey(PathBuf),
    /// The public keys at this address (`JWKS_URL`).
    Published(http::Uri),
}

/// A key whose holder is an admin. Has no `Debug`, so that it is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminKey {
    /// Its name in `ADMIN_KEYS`; none for `ADMIN_SECRET_KEY`.
    pub name: Option<String>,
    /// The key itself.
    pub key: String,
}

impl Reader<'_> {
    /// `None` if none is set.
    pub(super) fn token_keys(&mut self, embedded: bool) -> Option<TokenKeys> {
        let set: Vec<&str> = ["JWT_SECRET", "JWT_PUBLIC_KEY", "JWKS_URL"].into_iter().filter(|name| self.raw.get(name).is_some()).collect();
        if set.is_empty() && !embedded {
            let why = "every node must check the same signatures";
            self.mistakes.push(format!("JWT_SECRET, JWT_PUBLIC_KEY or JWKS_URL must be set when MONGODB_URI is: {why}"));
        }
        if set.len() > 1 {
            self.mistakes.push(format!("{} must not be set together: one of them decides which tokens are good", set.join(" and ")));
        }
        let secret = self.secret("JWT_SECRET");
        // A public key everybody knows would otherwise be the secret that anybody can sign with.
        if secret.as_ref().is_some_and(|secret| secret.starts_with("-----BEGIN")) {
            self.mistakes.push("JWT_SECRET must be a secret, not a PEM; a public key belongs into a file named by JWT_PUBLIC_KEY".into());
        }
        let published = self.raw.get("JWKS_URL").and_then(|text| {
            let url = jwks_url(text);
            if url.is_none() {
                // Without the value, which may hold a password.
                self.mistakes
                    .push("JWKS_URL must be like https://host/path, without user and password; http to a loopback address only".into());
            }
            url
        });
        let public_key = self.raw.get("JWT_PUBLIC_KEY").map(|path| TokenKeys::PublicKey(path.into()));
        secret.map(TokenKeys::Secret).or(public_key).or(published.map(TokenKeys::Published))
    }

    pub(super) fn admin_keys(&mut self) -> Vec<AdminKey> {
        let mut keys: Vec<AdminKey> = self.secret("ADMIN_SECRET_KEY").map(|key| AdminKey { name: None, key }).into_iter().collect();
        let named = self.raw.get("ADMIN_KEYS").unwrap_or_default();
        for (number, entry) in (1..).zip(named.split(',').filter(|_| !named.is_empty())) {
            match named_key(entry) {
                // Neither name nor key are shown: who swapped them has written the key where the name belongs.
                Err(wrong) => self.mistakes.push(format!("ADMIN_KEYS: {wrong} in entry {number}")),
                Ok(key) if keys.iter().any(|other| other.name == key.name) => {
                    self.mistakes.push(format!("ADMIN_KEYS: the name in entry {number} is there already"));
                }
                Ok(key) if keys.iter().any(|other| other.key == key.key) => {
                    self.mistakes.push(format!("ADMIN_KEYS: the key in entry {number} is there already, under another name"));
                }
                Ok(key) => keys.push(key),
            }
        }
        keys
    }
}

/// Reads `name:key`. Errors: what is wrong, without saying what was written.
fn named_key(entry: &str) -> Result<AdminKey, &'static str> {
    let (name, key) = entry.trim().split_once(':').ok_or("a pair is not written name:key (keys hold no comma)")?;
    let is_name = (1..=32).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if !is_name {
        return Err("a name is not 1 to 32 letters, digits, _ and -");
    }
    if key.contains(':') {
        return Err("a key holds a colon");
    }
    if key.len() < MIN_SECRET_LEN {
        return Err("a key has less than 16 characters");
    }
    Ok(AdminKey { name: Some(name.to_owned()), key: key.to_owned() })
}
