//! How tokens for the sound and picture of calls are made.

use std::time::Duration;

use agora_token_rs::{AppCertificate, AppId, Credentials, TokenVersion};

use super::reader::Reader;

/// How media tokens are made.
#[derive(Clone, Debug)]
pub struct Agora {
    /// `AGORA_APP_ID`, `AGORA_APP_CERTIFICATE`.
    pub credentials: Credentials,
    /// `AGORA_TOKEN_VERSION`.
    pub version: TokenVersion,
    /// `AGORA_TOKEN_SECONDS`.
    pub lifetime: Duration,
}

impl Reader<'_> {
    pub(super) fn agora(&mut self) -> Option<Agora> {
        let version = self.value("AGORA_TOKEN_VERSION", "006 or 007", |text| match text {
            "006" => Some(TokenVersion::V006),
            "007" => Some(TokenVersion::V007),
            _ => None,
        });
        let lifetime = self.seconds("AGORA_TOKEN_SECONDS", 86_400);
        let (app_id, certificate) = match (self.raw.get("AGORA_APP_ID"), self.raw.get("AGORA_APP_CERTIFICATE")) {
            (None, None) => return None,
            (Some(app_id), Some(certificate)) => (app_id, certificate),
            (Some(_), None) => {
                self.mistakes.push("AGORA_APP_CERTIFICATE must be set when AGORA_APP_ID is".into());
                return None;
            }
            (None, Some(_)) => {
                self.mistakes.push("AGORA_APP_ID must be set when AGORA_APP_CERTIFICATE is".into());
                return None;
            }
        };
        // Never the value itself: it may be the certificate, put into the wrong line.
        for (name, is_wrong) in
            [("AGORA_APP_ID", AppId::parse(app_id).is_err()), ("AGORA_APP_CERTIFICATE", AppCertificate::parse(certificate).is_err())]
        {
            if is_wrong {
                self.mistakes.push(format!("{name} must be 32 hex digits"));
            }
        }
        Some(Agora { credentials: Credentials::parse(app_id, certificate).ok()?, version: version?, lifetime })
    }
}
