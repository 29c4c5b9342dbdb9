//! Settings: one table, read once at start. The only place that looks at the environment.
//!
//! `.env.example`, `samvad config` and the parsed [`Config`] all come from [`SETTINGS`], so they cannot drift apart.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agora_token_rs::{AppCertificate, AppId, Credentials, TokenVersion};
use ipnet::{IpNet, Ipv4Net};
use redis::IntoConnectionInfo;

/// The shortest `TOKEN_MAX_AGE`: servers' clocks differ, and a revocation must reach all of them.
const SHORTEST_MAX_AGE: Duration = Duration::from_secs(3600);
/// The shortest admin key and JWT secret accepted.
pub const MIN_SECRET_LEN: usize = 16;

/// One setting, as documented to operators.
pub struct Setting {
    /// Name of the environment variable.
    pub name: &'static str,
    /// Default as it would be written; empty when there is none.
    pub default: &'static str,
    /// True if the value is never shown.
    pub secret: bool,
    /// What it changes, with its unit.
    pub about: &'static str,
}

const fn setting(name: &'static str, default: &'static str, about: &'static str) -> Setting {
    Setting { name, default, secret: false, about }
}

const fn secret(name: &'static str, about: &'static str) -> Setting {
    Setting { name, default: "", secret: true, about }
}

