//! HMAC-SHA-256 with the short, fixed-size keys tokens use, and the CRC of 006.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const BLOCK_BYTES: usize = 64;

/// The state after `message`; finish it with [`digest`], or compare in constant time with `verify_slice`.
pub(crate) fn hmac_sha256<const N: usize>(key: &[u8; N], message: &[u8]) -> Hmac<Sha256> {
    const { assert!(N <= BLOCK_BYTES, "a longer key would have to be hashed first") };
    // HMAC itself pads short keys with zeros; doing it here needs no fallible constructor.
    let mut block = [0; BLOCK_BYTES];
    block[..N].copy_from_slice(key);
    let mut mac = Hmac::<Sha256>::new(&block.into());
    mac.update(message);
    mac
}

/// The 32 bytes of a finished HMAC.
pub(crate) fn digest(mac: Hmac<Sha256>) -> [u8; 32] {
    mac.finalize().into_bytes().into()
}

/// The zlib CRC-32 of a channel or user text in a 006 token.
pub(crate) fn crc32(text: &str) -> u32 {
    crc32fast::hash(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_vectors() {
        let vectors: serde_json::Value = serde_json::from_str(include_str!("../tests/data/agora-token-vectors.json")).unwrap();
        let pairs = vectors["primitives"]["crc32"].as_array().unwrap();
        assert_eq!(pairs.len(), 8);
        for pair in pairs {
            assert_eq!(u64::from(crc32(pair[0].as_str().unwrap())), pair[1].as_u64().unwrap(), "{pair}");
        }
    }

    #[test]
    fn a_keyed_hash_is_that_of_rfc_4231() {
        let found = digest(hmac_sha256(b"Jefe", b"what do ya want for nothing?"));
        assert_eq!(found[..8], [0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e]);
    }
}
