//! The admin keys: who shows one is an admin.

use aws_lc_rs::digest::{SHA256, digest};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use crate::config::AdminKey;

use super::CurrentUser;

/// All admin keys. Only their digests are kept: they cannot be shown by mistake, and being of one length they compare in one time.
pub(super) struct AdminKeys(Vec<([u8; 32], Option<String>)>);

impl AdminKeys {
    pub(super) fn new(keys: &[AdminKey]) -> Self {
        Self(keys.iter().map(|key| (fingerprint(&key.key), key.name.clone())).collect())
    }

    /// The admin whose key this is.
    pub(super) fn find(&self, text: &str) -> Option<CurrentUser> {
        let shown = fingerprint(text);
        // Every key is compared, and the place is taken without a branch: the time of an answer says nothing about any of them.
        let nowhere = u64::MAX;
        let at = (0..).zip(&self.0).fold(nowhere, |found, (at, (key, _))| u64::conditional_select(&found, &at, key.ct_eq(&shown)));
        let (_, name) = self.0.get(usize::try_from(at).ok()?)?;
        Some(CurrentUser::by_admin_key(name.as_deref()))
    }
}

fn fingerprint(text: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Participant;

    #[test]
    fn each_key_makes_the_shared_admin_under_its_name_and_nothing_else_does() {
        let key = |name: Option<&str>, key: &str| AdminKey { name: name.map(str::to_owned), key: key.into() };
        let keys = AdminKeys::new(&[
            key(None, "the,one: of old times"),
            key(Some("asha"), "the key of asha"),
            key(Some("ravi"), "the key of ravi"),
        ]);
        for (text, name) in [("the,one: of old times", None), ("the key of asha", Some("asha")), ("the key of ravi", Some("ravi"))] {
            let admin = keys.find(text).expect("a key");
            assert_eq!((admin.participant(), admin.admin_key_name()), (&Participant::shared_admin(), name));
            assert_eq!((admin.issued_at(), admin.expires_at(), admin.session_id()), (None, None, None));
        }
        for text in ["", "the key of ash", "the key of ashaa", "asha", "asha:the key of asha"] {
            assert_eq!(keys.find(text), None, "{text}");
        }
        assert_eq!(AdminKeys::new(&[]).find(""), None);
    }
}
