//! Reading a 007 token. What is read here is a claim by whoever wrote it, until a verdict has been asked for.

use std::fmt;

use super::body::lifetime;
use super::compression::inflate;
use super::{Claims, Service};
use crate::text::{TokenVersion, decode_base64};
use crate::wire::Reader;
use crate::{AppId, Error, Result, Timestamp};

/// A 007 token that could be read. Reading it proves nothing: ask [`verify_signature`](Self::verify_signature) and the other verdicts.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken2 {
    claims: Claims,
    service_count: u16,
    unknown_service_type: Option<u16>,
    unread_bytes: usize,
    pub(super) signature: Vec<u8>,
    /// The very bytes the signature covers. Verdicts use these and never a re-encoding of the claims.
    pub(super) signed: Vec<u8>,
}

impl AccessToken2 {
    /// Reads a token, in memory bounded by [`MAX_BODY_BYTES`](super::MAX_BODY_BYTES).
    ///
    /// Strict where readers differ: the URL-safe alphabet and white space around the token are refused, and so are bytes after the
    /// compressed stream, which no signature covers.
    /// Errors: `UnsupportedVersion` without `007` in front; `Malformed` for everything else.
    pub fn parse(text: &str) -> Result<Self> {
        let body = inflate(&decode_base64(TokenVersion::V007.strip_from(text)?)?)?;
        let mut input = Reader::new(&body);
        let signature = input.bytes("signature")?.to_vec();
        let signed = input.rest().to_vec();

        let app_id = input.text("app id")?;
        let mut claims = Claims {
            app_id: AppId::parse(&app_id).map_err(|_| Error::Malformed { at: "app id" })?,
            issued_at: Timestamp::from_unix_seconds(input.u32("issue time")?),
            lifetime: lifetime(input.u32("lifetime")?),
            salt: input.u32("salt")?,
            services: Vec::new(),
        };
        let service_count = input.u16("service count")?;
        let mut unknown_service_type = None;
        for _ in 0..service_count {
            let service_type = input.u16("service type")?;
            let Some(service) = Service::read(service_type, &mut input)? else {
                unknown_service_type = Some(service_type);
                break;
            };
            claims.services.push(service);
        }
        Ok(Self { claims, service_count, unknown_service_type, unread_bytes: input.rest().len(), signature, signed })
    }

    /// What the token says, with the services in wire order. Incomplete if there is an [unknown service](Self::unknown_service_type).
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// What the token says, without the signature.
    pub fn into_claims(self) -> Claims {
        self.claims
    }

    /// How many services the token says it has: more than the claims hold if one of them is unknown.
    pub fn service_count(&self) -> u16 {
        self.service_count
    }

    /// The service type at which reading stopped because this crate does not know it. The signature still covers everything.
    pub fn unknown_service_type(&self) -> Option<u16> {
        self.unknown_service_type
    }

    /// How many signed bytes were left after the last service, or after an unknown service type. Zero in a token of today.
    pub fn unread_bytes(&self) -> usize {
        self.unread_bytes
    }

    /// The signature as it stands in the token: 32 bytes if it is to have a chance.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }
}

/// Leaves out the signature and the signed bytes: with them a log line could be turned back into the token.
impl fmt::Debug for AccessToken2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken2")
            .field("claims", &self.claims)
            .field("service_count", &self.service_count)
            .field("unknown_service_type", &self.unknown_service_type)
            .field("unread_bytes", &self.unread_bytes)
            .finish_non_exhaustive()
    }
}