/// Every setting there is, in the order of `.env.example`.
pub const SETTINGS: &[Setting] = &[
    setting("HOST", "127.0.0.1", "Address to listen on. 0.0.0.0 listens on all of them."),
    setting("PORT", "3000", "Port to listen on; 0 takes a free one and prints it."),
    secret(
        "MONGODB_URI",
        "MongoDB to keep documents in, as mongodb://host/?options. Unset: an embedded SQLite file in DATA_DIR, with the same behaviour.",
    ),
    setting("MONGODB_DB", "", "Database name. Unset: the one named in MONGODB_URI, or else samvad."),
    secret(
        "REDIS_URL",
        "Redis (6 or later, not a cluster) over which several nodes on one MONGODB_URI hear each other, as redis://host:6379, or rediss:// for TLS. Unset: this is the only node.",
    ),
    setting("REDIS_PREFIX", "samvad:", "What the names of all channels and keys in Redis begin with. The same on all nodes."),
    setting("DATA_DIR", "./data", "Folder of the embedded store (samvad.db) and of the generated JWT secret (jwt-secret)."),
    secret(
        "JWT_SECRET",
        "HS256 secret that client tokens are signed with, at least 16 characters. At most one of this, JWT_PUBLIC_KEY and JWKS_URL is set. None on the embedded store: a random secret is made and kept in DATA_DIR. With MONGODB_URI one of the three must be set.",
    ),
    setting(
        "JWT_PUBLIC_KEY",
        "",
        "PEM file with the public key that client tokens are checked with: RSA (then they must be RS256), P-256 (ES256) or Ed25519 (EdDSA). The server then cannot make tokens.",
    ),
    setting(
        "JWKS_URL",
        "",
        "Where the issuer of client tokens publishes its public keys, https (http to a loopback address only). Fetched at start, every 10 minutes, and when a token names an unknown key. The server then cannot make tokens.",
    ),
    setting("JWT_ISSUER", "", "What the claim iss of every token must be. Unset: not checked."),
    setting("JWT_AUDIENCE", "", "What the claim aud of every token must be, or have in its list. Unset: not checked."),
    secret(
        "ADMIN_SECRET_KEY",
        "Shared admin key, at least 16 characters: as auth.token on the socket, as x-admin-key on REST. May hold any character. Unset: only tokens of type admin and ADMIN_KEYS are admins.",
    ),
    secret(
        "ADMIN_KEYS",
        "Further admin keys with names, as name:key,name:key; who used which is recorded under the name. Names: 1 to 32 letters, digits, _ and -. Keys: at least 16 characters, without : and comma.",
    ),
    setting(
        "CORS_ORIGINS",
        "*",
        "Browser origins that may connect, separated by commas. * allows any, without credentials; a list allows credentials, and handshakes from other origins are refused.",
    ),
    setting(
        "TRUSTED_PROXIES",
        "",
        "Proxies in front of the server, as addresses or networks like 10.0.0.0/8, separated by commas. Only their X-Forwarded-For is believed. Unset: nobody's.",
    ),
    setting(
        "MAX_CONNECTIONS",
        "20000",
        "TCP connections at once, 1 to 1000000. Beyond it clients get 503, and /health and /ready still answer. Keep it below the limit of open files.",
    ),
    setting(
        "MAX_CONNECTIONS_PER_ADDRESS",
        "2000",
        "TCP connections at once from one IPv4 address or IPv6 /64 network; trusted proxies have no limit. A mobile carrier may hide thousands of phones behind one address.",
    ),
    setting(
        "MAX_SOCKETS_PER_IDENTITY",
        "50",
        "Sockets of one person at once; a further one closes the oldest. All admins together are one person and have 1000, or this if it is more.",
    ),
    setting(
        "RATE_PROFILE",
        "default",
        "How much a person or address may do in a time, as in docs/protocol.md: default; strict: exactly 10 messages a minute and 5 calls an hour for all but admins, half the handshakes; off: no such limits, for tests and benches.",
    ),
    setting(
        "HANDSHAKES_PER_MINUTE",
        "1200",
        "New sessions a minute from one client address (IPv6: /64 network), at most 1000000; as many may come at once. 0: no limit. Unset with RATE_PROFILE=strict: 600.",
    ),
    setting("ENGINE_IO_3", "on", "off: clients of Engine.IO 3 (socket.io-client 1 and 2, old Flutter apps) are refused."),
    setting(
        "ALLOW_QUERY_TOKEN",
        "off",
        "on: Engine.IO 4 clients may put the token into the query too (Engine.IO 3 clients always may; they have no other place).",
    ),
    setting("DEMO", "off", "on: print demo tokens at start even though the server is not on the embedded store and a loopback address."),
    setting(
        "DELETE_WINDOW",
        "24h",
        "How long a sender may delete a message for everyone (500ms, 10s, 5m, 24h or plain seconds). Admins always may.",
    ),
    setting(
        "TOKEN_MAX_AGE",
        "9600h",
        "A token is refused so long after its iat, whatever its exp says; revocations are forgotten after this time, because by then what they refused is refused anyway. At least as long as the longest tokens live; at least an hour.",
    ),
    setting(
        "RELATION_CHECK",
        "auto",
        "on: user and astrologer reach each other only if they have dealt with each other. off: always. auto: on with MongoDB; on the embedded store on as soon as a relation was noted (POST /api/admin/relations).",
    ),
    setting(
        "MEDIA_HOSTS",
        "",
        "Hosts that mediaUrl and thumbnailUrl of messages may name, separated by commas: cdn.example.com, or *.example.com for every name under it. Unset: any host.",
    ),
    setting("LIMIT_MESSAGES_PER_MINUTE", "", "Messages one user or astrologer may send, instead of the profile's figure."),
    setting("LIMIT_CALLS_PER_HOUR", "", "Calls one user or astrologer may begin, instead of the profile's figure."),
    setting("LIMIT_JOINS_PER_MINUTE", "", "Rooms one user or astrologer may join or catch up, instead of the profile's figure."),
    setting("LIMIT_HISTORY_PER_MINUTE", "", "Pages of history one user or astrologer may read, instead of the profile's figure."),
    setting("LIMIT_OTHER_PER_MINUTE", "", "Other requests of one user or astrologer, instead of the profile's figure."),
    setting(
        "AGORA_APP_ID",
        "",
        "App ID of the Agora project that carries sound and picture of calls, 32 hex digits. Unset: calls ring and are logged, without media tokens.",
    ),
    secret("AGORA_APP_CERTIFICATE", "App certificate of that project, 32 hex digits. Never leaves the server."),
    setting("AGORA_TOKEN_VERSION", "007", "007, or 006 for client SDKs older than 2022."),
    setting("AGORA_TOKEN_SECONDS", "3600", "How long a media token lasts, at most 86400; clients renew it."),
    setting("RING_TIMEOUT_SECONDS", "60", "How long a call rings before it is missed, 1 to 3600."),
    setting("CALL_BUSY", "on", "off: a callee who talks to somebody else is rung all the same."),
    setting("CALL_LOGS", "on", "off: calls leave no message in the conversation."),
    setting("CALLER_PHONE", "on", "off: the callee never sees the phone number in the caller's token."),
    setting(
        "DRAIN_SECONDS",
        "5",
        "Over how many seconds clients are cut on SIGTERM, 0 to 300, so that many of them do not come back elsewhere at once. Few are cut at once.",
    ),
    setting("LEGACY_HISTORY_RESPONSE", "off", "on: history is also emitted as dm:history_response, for old scripts."),
    setting(
        "ECHO_TO_FLUTTER_SENDER",
        "off",
        "on: the shipped Flutter app hears its own messages as dm:message_received too (it shows them twice then).",
    ),
    setting("LOG_FORMAT", "text", "text or json: how log lines are written."),
    setting("RUST_LOG", "info", "What is logged, as level or target=level, separated by commas."),
];

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The file `.env` in the working folder.
    EnvFile,
    /// The environment of the process, which wins over the file.
    Environment,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::EnvFile => ".env",
            Self::Environment => "environment",
        })
    }
}

/// Text values by name, before they are understood.
#[derive(Clone, Default)]
pub struct Raw(HashMap<String, (String, Origin)>);

