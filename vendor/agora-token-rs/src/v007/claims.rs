//! The exact content of a 007 token: what is signed, field by field.

use std::time::Duration;

use super::body::wire_seconds;
use super::compression::deflate;
use super::signing::SigningKey;
use super::{AccessToken2, Service};
use crate::text::{TokenText, TokenVersion};
use crate::wire::Writer;
use crate::{AppCertificate, AppId, Error, Result, Timestamp};

/// Everything a 007 token says. It may hold any value the format can hold, sensible or not.
///
/// To issue tokens use the [`Builder`](super::Builder), which keeps to what Agora honours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The project the token is for.
    pub app_id: AppId,
    /// When the token was issued; all lifetimes count from here.
    pub issued_at: Timestamp,
    /// How long the token lives, whatever its privileges say. Written in whole seconds.
    pub lifetime: Duration,
    /// Makes two otherwise equal tokens differ.
    pub salt: u32,
    /// What the token grants. Signing writes it in ascending order of type, equal types in the order given; reading keeps wire order.
    pub services: Vec<Service>,
}

impl Claims {
    /// Makes the token.
    ///
    /// The text differs from that of other implementations, and may differ between releases of this one, because compression is
    /// free to choose. The inflated body does not.
    /// Errors: `NoService`, `FieldTooLong`, `LifetimeTooLong` (over `u32::MAX` seconds).
    pub fn sign(&self, certificate: &AppCertificate) -> Result<TokenText> {
        let signed = self.signed_part()?;
        let signature = SigningKey::derive(certificate, self.issued_at, self.salt).sign(&signed);
        let mut body = Writer::default();
        body.string(signature, "signature")?;
        body.raw(&signed);
        TokenText::assemble(TokenVersion::V007, "", &deflate(&body.into_bytes())?)
    }

    fn signed_part(&self) -> Result<Vec<u8>> {
        if self.services.is_empty() {
            return Err(Error::NoService);
        }
        let mut in_wire_order: Vec<&Service> = self.services.iter().collect();
        in_wire_order.sort_by_key(|service| service.payload.service_type());

        let mut out = Writer::default();
        out.string(self.app_id.as_str(), "app id")?;
        out.u32(self.issued_at.unix_seconds());
        out.u32(wire_seconds(self.lifetime)?);
        out.u32(self.salt);
        out.count(in_wire_order.len(), "services")?;
        for service in in_wire_order {
            service.write(&mut out)?;
        }
        Ok(out.into_bytes())
    }
}

impl From<AccessToken2> for Claims {
    fn from(token: AccessToken2) -> Self {
        token.into_claims()
    }
}
