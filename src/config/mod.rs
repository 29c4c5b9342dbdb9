//! Settings: one table, read once at start. The only place that looks at the environment.
//!
//! `.env.example`, `samvad config` and the parsed [`Config`] all come from [`SETTINGS`], so they cannot drift apart.

mod attachments;
mod keys;
mod limits;
mod media_tokens;
mod push;
#[cfg(test)]
mod push_tests;
mod raw;
mod reader;
mod settings;
mod stores;
#[cfg(test)]
mod tests;
mod traces;
mod values;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

pub use attachments::{Attachments, S3};
pub use keys::{AdminKey, MIN_SECRET_LEN, TokenKeys};
pub use limits::{Limits, RateProfile};
pub use media_tokens::Agora;
pub use push::{ApplePush, Firebase, PushConfig, PushMessages};
pub use raw::{Mistakes, Origin, Raw};
use reader::Reader;
pub use settings::{SETTINGS, Setting, env_example};
pub use stores::{BusConfig, StoreConfig, database_in};
pub use traces::TraceConfig;
pub use values::{Cors, duration};
use values::{cors, hosts, networks};

/// The shortest `TOKEN_MAX_AGE`: servers' clocks differ, and a revocation must reach all of them.
const SHORTEST_MAX_AGE: Duration = Duration::from_secs(3600);

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines, one object per line.
    Json,
}

/// The settings, understood. Each field names its variable; defaults and units are in [`SETTINGS`].
#[derive(Clone)]
pub struct Config {
    /// `HOST`.
    pub host: IpAddr,
    /// `PORT`.
    pub port: u16,
    /// `MONGODB_URI`, `MONGODB_DB`, `DATA_DIR`.
    pub store: StoreConfig,
    /// `REDIS_URL`, `REDIS_PREFIX`; none when this is the only node.
    pub bus: Option<BusConfig>,
    /// `JWT_SECRET`, `JWT_PUBLIC_KEY`, `JWKS_URL`.
    pub token_keys: TokenKeys,
    /// `JWT_ISSUER`.
    pub jwt_issuer: Option<String>,
    /// `JWT_AUDIENCE`.
    pub jwt_audience: Option<String>,
    /// `ADMIN_SECRET_KEY`, `ADMIN_KEYS`.
    pub admin_keys: Vec<AdminKey>,
    /// `CORS_ORIGINS`.
    pub cors: Cors,
    /// `TRUSTED_PROXIES`.
    pub trusted_proxies: Vec<IpNet>,
    /// `MAX_CONNECTIONS`.
    pub max_connections: usize,
    /// `MAX_CONNECTIONS_PER_ADDRESS`.
    pub max_connections_per_address: usize,
    /// `MAX_SOCKETS_PER_IDENTITY`.
    pub max_sockets_per_identity: usize,
    /// `RATE_PROFILE`.
    pub rate_profile: RateProfile,
    /// `HANDSHAKES_PER_MINUTE`; none is no limit, which `RATE_PROFILE=off` makes it too.
    pub handshakes_per_minute: Option<NonZeroU32>,
    /// `ENGINE_IO_3`.
    pub engine_io_3: bool,
    /// `ALLOW_QUERY_TOKEN`.
    pub allow_query_token: bool,
    /// `CONSOLE`: the pages at `/console` and `/docs` are there.
    pub console: bool,
    /// `DEMO`, or the embedded store on a loopback address with no proxy in front of it.
    pub offer_demo: bool,
    /// `DELETE_WINDOW`.
    pub delete_window: Duration,
    /// `TOKEN_MAX_AGE`.
    pub token_max_age: Duration,
    /// `RELATION_CHECK`; nothing is auto.
    pub relation_check: Option<bool>,
    /// `MEDIA_HOSTS`, in lower case; none is any.
    pub media_hosts: Vec<String>,
    /// `PUBLIC_URL`, `MEDIA_*`, `S3_*`.
    pub attachments: Attachments,
    /// `LIMIT_*`.
    pub limits: Limits,
    /// `AGORA_*`; none without credentials.
    pub agora: Option<Agora>,
    /// `RING_TIMEOUT_SECONDS`.
    pub ring_timeout: Duration,
    /// `CALL_BUSY`.
    pub call_busy: bool,
    /// `CALL_LOGS`.
    pub call_logs: bool,
    /// `CALLER_PHONE`.
    pub caller_phone: bool,
    /// `FIREBASE_*`, `APNS_*`, `PUSH_MESSAGES`, `WEBHOOK_*`.
    pub push: PushConfig,
    /// `DRAIN_SECONDS`.
    pub drain: Duration,
    /// `LEGACY_HISTORY_RESPONSE`.
    pub legacy_history_response: bool,
    /// `ECHO_TO_FLUTTER_SENDER`.
    pub echo_to_flutter_sender: bool,
    /// `METRICS_TOKEN`.
    pub metrics_token: Option<String>,
    /// `OTEL_*`; none: no traces.
    pub traces: Option<TraceConfig>,
    /// `LOG_FORMAT`.
    pub log_format: LogFormat,
    /// `RUST_LOG`.
    pub log_filter: String,
}