impl Raw {
    /// Reads `.env` of the working folder, then the environment. Empty values count as unset.
    ///
    /// Errors: the file exists but cannot be read or parsed.
    pub fn from_environment() -> Result<Self, Mistakes> {
        let mut values = HashMap::new();
        match dotenvy::from_path_iter(Path::new(".env")) {
            Ok(lines) => {
                let mut before = "the start".to_owned();
                for line in lines {
                    let (name, value) = line.map_err(|e| Mistakes(vec![unreadable_line(&e, &before)]))?;
                    before.clone_from(&name);
                    values.insert(name, (value, Origin::EnvFile));
                }
            }
            Err(e) if e.not_found() => {}
            Err(e) => return Err(Mistakes(vec![format!(".env: {e}")])),
        }
        for setting in SETTINGS {
            match std::env::var(setting.name) {
                Ok(value) => drop(values.insert(setting.name.to_owned(), (value, Origin::Environment))),
                Err(std::env::VarError::NotPresent) => {}
                // Without the value: it may be a secret.
                Err(std::env::VarError::NotUnicode(_)) => return Err(Mistakes(vec![format!("{} is not Unicode text", setting.name)])),
            }
        }
        values.retain(|_, (value, _)| !value.trim().is_empty());
        Ok(Self(values))
    }

    /// From given pairs, for tests and embedding.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let entry = |(name, value): (&str, &str)| (name.to_owned(), (value.to_owned(), Origin::Environment));
        Self(pairs.into_iter().map(entry).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|(value, _)| value.trim())
    }

    /// Every setting with its value and where it came from; secrets are masked.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        for setting in SETTINGS {
            let (value, origin) = match self.0.get(setting.name) {
                Some((value, origin)) if setting.secret || hides_a_secret(value) => ("********", *origin),
                Some((value, origin)) => (value.as_str(), *origin),
                None if setting.default.is_empty() => ("(unset)", Origin::Default),
                None => (setting.default, Origin::Default),
            };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{:<28}{value:<28}({origin})", setting.name);
        }
        text
    }
}

/// The text of `.env.example`.
pub fn env_example() -> String {
    let mut text = String::from("# Every setting of the server with its default. Copy to .env and uncomment what you change.\n");
    for setting in SETTINGS {
        let _ = write!(text, "\n# {}\n#{}={}\n", setting.about, setting.name, setting.default);
    }
    text
}

/// Everything wrong with the settings, reported at once.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistakes(pub Vec<String>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the settings need attention:")?;
        self.0.iter().try_for_each(|line| write!(f, "\n  - {line}"))
    }
}

impl std::error::Error for Mistakes {}

/// Which store to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreConfig {
    /// SQLite in this folder (`DATA_DIR`).
    Embedded(PathBuf),
    /// MongoDB (`MONGODB_URI`, `MONGODB_DB`).
    Mongo {
        /// Connection string.
        uri: String,
        /// Database name.
        database: String,
    },
}

/// How nodes hear each other. Has no `Debug`: the address may hold a password.
#[derive(Clone)]
pub struct BusConfig {
    /// `REDIS_URL`, understood.
    pub client: redis::Client,
    /// `REDIS_PREFIX`.
    pub prefix: String,
}

/// What tokens are checked with.
#[derive(Clone, PartialEq, Eq)]
pub enum TokenKeys {
    /// The secret `JWT_SECRET`.
    Secret(String),
    /// The secret kept in this file, made when it is not there.
    KeptSecret(PathBuf),
    /// The public key in this PEM file (`JWT_PUBLIC_KEY`).
    PublicKey(PathBuf),
    /// The public keys at this address (`JWKS_URL`).
    Published(http::Uri),
}

/// A key whose holder is an admin. Has no `Debug`, so that it is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminKey {
    /// Its name in `ADMIN_KEYS`; none for `ADMIN_SECRET_KEY`.
    pub name: Option<String>,
    /// The key itself.
    pub key: String,
}

/// Which browser origins may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cors {
    /// Any, without credentials.
    Any,
    /// These, with credentials.
    Only(Vec<http::HeaderValue>),
}

/// How much a client may do in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateProfile {
    /// For the public.
    Default,
    /// Half of that.
    Strict,
    /// As much as it likes.
    Off,
}

