//! Who an RTC token is for: a number or a text name.

use std::borrow::Cow;

/// A user of an RTC channel. All clients of one channel should use the same kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum User {
    /// A numeric user. `Uid(0)` means **anyone**: whoever holds the token may join as any user, so keep such tokens short-lived.
    Uid(u32),
    /// A user by name, at most 255 bytes. The account `"0"` is an ordinary name and not `Uid(0)`; an account of other digits gives the
    /// same token as that uid. Builders refuse an empty account.
    Account(String),
}

impl User {
    /// The user as tokens write it: decimal digits, or the account unchanged. Empty for `Uid(0)`.
    pub fn as_token_text(&self) -> Cow<'_, str> {
        match self {
            Self::Uid(0) => Cow::Borrowed(""),
            Self::Uid(uid) => Cow::Owned(uid.to_string()),
            Self::Account(account) => Cow::Borrowed(account),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_are_written_as_the_vectors_say() {
        let vectors: serde_json::Value = serde_json::from_str(include_str!("../tests/data/agora-token-vectors.json")).unwrap();
        let pairs = vectors["primitives"]["uidToAccount"].as_array().unwrap();
        assert_eq!(pairs.len(), 6);
        for pair in pairs {
            let uid = u32::try_from(pair[0].as_u64().unwrap()).unwrap();
            assert_eq!(User::Uid(uid).as_token_text(), pair[1].as_str().unwrap());
        }
    }

    #[test]
    fn the_account_zero_is_a_name() {
        assert_eq!(User::Account("0".into()).as_token_text(), "0");
    }
}
