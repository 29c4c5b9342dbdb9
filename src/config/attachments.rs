//! Where attachments are kept and how they are found.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::reader::Reader;
use super::values::jwks_url;

/// Where attachments are kept and how they are found. Has no `Debug`: it holds secrets.
#[derive(Clone)]
pub struct Attachments {
    /// `PUBLIC_URL`; empty where only the listening port is known, and that not yet.
    pub public_url: String,
    /// `MEDIA_MAX_BYTES`.
    pub max_bytes: u64,
    /// `MEDIA_LINK_SECONDS`.
    pub link_lifetime: Duration,
    /// `MEDIA_SECRET`.
    pub secret: Option<String>,
    /// Below `DATA_DIR`.
    pub folder: PathBuf,
    /// `S3_*`; none: the folder.
    pub bucket: Option<S3>,
}

/// A bucket of S3-compatible storage. Has no `Debug`: it holds a secret.
#[derive(Clone)]
pub struct S3 {
    /// `S3_ENDPOINT`.
    pub endpoint: String,
    /// `S3_PUBLIC_ENDPOINT`.
    pub public_endpoint: String,
    /// `S3_BUCKET`.
    pub bucket: String,
    /// `S3_REGION`.
    pub region: String,
    /// `S3_PATH_STYLE`.
    pub path_style: bool,
    /// `S3_ACCESS_KEY_ID`.
    pub access_key: String,
    /// `S3_SECRET_ACCESS_KEY`.
    pub secret_key: String,
}

impl Reader<'_> {
    pub(super) fn attachments(&mut self, host: IpAddr, data_dir: &Path) -> Attachments {
        let own = match self.raw.get("PORT").and_then(|port| port.parse::<u16>().ok()).unwrap_or(3000) {
            0 => String::new(),
            port => format!("http://{}", std::net::SocketAddr::new(host, port)),
        };
        let is_url = |text: &str| (text.starts_with("https://") || text.starts_with("http://")) && text.parse::<http::Uri>().is_ok();
        let public_url = match self.raw.get("PUBLIC_URL") {
            None => own,
            Some(_) => self
                .value("PUBLIC_URL", "an address like https://chat.example.com", |t| is_url(t).then(|| t.trim_end_matches('/').to_owned()))
                .unwrap_or_default(),
        };
        let max_bytes =
            self.value("MEDIA_MAX_BYTES", "whole bytes from 1 to 1073741824", |t| t.parse().ok().filter(|n| (1..=1 << 30).contains(n)));
        let lifetime = self.value("MEDIA_LINK_SECONDS", "whole seconds from 120 to 604800", |t| {
            t.parse().ok().filter(|seconds| (120..=604_800).contains(seconds))
        });
        Attachments {
            public_url,
            max_bytes: max_bytes.unwrap_or(1),
            link_lifetime: Duration::from_secs(lifetime.unwrap_or(120)),
            secret: self.secret("MEDIA_SECRET"),
            folder: data_dir.join("media"),
            bucket: self.s3(),
        }
    }

    pub(super) fn s3(&mut self) -> Option<S3> {
        let endpoint = self.raw.get("S3_ENDPOINT")?.to_owned();
        let path_style = self.switch("S3_PATH_STYLE");
        let mut require = |name: &str| {
            let value = self.raw.get(name).map(str::to_owned);
            if value.is_none() {
                self.mistakes.push(format!("{name} must be set when S3_ENDPOINT is"));
            }
            value
        };
        let [bucket, access_key, secret_key] = ["S3_BUCKET", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"].map(&mut require);
        let public_endpoint = self.raw.get("S3_PUBLIC_ENDPOINT").map_or_else(|| endpoint.clone(), str::to_owned);
        for (name, address) in [("S3_ENDPOINT", &endpoint), ("S3_PUBLIC_ENDPOINT", &public_endpoint)] {
            // The same trust as in an issuer's keys: encrypted, or this machine.
            if jwks_url(address).is_none() {
                self.mistakes.push(format!("{name} must be like https://host, without user and password; http to a loopback address only"));
            }
        }
        let is_name = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'.');
        if bucket.as_ref().is_some_and(|name| !name.bytes().all(is_name)) {
            self.mistakes.push("S3_BUCKET must be the name of a bucket: lower-case letters, digits, - and .".into());
        }
        let region = self.text("S3_REGION");
        Some(S3 { endpoint, public_endpoint, bucket: bucket?, region, path_style, access_key: access_key?, secret_key: secret_key? })
    }
}