/// Figures instead of the profile's, for all but admins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `LIMIT_MESSAGES_PER_MINUTE`.
    pub messages_per_minute: Option<u32>,
    /// `LIMIT_CALLS_PER_HOUR`.
    pub calls_per_hour: Option<u32>,
    /// `LIMIT_JOINS_PER_MINUTE`.
    pub joins_per_minute: Option<u32>,
    /// `LIMIT_HISTORY_PER_MINUTE`.
    pub history_per_minute: Option<u32>,
    /// `LIMIT_OTHER_PER_MINUTE`.
    pub other_per_minute: Option<u32>,
}

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
    /// `DEMO`, or the embedded store on a loopback address.
    pub offer_demo: bool,
    /// `DELETE_WINDOW`.
    pub delete_window: Duration,
    /// `TOKEN_MAX_AGE`.
    pub token_max_age: Duration,
    /// `RELATION_CHECK`; nothing is auto.
    pub relation_check: Option<bool>,
    /// `MEDIA_HOSTS`, in lower case; none is any.
    pub media_hosts: Vec<String>,
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
    /// `DRAIN_SECONDS`.
    pub drain: Duration,
    /// `LEGACY_HISTORY_RESPONSE`.
    pub legacy_history_response: bool,
    /// `ECHO_TO_FLUTTER_SENDER`.
    pub echo_to_flutter_sender: bool,
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
            trusted_proxies: reader
                .value("TRUSTED_PROXIES", "addresses or networks like 10.0.0.0/8, separated by commas", networks)
                .unwrap_or_default(),
            max_connections: reader.count("MAX_CONNECTIONS", 1),
            max_connections_per_address: reader.count("MAX_CONNECTIONS_PER_ADDRESS", 1),
            max_sockets_per_identity: reader.count("MAX_SOCKETS_PER_IDENTITY", 1),
            rate_profile,
            handshakes_per_minute: reader.handshakes_per_minute(rate_profile),
            engine_io_3: reader.switch("ENGINE_IO_3"),
            allow_query_token: reader.switch("ALLOW_QUERY_TOKEN"),
            offer_demo: reader.switch("DEMO") || (embedded && host.is_loopback()),
            delete_window: reader
                .value("DELETE_WINDOW", "a duration like 500ms, 10s, 5m or 24h, or plain seconds", duration)
                .unwrap_or_default(),
            token_max_age: reader
                .value("TOKEN_MAX_AGE", "a duration of at least an hour, like 24h", |t| duration(t).filter(|age| *age >= SHORTEST_MAX_AGE))
                .unwrap_or_default(),
            relation_check: reader
                .value("RELATION_CHECK", "auto, on or off", |t| match t {
                    "auto" => Some(None),
                    "on" => Some(Some(true)),
                    "off" => Some(Some(false)),
                    _ => None,
                })
                .flatten(),
            media_hosts: reader
                .value("MEDIA_HOSTS", "hosts like cdn.example.com or *.example.com, separated by commas", hosts)
                .unwrap_or_default(),
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
            drain: reader
                .value("DRAIN_SECONDS", "whole seconds from 0 to 300", |t| t.parse().ok().filter(|s| *s <= 300))
                .map_or(Duration::ZERO, Duration::from_secs),
            legacy_history_response: reader.switch("LEGACY_HISTORY_RESPONSE"),
            echo_to_flutter_sender: reader.switch("ECHO_TO_FLUTTER_SENDER"),
            log_format: reader
                .value("LOG_FORMAT", "text or json", |t| match t {
                    "text" => Some(LogFormat::Text),
                    "json" => Some(LogFormat::Json),
                    _ => None,
                })
                .unwrap_or(LogFormat::Text),
            log_filter: reader.text("RUST_LOG"),
        };
        if reader.mistakes.is_empty() { Ok(config) } else { Err(Mistakes(reader.mistakes)) }
    }
}

struct Reader<'a> {
    raw: &'a Raw,
    mistakes: Vec<String>,
}

