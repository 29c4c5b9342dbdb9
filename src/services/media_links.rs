//! Addresses that prove by themselves that somebody was let through: an image widget of an app sends no credential.
//!
//! An address names one file, what may be done with it, and until when; whoever has it may use it until then.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;

use crate::error::{Error, Result};
use crate::models::media::MediaId;
use crate::models::{Message, Timestamp};

/// What an address is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Good {
    /// Being led to the file.
    For(Part),
    /// Handing out the file, where this server does it.
    Reading(Part),
    /// Taking the file, where this server does it.
    Writing,
}

/// The file itself, or the small picture made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The file.
    File,
    /// Its preview.
    Preview,
}

impl Good {
    fn word(self) -> &'static str {
        match self {
            Self::For(Part::File) => "media",
            Self::For(Part::Preview) => "media-thumbnail",
            Self::Reading(Part::File) => "read",
            Self::Reading(Part::Preview) => "read-thumbnail",
            Self::Writing => "write",
        }
    }

    fn path(self, id: MediaId) -> String {
        let rest = match self {
            Self::For(Part::File) => "",
            Self::For(Part::Preview) => "/thumbnail",
            Self::Reading(Part::File) | Self::Writing => "/content",
            Self::Reading(Part::Preview) => "/thumbnail/content",
        };
        format!("{}{rest}", id.path())
    }
}

/// Makes and checks such addresses. Cheap to clone.
#[derive(Clone)]
pub struct MediaLinks {
    key: Arc<hmac::Key>,
    base: Arc<str>,
    lifetime: Duration,
}

impl std::fmt::Debug for MediaLinks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MediaLinks at {}", self.base)
    }
}

impl MediaLinks {
    /// Signed with this secret; the server is known to apps as `base`, and addresses in messages last so long at most.
    pub fn new(secret: &[u8], base: &str, lifetime: Duration) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        Self { key: Arc::new(key), base: base.trim_end_matches('/').into(), lifetime: lifetime.max(Duration::from_secs(60)) }
    }

    /// An address that is good for so long.
    pub fn sign(&self, id: MediaId, good: Good, within: Duration, now: Timestamp) -> String {
        self.until(id, good, now.plus(within).as_millis() / 1000)
    }

    fn until(&self, id: MediaId, good: Good, expires: i64) -> String {
        let signature = hmac::sign(&self.key, statement(id, good, expires).as_bytes());
        let signature: String = signature.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}{}?expires={expires}&signature={signature}", self.base, good.path(id))
    }

    /// Checks what an address claims. Errors: `FORBIDDEN` if it was not made here, for something else, or is too old.
    pub fn check(&self, id: MediaId, good: Good, expires: &str, signature: &str, now: Timestamp) -> Result<()> {
        let refused = || Error::Forbidden("this address is not good, or not any more: ask for a new one".into());
        let expires: i64 = expires.parse().map_err(|_| refused())?;
        let signature = bytes(signature).ok_or_else(refused)?;
        hmac::verify(&self.key, statement(id, good, expires).as_bytes(), &signature).map_err(|_| refused())?;
        if now.as_millis() / 1000 > expires { Err(refused()) } else { Ok(()) }
    }

    /// Puts addresses that can be opened in place of what is stored.
    ///
    /// They last between half of the lifetime and all of it, and within each half are the same, so that apps can keep what they loaded.
    pub fn show(&self, message: &mut Message, now: Timestamp) {
        let Some(id) = message.media.url.as_deref().filter(|url| is_stored(url)).and_then(MediaId::of_address) else { return };
        let half = i64::try_from(self.lifetime.as_secs() / 2).unwrap_or(i64::MAX).max(1);
        let expires = (now.as_millis() / 1000 / half + 2) * half;
        message.media.url = Some(self.until(id, Good::For(Part::File), expires));
        if message.media.thumbnail_url.is_some() {
            message.media.thumbnail_url = Some(self.until(id, Good::For(Part::Preview), expires));
        }
    }
}

/// Whether this is how messages store an attachment: clients can only name whole https addresses.
pub(super) fn is_stored(url: &str) -> bool {
    url.starts_with(crate::models::media::MEDIA_PATH)
}

fn statement(id: MediaId, good: Good, expires: i64) -> String {
    format!("{} {id} {expires}", good.word())
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    (0..32).map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_700_000_000_000;

    fn parts(address: &str) -> (String, String) {
        let (_, query) = address.split_once("?expires=").expect("a query");
        let (expires, signature) = query.split_once("&signature=").expect("a signature");
        (expires.to_owned(), signature.to_owned())
    }

    #[test]
    fn an_address_is_good_for_one_thing_one_file_and_a_while() {
        let links = MediaLinks::new(b"a secret", "https://chat.example/", Duration::from_secs(3600));
        let now = Timestamp::from_millis(NOW_MS);
        let (id, other) = (MediaId::random(), MediaId::random());
        let address = links.sign(id, Good::Reading(Part::File), Duration::from_secs(300), now);
        assert!(address.starts_with(&format!("https://chat.example/api/media/{id}/content?expires=")), "{address}");
        let (expires, signature) = parts(&address);
        let check = |id, good, expires: &str, signature: &str, now| links.check(id, good, expires, signature, now).is_ok();
        let good = Good::Reading(Part::File);
        assert!(check(id, good, &expires, &signature, now));
        assert!(check(id, good, &expires, &signature, now.plus(Duration::from_secs(300))));
        assert!(!check(id, good, &expires, &signature, now.plus(Duration::from_secs(302))), "too old");
        assert!(!check(other, good, &expires, &signature, now));
        for another in [Good::Writing, Good::For(Part::File), Good::Reading(Part::Preview)] {
            assert!(!check(id, another, &expires, &signature, now), "{another:?}");
        }
        assert!(!check(id, good, "9999999999", &signature, now));
        for broken in ["", "zz", &signature[1..], &signature.replace(&signature[..1], "g"), &"é".repeat(32)] {
            assert!(!check(id, good, &expires, broken, now), "{broken}");
        }
        let strangers = MediaLinks::new(b"another secret", "https://chat.example/", Duration::from_secs(3600));
        assert!(strangers.check(id, good, &expires, &signature, now).is_err());
    }
}
