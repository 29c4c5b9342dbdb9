//! The two-step signing key of 007.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::hashing::{digest, hmac_sha256};
use crate::{AppCertificate, Error, Result, Timestamp};

/// The key that signs one token. It depends on that token's issue time and salt, so it is derived afresh each time.
pub(super) struct SigningKey([u8; 32]);

impl SigningKey {
    pub(super) fn derive(certificate: &AppCertificate, issued_at: Timestamp, salt: u32) -> Self {
        // The certificate is the *message*; the public numbers are the keys. That is how Agora wrote it down.
        let first = digest(hmac_sha256(&issued_at.unix_seconds().to_le_bytes(), certificate.ascii()));
        Self(digest(hmac_sha256(&salt.to_le_bytes(), &first)))
    }

    pub(super) fn sign(&self, signed: &[u8]) -> [u8; 32] {
        digest(self.mac(signed))
    }

    /// Compares in constant time; any length but 32 bytes fails.
    pub(super) fn verify(&self, signed: &[u8], signature: &[u8]) -> Result<()> {
        self.mac(signed).verify_slice(signature).map_err(|_| Error::SignatureMismatch)
    }

    fn mac(&self, signed: &[u8]) -> Hmac<Sha256> {
        hmac_sha256(&self.0, signed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn every_step_of_the_signing_key_is_that_of_the_vectors() {
        let vectors: serde_json::Value = serde_json::from_str(include_str!("../../tests/data/agora-token-vectors.json")).unwrap();
        let steps = &vectors["primitives"]["signingKeySteps"];
        let certificate = AppCertificate::parse(steps["appCertificate"].as_str().unwrap()).unwrap();
        let number = |name: &str| u32::try_from(steps[name].as_u64().unwrap()).unwrap();

        let first = digest(hmac_sha256(&number("issueTs").to_le_bytes(), certificate.ascii()));
        assert_eq!(hex(&first), steps["afterIssueTsHex"].as_str().unwrap());
        let key = SigningKey::derive(&certificate, Timestamp::from_unix_seconds(number("issueTs")), number("salt"));
        assert_eq!(hex(&key.0), steps["signingKeyHex"].as_str().unwrap());
    }

    #[test]
    fn every_007_vector_has_our_signing_key() {
        let vectors: serde_json::Value = serde_json::from_str(include_str!("../../tests/data/agora-token-vectors.json")).unwrap();
        let cases = vectors["vectors007"].as_array().unwrap();
        assert_eq!(cases.len(), 68);
        for case in cases {
            let inputs = &case["inputs"];
            let certificate = AppCertificate::parse(inputs["appCertificate"].as_str().unwrap()).unwrap();
            let number = |name: &str| u32::try_from(inputs[name].as_u64().unwrap()).unwrap();
            let key = SigningKey::derive(&certificate, Timestamp::from_unix_seconds(number("issueTs")), number("salt"));
            assert_eq!(hex(&key.0), case["expected"]["signingKeyHex"].as_str().unwrap(), "{}", case["id"]);
        }
    }
}