impl Reader<'_> {
    fn text(&self, name: &str) -> String {
        let default = SETTINGS.iter().find(|s| s.name == name).map_or("", |s| s.default);
        self.raw.get(name).unwrap_or(default).to_owned()
    }

    fn value<T>(&mut self, name: &str, wanted: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let text = self.text(name);
        let value = parse(&text);
        if value.is_none() {
            self.mistakes.push(format!("{name} must be {wanted}, not \"{text}\""));
        }
        value
    }

    fn switch(&mut self, name: &str) -> bool {
        let parse = |text: &str| match text {
            "on" | "true" | "1" | "yes" => Some(true),
            "off" | "false" | "0" | "no" => Some(false),
            _ => None,
        };
        self.value(name, "on or off", parse).unwrap_or_default()
    }

    fn seconds(&mut self, name: &str, most: u64) -> Duration {
        let parse = |text: &str| text.parse().ok().filter(|seconds| (1..=most).contains(seconds));
        Duration::from_secs(self.value(name, &format!("whole seconds from 1 to {most}"), parse).unwrap_or(1))
    }

    fn limit(&mut self, name: &str) -> Option<u32> {
        self.raw.get(name)?;
        let parse = |text: &str| text.parse().ok().filter(|count| (1..=1_000_000).contains(count));
        self.value(name, "a whole number from 1 to 1000000", parse)
    }

    /// A number from `least` to a million.
    fn count<T: TryFrom<u32> + Default>(&mut self, name: &str, least: u32) -> T {
        let parse = |text: &str| text.parse().ok().filter(|count| (least..=1_000_000).contains(count));
        let count = self.value(name, &format!("a whole number from {least} to 1000000"), parse);
        count.and_then(|count| count.try_into().ok()).unwrap_or_default()
    }

    fn rate_profile(&mut self) -> RateProfile {
        let parse = |text: &str| match text {
            "default" => Some(RateProfile::Default),
            "strict" => Some(RateProfile::Strict),
            "off" => Some(RateProfile::Off),
            _ => None,
        };
        self.value("RATE_PROFILE", "default, strict or off", parse).unwrap_or(RateProfile::Default)
    }

    fn handshakes_per_minute(&mut self, profile: RateProfile) -> Option<NonZeroU32> {
        let count = self.count::<u32>("HANDSHAKES_PER_MINUTE", 0);
        let given = self.raw.get("HANDSHAKES_PER_MINUTE").is_some();
        NonZeroU32::new(match profile {
            RateProfile::Off => 0,
            RateProfile::Strict if !given => count / 2,
            RateProfile::Default | RateProfile::Strict => count,
        })
    }

    fn agora(&mut self) -> Option<Agora> {
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

    fn bus(&mut self, embedded: bool) -> Option<BusConfig> {
        let prefix = self.text("REDIS_PREFIX");
        let url = self.raw.get("REDIS_URL")?;
        if embedded {
            self.mistakes.push("REDIS_URL needs MONGODB_URI: the embedded store is one node's alone".into());
        }
        let client = redis_client(url);
        if client.is_none() {
            // Without the value, which may hold a password.
            self.mistakes.push("REDIS_URL must be like redis://host:6379 or rediss://user:password@host:6379".into());
        }
        Some(BusConfig { client: client?, prefix })
    }

    /// `None` if none is set.
    fn token_keys(&mut self, embedded: bool) -> Option<TokenKeys> {
        let set: Vec<&str> = ["JWT_SECRET", "JWT_PUBLIC_KEY", "JWKS_URL"].into_iter().filter(|name| self.raw.get(name).is_some()).collect();
        if set.is_empty() && !embedded {
            let why = "every node must check the same signatures";
            self.mistakes.push(format!("JWT_SECRET, JWT_PUBLIC_KEY or JWKS_URL must be set when MONGODB_URI is: {why}"));
        }
        if set.len() > 1 {
            self.mistakes.push(format!("{} must not be set together: one of them decides which tokens are good", set.join(" and ")));
        }
        let secret = self.secret("JWT_SECRET");
        // A public key everybody knows would otherwise be the secret that anybody can sign with.
        if secret.as_ref().is_some_and(|secret| secret.starts_with("-----BEGIN")) {
            self.mistakes.push("JWT_SECRET must be a secret, not a PEM; a public key belongs into a file named by JWT_PUBLIC_KEY".into());
        }
        let published = self.raw.get("JWKS_URL").and_then(|text| {
            let url = jwks_url(text);
            if url.is_none() {
                // Without the value, which may hold a password.
                self.mistakes
                    .push("JWKS_URL must be like https://host/path, without user and password; http to a loopback address only".into());
            }
            url
        });
        let public_key = self.raw.get("JWT_PUBLIC_KEY").map(|path| TokenKeys::PublicKey(path.into()));
        secret.map(TokenKeys::Secret).or(public_key).or(published.map(TokenKeys::Published))
    }

    fn admin_keys(&mut self) -> Vec<AdminKey> {
        let mut keys: Vec<AdminKey> = self.secret("ADMIN_SECRET_KEY").map(|key| AdminKey { name: None, key }).into_iter().collect();
        let named = self.raw.get("ADMIN_KEYS").unwrap_or_default();
        for (number, entry) in (1..).zip(named.split(',').filter(|_| !named.is_empty())) {
            match named_key(entry) {
                // Neither name nor key are shown: who swapped them has written the key where the name belongs.
                Err(wrong) => self.mistakes.push(format!("ADMIN_KEYS: {wrong} in entry {number}")),
                Ok(key) if keys.iter().any(|other| other.name == key.name) => {
                    self.mistakes.push(format!("ADMIN_KEYS: the name in entry {number} is there already"));
                }
                Ok(key) if keys.iter().any(|other| other.key == key.key) => {
                    self.mistakes.push(format!("ADMIN_KEYS: the key in entry {number} is there already, under another name"));
                }
                Ok(key) => keys.push(key),
            }
        }
        keys
    }

    fn secret(&mut self, name: &str) -> Option<String> {
        let text = self.raw.get(name)?;
        if text.len() < MIN_SECRET_LEN {
            self.mistakes.push(format!("{name} must have at least {MIN_SECRET_LEN} characters; it has {}", text.chars().count()));
        }
        Some(text.to_owned())
    }
}

/// What is wrong with `.env`. The library would show the value, which may be a secret, and does not know the name.
fn unreadable_line(error: &dotenvy::Error, before: &str) -> String {
    match error {
        dotenvy::Error::LineParse(..) => format!(".env: the setting after {before} cannot be read; put its value into single quotes"),
        other => format!(".env: {other}"),
    }
}

/// Reads `name:key`. Errors: what is wrong, without saying what was written.
fn named_key(entry: &str) -> Result<AdminKey, &'static str> {
    let (name, key) = entry.trim().split_once(':').ok_or("a pair is not written name:key (keys hold no comma)")?;
    let is_name = (1..=32).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if !is_name {
        return Err("a name is not 1 to 32 letters, digits, _ and -");
    }
    if key.contains(':') {
        return Err("a key holds a colon");
    }
    if key.len() < MIN_SECRET_LEN {
        return Err("a key has less than 16 characters");
    }
    Ok(AdminKey { name: Some(name.to_owned()), key: key.to_owned() })
}