impl Config {
    /// Understands the values. Errors: every mistake there is, together.
    pub fn parse(raw: &Raw) -> Result<Self, Mistakes> {
        let mut reader = Reader { raw, mistakes: Vec::new() };
        let host: IpAddr = reader.value("HOST", "an IP address", |t| t.parse().ok()).unwrap_or(IpAddr::from([127, 0, 0, 1]));
        let data_dir = PathBuf::from(reader.text("DATA_DIR"));
        let store = match raw.get("MONGODB_URI") {
            None => StoreConfig::Embedded(data_dir.clone()),
            Some(uri) => StoreConfig::Mongo {
                uri: uri.to_owned(),
                database: raw.get("MONGODB_DB").map(str::to_owned).or_else(|| database_in(uri)).unwrap_or_else(|| "samvad".into()),
            },
        };
        let embedded = matches!(store, StoreConfig::Embedded(_));
        let bus = reader.bus(embedded);
        let token_keys = reader.token_keys(embedded).unwrap_or_else(|| TokenKeys::KeptSecret(data_dir.join("jwt-secret")));
        let rate_profile = reader.rate_profile();
        let trusted_proxies =
            reader.value("TRUSTED_PROXIES", "addresses or networks like 10.0.0.0/8, separated by commas", networks).unwrap_or_default();
        let behind_proxies = !trusted_proxies.is_empty();
        let config = Self {
            host,
            port: reader.value("PORT", "a port number from 0 to 65535", |t| t.parse().ok()).unwrap_or_default(),
            store,
            bus,
            token_keys,
            jwt_issuer: raw.get("JWT_ISSUER").map(str::to_owned),
            jwt_audience: raw.get("JWT_AUDIENCE").map(str::to_owned),
            admin_keys: reader.admin_keys(),
            cors: reader.value("CORS_ORIGINS", "* or origins like https://app.example.com, separated by commas", cors).unwrap_or(Cors::Any),
            trusted_proxies,
            max_connections: reader.count("MAX_CONNECTIONS", 1),
            max_connections_per_address: reader.count("MAX_CONNECTIONS_PER_ADDRESS", 1),
            max_sockets_per_identity: reader.count("MAX_SOCKETS_PER_IDENTITY", 1),
            rate_profile,
            handshakes_per_minute: reader.handshakes_per_minute(rate_profile),
            engine_io_3: reader.switch("ENGINE_IO_3"),
            allow_query_token: reader.switch("ALLOW_QUERY_TOKEN"),
            console: reader.switch("CONSOLE"),
            offer_demo: reader.automatic("DEMO").unwrap_or(embedded && host.is_loopback() && !behind_proxies),
            delete_window: reader
                .value("DELETE_WINDOW", "a duration like 500ms, 10s, 5m or 24h, or plain seconds", duration)
                .unwrap_or_default(),
            token_max_age: reader
                .value("TOKEN_MAX_AGE", "a duration of at least an hour, like 24h", |t| duration(t).filter(|age| *age >= SHORTEST_MAX_AGE))
                .unwrap_or_default(),
            relation_check: reader.automatic("RELATION_CHECK"),
            media_hosts: reader
                .value("MEDIA_HOSTS", "hosts like cdn.example.com or *.example.com, separated by commas", hosts)
                .unwrap_or_default(),
            attachments: reader.attachments(host, &data_dir),
            limits: Limits {
                messages_per_minute: reader.limit("LIMIT_MESSAGES_PER_MINUTE"),
                calls_per_hour: reader.limit("LIMIT_CALLS_PER_HOUR"),
                joins_per_minute: reader.limit("LIMIT_JOINS_PER_MINUTE"),
                history_per_minute: reader.limit("LIMIT_HISTORY_PER_MINUTE"),
                other_per_minute: reader.limit("LIMIT_OTHER_PER_MINUTE"),
            },
            agora: reader.agora(),
            ring_timeout: reader.seconds("RING_TIMEOUT_SECONDS", 3600),
            call_busy: reader.switch("CALL_BUSY"),
            call_logs: reader.switch("CALL_LOGS"),
            caller_phone: reader.switch("CALLER_PHONE"),
            push: reader.push(),
            drain: reader
                .value("DRAIN_SECONDS", "whole seconds from 0 to 300", |t| t.parse().ok().filter(|s| *s <= 300))
                .map_or(Duration::ZERO, Duration::from_secs),
            legacy_history_response: reader.switch("LEGACY_HISTORY_RESPONSE"),
            echo_to_flutter_sender: reader.switch("ECHO_TO_FLUTTER_SENDER"),
            metrics_token: reader.secret("METRICS_TOKEN"),
            traces: reader.traces(),
            log_format: reader
                .value("LOG_FORMAT", "text, pretty (the same) or json", |t| match t {
                    "text" | "pretty" => Some(LogFormat::Text),
                    "json" => Some(LogFormat::Json),
                    _ => None,
                })
                .unwrap_or(LogFormat::Text),
            log_filter: reader.text("RUST_LOG"),
        };
        if reader.mistakes.is_empty() { Ok(config) } else { Err(Mistakes(reader.mistakes)) }
    }
}
