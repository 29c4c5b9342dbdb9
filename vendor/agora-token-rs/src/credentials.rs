//! The App ID and App Certificate: checked once, when the configuration is loaded. From then on the type is the proof.

use std::fmt;

use crate::{Error, Result};

const HEX_DIGITS: usize = 32;

/// The public identity of an Agora project: 32 hexadecimal digits, used as text in the letter case given.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AppId(String);

/// The secret that signs tokens: 32 hexadecimal digits, used as text in the letter case given.
///
/// `Debug` prints `***` and there is no `Display`, so it cannot reach a log by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct AppCertificate([u8; HEX_DIGITS]);

/// What a builder needs to issue tokens for one Agora project.
///
/// While a certificate is being rotated, mint with one pair and let verification try both certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The project's App ID, written into every token.
    pub app_id: AppId,
    /// The project's primary or secondary certificate.
    pub certificate: AppCertificate,
}

impl AppId {
    /// Accepts exactly 32 hexadecimal digits, else `InvalidAppId`.
    pub fn parse(text: &str) -> Result<Self> {
        let digits = hex_digits(text).ok_or(Error::InvalidAppId)?;
        Ok(Self(digits.iter().map(|&digit| char::from(digit)).collect()))
    }

    /// The digits as they were given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AppCertificate {
    /// Accepts exactly 32 hexadecimal digits, else `InvalidCertificate`. Letter case matters: `5CFd…` and `5cfd…` sign differently.
    pub fn parse(text: &str) -> Result<Self> {
        hex_digits(text).map(Self).ok_or(Error::InvalidCertificate)
    }

    /// The digits as ASCII, which is what Agora hashes: the certificate is never hex-decoded.
    pub(crate) fn ascii(&self) -> &[u8; HEX_DIGITS] {
        &self.0
    }
}

impl Credentials {
    /// Checks both texts: `InvalidAppId` or `InvalidCertificate`.
    pub fn parse(app_id: &str, certificate: &str) -> Result<Self> {
        Ok(Self { app_id: AppId::parse(app_id)?, certificate: AppCertificate::parse(certificate)? })
    }
}

impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AppCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AppCertificate(***)")
    }
}

fn hex_digits(text: &str) -> Option<[u8; HEX_DIGITS]> {
    let digits: [u8; HEX_DIGITS] = text.as_bytes().try_into().ok()?;
    digits.iter().all(u8::is_ascii_hexdigit).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_never_shows_the_certificate() {
        let secret = "5CFd2fd1755d40ecb72977518be15d3b";
        let credentials = Credentials::parse("970CA35de60c44645bbae8a215061b33", secret).unwrap();
        let printed = format!("{credentials:?} {:?}", credentials.certificate);
        assert!(printed.contains("***"));
        assert!(!printed.contains(&secret[..4]));
    }

    #[test]
    fn letter_case_makes_another_certificate() {
        let given = AppCertificate::parse("5CFd2fd1755d40ecb72977518be15d3b").unwrap();
        let lower = AppCertificate::parse("5cfd2fd1755d40ecb72977518be15d3b").unwrap();
        assert_ne!(given, lower);
    }
}