/// A client that speaks RESP3, in which messages and answers share a connection.
fn redis_client(url: &str) -> Option<redis::Client> {
    let address = url.into_connection_info().ok().filter(|_| url.starts_with("redis://") || url.starts_with("rediss://"))?;
    let settings = address.redis_settings().clone().set_protocol(redis::ProtocolVersion::RESP3);
    redis::Client::open(address.set_redis_settings(settings)).ok()
}

/// An address whose answer can be believed: encrypted, or from this machine.
fn jwks_url(text: &str) -> Option<http::Uri> {
    let url: http::Uri = text.parse().ok()?;
    let host = url.host().filter(|host| !host.is_empty())?;
    let is_loopback = || {
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    };
    let is_believable = match url.scheme_str()? {
        "https" => true,
        "http" => is_loopback(),
        _ => false,
    };
    let names_nobody = !url.authority()?.as_str().contains('@');
    (is_believable && names_nobody).then_some(url)
}

/// Whether somebody put a secret where none belongs: a private key in place of its file, a password into an address.
fn hides_a_secret(value: &str) -> bool {
    value.contains("PRIVATE KEY") || (value.contains("://") && value.contains('@'))
}

/// Reads `500ms`, `10s`, `5m`, `24h` or plain seconds. Source: docs/protocol.md#settings.
pub fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    match text[digits..].trim() {
        "ms" => Some(Duration::from_millis(number)),
        "" | "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        "d" => number.checked_mul(86_400).map(Duration::from_secs),
        _ => None,
    }
}

fn cors(text: &str) -> Option<Cors> {
    if text == "*" {
        return Some(Cors::Any);
    }
    let origin = |origin: &str| {
        let origin = origin.trim().trim_end_matches('/');
        let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"))?;
        // Browsers write it in lower case, and it is compared byte by byte.
        (!host.is_empty() && !host.contains('/')).then(|| http::HeaderValue::from_str(&origin.to_ascii_lowercase()).ok())?
    };
    text.split(',').filter(|o| !o.trim().is_empty()).map(origin).collect::<Option<Vec<_>>>().map(Cors::Only)
}

/// Addresses and networks, separated by commas. IPv4 written as IPv6 (`::ffff:10.0.0.0/104`) is IPv4, as the addresses compared with it are.
/// Names, each with a dot and no scheme, port or path; a leading `*.` stands for what is under it.
fn hosts(text: &str) -> Option<Vec<String>> {
    let host = |text: &str| {
        let labels = text.strip_prefix("*.").unwrap_or(text).split('.');
        let is_label = |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        let names = labels.clone().count() > 1 && labels.clone().all(is_label);
        names.then(|| text.to_ascii_lowercase())
    };
    text.split(',').map(str::trim).filter(|text| !text.is_empty()).map(host).collect()
}

fn networks(text: &str) -> Option<Vec<IpNet>> {
    let network = |text: &str| {
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok()?;
        match (network.addr().to_canonical(), network.prefix_len()) {
            (IpAddr::V4(v4), length) if network.addr().is_ipv6() && length >= 96 => Ipv4Net::new(v4, length - 96).ok().map(IpNet::V4),
            _ => Some(network),
        }
    };
    text.split(',').map(str::trim).filter(|network| !network.is_empty()).map(network).collect()
}

