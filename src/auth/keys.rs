//! Keys that tokens are checked with, each pinned to the one algorithm it is for, and where the server's own come from.

use std::io::{self, Write};
use std::path::Path;

use aws_lc_rs::rsa;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;

use crate::error::AuthError;

use super::LEEWAY;
use super::claims::Claims;

/// What every token must say beside its signature; nothing is asked for when it is not set.
#[derive(Clone, Default)]
pub(super) struct Expected {
    /// `JWT_ISSUER`: the claim `iss`.
    pub issuer: Option<String>,
    /// `JWT_AUDIENCE`: the claim `aud`, or one of its list.
    pub audience: Option<String>,
}

/// A key with the one algorithm it counts for, so that a token cannot choose a weaker one.
pub(super) struct Key {
    algorithm: Algorithm,
    decoding: DecodingKey,
    validation: Validation,
}

impl Key {
    fn new(algorithm: Algorithm, decoding: DecodingKey, expected: &Expected) -> Self {
        // `exp` is required by default.
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY.as_secs();
        validation.validate_nbf = true;
        validation.validate_aud = expected.audience.is_some();
        if let Some(issuer) = &expected.issuer {
            validation.set_issuer(&[issuer]);
            validation.required_spec_claims.insert("iss".into());
        }
        if let Some(audience) = &expected.audience {
            validation.set_audience(&[audience]);
            validation.required_spec_claims.insert("aud".into());
        }
        Self { algorithm, decoding, validation }
    }

    /// A shared secret, for HS256.
    pub(super) fn secret(secret: &str, expected: &Expected) -> Self {
        Self::new(Algorithm::HS256, DecodingKey::from_secret(secret.as_bytes()), expected)
    }

    /// An RSA key of 2048 to 8192 bits, for RS256. `None` if it is none.
    pub(super) fn rsa(n: &[u8], e: &[u8], expected: &Expected) -> Option<Self> {
        let n = &n[n.iter().position(|byte| *byte != 0)?..];
        let bits = n.len() * 8 - usize::try_from(n[0].leading_zeros()).ok()?;
        // Parsing leaves the size, like the exponent, to the first signature.
        let parsed = RsaPublicKeyComponents { n, e }.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256);
        ((2048..=8192).contains(&bits) && parsed.is_ok())
            .then(|| Self::new(Algorithm::RS256, DecodingKey::from_rsa_raw_components(n, e), expected))
    }

    /// A point of the curve P-256, uncompressed or in a SubjectPublicKeyInfo, for ES256. `None` if it is none.
    pub(super) fn p256(bytes: &[u8], expected: &Expected) -> Option<Self> {
        ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, bytes).ok()?;
        Some(Self::new(Algorithm::ES256, DecodingKey::from_ec_der(bytes), expected))
    }

    /// An Ed25519 key, its 32 bytes or in a SubjectPublicKeyInfo, for EdDSA. `None` if it is none.
    pub(super) fn ed25519(bytes: &[u8], expected: &Expected) -> Option<Self> {
        ParsedPublicKey::new(&ED25519, bytes).ok()?;
        Some(Self::new(Algorithm::EdDSA, DecodingKey::from_ed_der(bytes), expected))
    }

    /// The algorithm it counts for.
    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The claims of a token this key signed.
    pub(super) fn check(&self, token: &str) -> Result<Claims, AuthError> {
        let token = jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation).map_err(|e| match e.kind() {
            ErrorKind::ExpiredSignature => AuthError::Expired,
            _ => AuthError::Invalid,
        })?;
        // RFC 7515 4.1.11: what a token says must be understood, must be understood. We understand none of it.
        if token.header.crit.is_some() { Err(AuthError::Invalid) } else { Ok(token.claims) }
    }
}

/// Reads the one public key of a PEM file (`BEGIN PUBLIC KEY`); its type decides the algorithm.
///
/// Errors: the file cannot be read, holds no or several public keys, or one of another kind. Nothing of the content is in them.
pub(super) fn public_key(path: &Path, expected: &Expected) -> io::Result<Key> {
    let text = std::fs::read(path)?;
    // Looks at sections PUBLIC KEY only; a private key in the file is not even parsed.
    let mut sections = SubjectPublicKeyInfoDer::pem_slice_iter(&text);
    let (Some(Ok(key)), None) = (sections.next(), sections.next()) else {
        return Err(io::Error::other("it must hold exactly one section BEGIN PUBLIC KEY (openssl pkey -pubout makes one)"));
    };
    let rsa = |key: &[u8]| {
        let components = RsaPublicKeyComponents::<Vec<u8>>::from(&rsa::PublicKey::from_der(key).ok()?);
        Key::rsa(&components.n, &components.e, expected)
    };
    // Each accepts its own type of key only, so the order says nothing.
    let key = Key::ed25519(&key, expected).or_else(|| Key::p256(&key, expected)).or_else(|| rsa(&key));
    key.ok_or_else(|| io::Error::other("its key must be RSA of 2048 to 8192 bits, of the curve P-256, or Ed25519"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_rsa_key_counts_from_2048_bits_on_however_it_is_padded() {
        let padded = |zeros: usize, first: u8, bytes: usize| [vec![0; zeros], vec![first], vec![0xff; bytes - 1]].concat();
        let counts = |n: Vec<u8>| Key::rsa(&n, &[1, 0, 1], &Expected::default()).is_some();
        assert!(counts(padded(0, 0x80, 256)) && counts(padded(3, 0xff, 256)) && counts(padded(0, 0xff, 512)));
        for short in [padded(0, 0x7f, 256), padded(1, 0x7f, 256), padded(9, 0xff, 255), padded(0, 0xff, 128), vec![0; 256], vec![]] {
            assert!(!counts(short));
        }
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
}