fn database_in(uri: &str) -> Option<String> {
    let after_scheme = uri.split_once("://")?.1;
    let path = after_scheme.split_once('/')?.1;
    let name = path.split('?').next().unwrap_or_default();
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Config, Mistakes> {
        Config::parse(&Raw::from_pairs(pairs.iter().copied()))
    }

    #[test]
    fn with_no_settings_it_is_the_embedded_store_on_loopback_with_demo_tokens() {
        let config = parse(&[]).expect("defaults are right");
        assert_eq!((config.host.to_string().as_str(), config.port), ("127.0.0.1", 3000));
        assert_eq!(config.store, StoreConfig::Embedded("./data".into()));
        assert!(config.offer_demo && config.admin_keys.is_empty());
        assert_eq!(config.delete_window, Duration::from_secs(86_400));
        assert!(!parse(&[("HOST", "0.0.0.0")]).expect("legal").offer_demo);
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let wrong = [
            ("PORT", "http"),
            ("MONGODB_URI", "mongodb://db/"),
            ("ADMIN_SECRET_KEY", "short"),
            ("DELETE_WINDOW", "soon"),
            ("CORS_ORIGINS", "app.example.com"),
        ];
        let mistakes = parse(&wrong).err().expect("five mistakes").0;
        let named = |name| mistakes.iter().filter(|m: &&String| m.starts_with(name)).count();
        assert_eq!(mistakes.len(), 5, "{mistakes:?}");
        for name in ["PORT", "JWT_SECRET", "ADMIN_SECRET_KEY must have at least 16", "DELETE_WINDOW", "CORS_ORIGINS"] {
            assert_eq!(named(name), 1, "{name} in {mistakes:?}");
        }
    }

    #[test]
    fn the_database_comes_from_its_own_setting_or_the_uri() {
        let database = |pairs: &[(&str, &str)]| {
            let mut all = vec![("JWT_SECRET", "0123456789abcdef")];
            all.extend_from_slice(pairs);
            match parse(&all).expect("legal").store {
                StoreConfig::Mongo { database, .. } => database,
                StoreConfig::Embedded(_) => "embedded".into(),
            }
        };
        assert_eq!(database(&[("MONGODB_URI", "mongodb://u:p@h:1/app?x=/y")]), "app");
        assert_eq!(database(&[("MONGODB_URI", "mongodb://h")]), "samvad");
        assert_eq!(database(&[("MONGODB_URI", "mongodb://h/app"), ("MONGODB_DB", "chat")]), "chat");
    }

    #[test]
    fn limits_have_defaults_and_the_rate_profile_moves_the_rates() {
        let handshakes = |pairs: &[(&str, &str)]| parse(pairs).expect("legal").handshakes_per_minute.map_or(0, NonZeroU32::get);
        let config = parse(&[]).expect("defaults are right");
        assert_eq!((config.max_connections, config.max_connections_per_address, config.max_sockets_per_identity), (20_000, 2_000, 50));
        assert!(config.engine_io_3 && config.trusted_proxies.is_empty() && config.rate_profile == RateProfile::Default);
        assert_eq!(handshakes(&[]), 1200);
        assert_eq!(handshakes(&[("RATE_PROFILE", "strict")]), 600);
        assert_eq!(
            handshakes(&[("RATE_PROFILE", "strict"), ("HANDSHAKES_PER_MINUTE", "1200")]),
            1200,
            "a number of one's own counts as it is"
        );
        assert_eq!(handshakes(&[("RATE_PROFILE", "off"), ("HANDSHAKES_PER_MINUTE", "5")]), 0);
        assert_eq!(handshakes(&[("HANDSHAKES_PER_MINUTE", "0")]), 0);
        let wrong = [
            ("MAX_CONNECTIONS", "0"),
            ("MAX_CONNECTIONS_PER_ADDRESS", "-1"),
            ("MAX_SOCKETS_PER_IDENTITY", "many"),
            ("HANDSHAKES_PER_MINUTE", "1000001"),
            ("RATE_PROFILE", "none"),
            ("ENGINE_IO_3", "maybe"),
            ("TRUSTED_PROXIES", "10.0.0.0/8, proxy.example"),
        ];
        let mistakes = parse(&wrong).err().expect("all of them").0;
        assert_eq!(mistakes.len(), wrong.len(), "{mistakes:?}");
        for (name, _) in wrong {
            assert!(mistakes.iter().any(|mistake| mistake.starts_with(&format!("{name} "))), "{name} in {mistakes:?}");
        }
    }

    #[test]
    fn media_hosts_are_names_in_lower_case_and_nothing_else() {
        let hosts = |text| parse(&[("MEDIA_HOSTS", text)]).map(|config| config.media_hosts);
        assert_eq!(hosts("CDN.example.com, *.Images.example,,").expect("legal"), ["cdn.example.com", "*.images.example"]);
        assert!(hosts("").expect("any").is_empty());
        for wrong in
            ["https://cdn.example.com", "cdn.example.com/", "cdn.example.com:443", "*", "*.com", "a.*.example", "a..b", "localhost"]
        {
            let mistakes = hosts(wrong).expect_err(wrong).0;
            assert!(mistakes.len() == 1 && mistakes[0].starts_with("MEDIA_HOSTS "), "{wrong}: {mistakes:?}");
        }
    }

    #[test]
    fn trusted_proxies_are_addresses_and_networks_in_any_spelling() {
        let proxies =
            parse(&[("TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8,, ::1, ::ffff:192.168.0.0/112, fd00::/8")]).expect("legal").trusted_proxies;
        let written: Vec<_> = proxies.iter().map(ToString::to_string).collect();
        assert_eq!(written, ["127.0.0.1/32", "10.0.0.0/8", "::1/128", "192.168.0.0/16", "fd00::/8"]);
    }

    #[test]
    fn secrets_are_masked_and_the_example_file_names_every_setting() {
        let raw = Raw::from_pairs([("JWT_SECRET", "0123456789abcdef"), ("PORT", "4000")]);
        let text = raw.describe();
        assert!(!text.contains("0123456789abcdef") && text.contains("********"));
        assert!(text.contains("4000"));
        assert_eq!(std::fs::read_to_string(".env.example").expect("in the repository"), env_example(), "run: samvad config --example");
    }

    #[test]
    fn one_source_of_keys_is_chosen_and_two_are_a_mistake() {
        let secret = ("JWT_SECRET", "0123456789abcdef");
        let file = ("JWT_PUBLIC_KEY", "keys/issuer.pem");
        let url = ("JWKS_URL", "https://issuer.example/jwks");
        let keys = |pairs: &[(&str, &str)]| parse(pairs).expect("legal").token_keys;
        assert!(keys(&[]) == TokenKeys::KeptSecret("./data/jwt-secret".into()));
        assert!(keys(&[secret]) == TokenKeys::Secret("0123456789abcdef".into()));
        assert!(keys(&[file, ("MONGODB_URI", "mongodb://db/")]) == TokenKeys::PublicKey("keys/issuer.pem".into()));
        assert!(matches!(keys(&[url, ("MONGODB_URI", "mongodb://db/")]), TokenKeys::Published(u) if u == "https://issuer.example/jwks"));
        for pairs in [&[secret, file][..], &[secret, url], &[file, url], &[secret, file, url]] {
            let mistakes = parse(pairs).err().expect("a mistake").0;
            assert!(mistakes.len() == 1 && mistakes[0].contains("must not be set together"), "{mistakes:?}");
        }
        assert!(parse(&[("JWT_SECRET", "-----BEGIN PUBLIC KEY-----\nMCow")]).is_err());
    }

    #[test]
    fn published_keys_are_fetched_encrypted_or_from_this_machine() {
        for url in ["https://issuer.example/.well-known/jwks.json?v=1", "http://127.0.0.1:9/x", "http://[::1]/", "http://localhost:80/x"] {
            assert!(parse(&[("JWKS_URL", url)]).is_ok(), "{url}");
        }
        let wrong =
            ["http://issuer.example/", "http://127.0.0.1.example/", "ftp://127.0.0.1/", "issuer.example/x", "https://", "http://10.0.0.1/"];
        for url in wrong.into_iter().chain(["https://me:hunter2hunter2@issuer.example/", "http://127.0.0.1@issuer.example/"]) {
            let mistakes = parse(&[("JWKS_URL", url)]).err().unwrap_or_else(|| panic!("{url} was taken")).0;
            assert!(mistakes[0].starts_with("JWKS_URL must be") && !mistakes[0].contains("hunter2"), "{mistakes:?}");
        }
    }

    #[test]
    fn admin_keys_have_names_and_what_is_wrong_never_shows_a_key() {
        let config =
            parse(&[("ADMIN_SECRET_KEY", "any:thing, even this"), ("ADMIN_KEYS", "asha:0123456789abcdef, ravi_2:fedcba9876543210")]);
        let keys = config.expect("legal").admin_keys;
        let names: Vec<_> = keys.iter().map(|key| (key.name.as_deref(), key.key.as_str())).collect();
        assert_eq!(names, [(None, "any:thing, even this"), (Some("asha"), "0123456789abcdef"), (Some("ravi_2"), "fedcba9876543210")]);

        for (wrong, entry) in [
            ("0123456789abcdef", 1),
            ("asha:0123456789abcde", 1),
            ("asha:0123456789:abcdef", 1),
            ("asha:0123456789abcdef,ghijklmnopqrstuv", 2),
            ("asha:0123456789abcdef,", 2),
            (":0123456789abcdef", 1),
            ("as ha:0123456789abcdef", 1),
            ("a23456789012345678901234567890123:0123456789abcdef", 1),
            ("0123456789abcdef ghij:asha", 1),
            ("asha:0123456789abcdef,asha:0123456789abcdefgh", 2),
            ("asha:0123456789abcdef,ravi:0123456789abcdef", 2),
            ("asha:the secret one of old", 1),
        ] {
            let mistakes = parse(&[("ADMIN_SECRET_KEY", "the secret one of old"), ("ADMIN_KEYS", wrong)]).err().expect(wrong).0;
            assert!(
                mistakes.len() == 1 && mistakes[0].starts_with("ADMIN_KEYS") && mistakes[0].contains(&format!("entry {entry}")),
                "{mistakes:?}"
            );
            assert!(!mistakes[0].contains("0123") && !mistakes[0].contains("ghij"), "{mistakes:?}");
        }
    }

    #[test]
    fn a_line_that_cannot_be_read_is_not_shown() {
        let line = "ADMIN_KEYS=asha:0123456789abcdef, ravi:fedcba9876543210";
        let error = dotenvy::from_read_iter(line.as_bytes()).find_map(Result::err).expect("spaces need quotes");
        assert_eq!(unreadable_line(&error, "PORT"), ".env: the setting after PORT cannot be read; put its value into single quotes");
    }

    #[test]
    fn what_is_described_holds_no_key_of_any_kind() {
        let text = Raw::from_pairs([
            ("JWT_SECRET", "hunter2-jwt-secret"),
            ("ADMIN_SECRET_KEY", "hunter2-admin-key"),
            ("ADMIN_KEYS", "asha:hunter2-of-asha-x"),
            ("JWT_PUBLIC_KEY", "-----BEGIN PRIVATE KEY----- hunter2"),
            ("JWKS_URL", "https://me:hunter2@issuer.example/"),
            ("JWT_ISSUER", "https://issuer.example/"),
        ])
        .describe();
        assert!(!text.contains("hunter2") && text.contains("https://issuer.example/"), "{text}");
    }
}
