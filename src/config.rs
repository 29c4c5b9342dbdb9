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
        "Redis (6 or later; 7 for a cluster) over which several nodes on one MONGODB_URI hear each other, as redis://host:6379, or rediss:// for TLS. Of a cluster some members, separated by commas. Unset: this is the only node.",
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
    setting(
        "CONSOLE",
        "on",
        "off: no pages at /console and /docs. The first holds no secret: what it shows it asks for with the credential of whoever looks at it.",
    ),
    setting(
        "DEMO",
        "auto",
        "on: tokens of three demo people, one of them an admin, are printed at start and given to the console of a browser on this machine. off: never. auto: on the embedded store and a loopback address, unless TRUSTED_PROXIES is set.",
    ),
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
    setting(
        "PUBLIC_URL",
        "",
        "How apps reach this server, as https://chat.example.com: the addresses of attachments in messages begin with it. Unset: http://HOST:PORT.",
    ),
    setting("MEDIA_MAX_BYTES", "52428800", "The largest file that may be attached, in bytes, up to 1 GiB; pictures at most 20 MiB."),
    setting(
        "MEDIA_LINK_SECONDS",
        "86400",
        "How long the addresses of attachments in messages can be opened, 120 to 604800; a message that is read again has a new one.",
    ),
    secret(
        "MEDIA_SECRET",
        "What those addresses are signed with, at least 16 characters, the same on all nodes. Unset: made from JWT_SECRET; where there is none, made anew at every start.",
    ),
    setting(
        "S3_ENDPOINT",
        "",
        "S3-compatible storage for attachments, https (http to a loopback address only). Unset: the folder media in DATA_DIR, which several nodes must share.",
    ),
    setting("S3_PUBLIC_ENDPOINT", "", "Where clients reach that storage. Unset: S3_ENDPOINT."),
    setting("S3_BUCKET", "", "Its bucket; only this server and addresses signed by it should get at it."),
    setting("S3_REGION", "us-east-1", "Its region."),
    setting("S3_PATH_STYLE", "on", "on: the bucket is in the path of addresses. off: in the host."),
    setting("S3_ACCESS_KEY_ID", "", "Who uses the bucket."),
    secret("S3_SECRET_ACCESS_KEY", "With which secret."),
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
        "FIREBASE_SERVICE_ACCOUNT_FILE",
        "",
        "File with the key of a Firebase service account, as downloaded: phones and browsers are told of messages and calls. One of this, the next two, or the three after them; unset: nobody is, by Google.",
    ),
    secret("FIREBASE_SERVICE_ACCOUNT_JSON", "The content of that file itself."),
    secret("FIREBASE_SERVICE_ACCOUNT_BASE64", "The content of that file in base64."),
    setting("FIREBASE_PROJECT_ID", "", "The project, beside FIREBASE_CLIENT_EMAIL and FIREBASE_PRIVATE_KEY in place of a file."),
    setting("FIREBASE_CLIENT_EMAIL", "", "The service account's name."),
    secret("FIREBASE_PRIVATE_KEY", "The service account's key as PEM; line ends may be written \\n."),
    setting("FCM_URL", "https://fcm.googleapis.com", "Where Firebase Cloud Messaging is; http to a loopback address only."),
    setting(
        "GOOGLE_TOKEN_URL",
        "",
        "Where access tokens for FCM are had; http to a loopback address only. Unset: token_uri of the service account, or https://oauth2.googleapis.com/token.",
    ),
    setting(
        "PUSH_MESSAGES",
        "always",
        "Of which messages phones are told. always: of all, as an app in the background keeps its socket for a while and would show nothing. not_in_room: not if the recipient has the conversation open (on this node). offline: only if the recipient has no socket.",
    ),
    setting(
        "APNS_KEY_FILE",
        "",
        "File with the key (.p8) for Apple's push service, by which iPhones ring; APNS_KEY_ID, APNS_TEAM_ID and APNS_BUNDLE_ID belong to it. Unset: iPhones are told of calls by FCM, which makes none ring that sleeps.",
    ),
    setting("APNS_KEY_ID", "", "The key's id, 10 characters."),
    setting("APNS_TEAM_ID", "", "The team's id, 10 characters."),
    setting("APNS_BUNDLE_ID", "", "The app's bundle id, without .voip."),
    setting(
        "APNS_URL",
        "https://api.push.apple.com",
        "Where Apple's push service is; https://api.sandbox.push.apple.com for development builds; http to a loopback address only.",
    ),
    setting(
        "WEBHOOK_URL",
        "",
        "Where events (message.created, call.*, presence.*) are posted to, as in docs/webhooks.md; http to a loopback address only. Unset: nowhere.",
    ),
    secret("WEBHOOK_SECRET", "What they are signed with, at least 16 characters. Must be set when WEBHOOK_URL is."),
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
    secret(
        "METRICS_TOKEN",
        "Who shows it as Authorization: Bearer may read /metrics, at least 16 characters. Unset: who asks from this machine itself, not through a proxy. Admin keys always may.",
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
    pub clients: Vec<redis::Client>,
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

/// Who we are to Firebase, and where it is.
#[derive(Clone)]
pub struct Firebase {
    /// The project.
    pub project_id: String,
    /// The service account.
    pub client_email: String,
    /// Which of its keys this is.
    pub key_id: Option<String>,
    /// The key.
    pub key: jsonwebtoken::EncodingKey,
    /// `GOOGLE_TOKEN_URL`, or what the account says.
    pub token_url: reqwest::Url,
    /// `FCM_URL`.
    pub url: reqwest::Url,
}

/// Who we are to Apple's push service, and where it is.
#[derive(Clone)]
pub struct ApplePush {
    /// The key of `APNS_KEY_FILE`.
    pub key: jsonwebtoken::EncodingKey,
    /// `APNS_KEY_ID`.
    pub key_id: String,
    /// `APNS_TEAM_ID`.
    pub team_id: String,
    /// `APNS_BUNDLE_ID`.
    pub bundle_id: String,
    /// `APNS_URL`.
    pub url: reqwest::Url,
}

/// Of which messages phones are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushMessages {
    /// Of all.
    Always,
    /// Not if the recipient has the conversation open.
    NotInRoom,
    /// Only if the recipient has no socket.
    Offline,
}

/// Who is told outside of the sockets. Has no `Debug`: there are keys inside.
#[derive(Clone)]
pub struct PushConfig {
    /// `PUSH_MESSAGES`.
    pub messages: PushMessages,
    /// `FIREBASE_*`.
    pub firebase: Option<Firebase>,
    /// `APNS_*`.
    pub apple: Option<ApplePush>,
    /// `WEBHOOK_URL` and `WEBHOOK_SECRET`.
    pub webhook: Option<(reqwest::Url, String)>,
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

    /// A switch that decides by itself, which is `None`, unless somebody decided.
    fn automatic(&mut self, name: &str) -> Option<bool> {
        let parse = |text: &str| match text {
            "auto" => Some(None),
            "on" | "true" | "1" | "yes" => Some(Some(true)),
            "off" | "false" | "0" | "no" => Some(Some(false)),
            _ => None,
        };
        self.value(name, "auto, on or off", parse).flatten()
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

    fn attachments(&mut self, host: IpAddr, data_dir: &Path) -> Attachments {
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

    fn s3(&mut self) -> Option<S3> {
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

    fn push(&mut self) -> PushConfig {
        let messages = self.value("PUSH_MESSAGES", "always, not_in_room or offline", |t| match t {
            "always" => Some(PushMessages::Always),
            "not_in_room" => Some(PushMessages::NotInRoom),
            "offline" => Some(PushMessages::Offline),
            _ => None,
        });
        let webhook = match (self.raw.get("WEBHOOK_URL").is_some(), self.secret("WEBHOOK_SECRET")) {
            (true, Some(secret)) => self.outside_url("WEBHOOK_URL").map(|url| (url, secret)),
            (true, None) => {
                self.mistakes.push("WEBHOOK_SECRET must be set when WEBHOOK_URL is: receivers could believe nobody".into());
                None
            }
            (false, _) => None,
        };
        let messages = messages.unwrap_or(PushMessages::Always);
        PushConfig { messages, firebase: self.firebase(), apple: self.apple(), webhook }
    }

    /// The service account in any of its forms; the first that is set counts, and two are a mistake.
    fn firebase(&mut self) -> Option<Firebase> {
        const FORMS: [&str; 4] =
            ["FIREBASE_SERVICE_ACCOUNT_FILE", "FIREBASE_SERVICE_ACCOUNT_JSON", "FIREBASE_SERVICE_ACCOUNT_BASE64", "FIREBASE_PRIVATE_KEY"];
        let set: Vec<&str> = FORMS.into_iter().filter(|name| self.raw.get(name).is_some()).collect();
        let [form] = set[..] else {
            if set.len() > 1 {
                self.mistakes.push(format!("{} must not be set together: one service account sends", set.join(" and ")));
            }
            return None;
        };
        // Never the value itself: it is, or stands for, a key.
        let given = self.raw.get(form).unwrap_or_default().to_owned();
        let account = match form {
            "FIREBASE_SERVICE_ACCOUNT_FILE" => {
                std::fs::read_to_string(&given).map_err(|e| e.to_string()).and_then(|text| service_account(&text))
            }
            "FIREBASE_SERVICE_ACCOUNT_JSON" => service_account(&given),
            "FIREBASE_SERVICE_ACCOUNT_BASE64" => {
                use base64::Engine as _;
                let text: String = given.split_whitespace().collect();
                let bytes = base64::engine::general_purpose::STANDARD.decode(text).map_err(|_| "is not base64".to_owned());
                bytes.and_then(|bytes| service_account(&String::from_utf8_lossy(&bytes)))
            }
            _ => {
                let named = |name: &str| self.raw.get(name).map(str::to_owned).ok_or_else(|| format!("needs {name} beside it"));
                named("FIREBASE_PROJECT_ID").and_then(|project_id| {
                    Ok(Account {
                        project_id,
                        client_email: named("FIREBASE_CLIENT_EMAIL")?,
                        private_key: given,
                        private_key_id: None,
                        token_uri: None,
                    })
                })
            }
        };
        let account = account.and_then(|account| Ok((rsa_key(&account.private_key)?, account)));
        let (key, account) = match account {
            Ok(account) => account,
            Err(why) => {
                self.mistakes.push(format!("{form} {why}"));
                return None;
            }
        };
        let names_a_project =
            !account.project_id.is_empty() && account.project_id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b));
        if !names_a_project {
            self.mistakes.push(format!("{form} names no project"));
        }
        let token_url = match self.raw.get("GOOGLE_TOKEN_URL") {
            Some(_) => self.outside_url("GOOGLE_TOKEN_URL"),
            None => {
                let stated = account.token_uri.as_deref().unwrap_or("https://oauth2.googleapis.com/token");
                let url = outside_url(stated);
                if url.is_none() {
                    self.mistakes.push(format!("{form}: token_uri must be https"));
                }
                url
            }
        };
        let url = self.outside_url("FCM_URL");
        let Account { project_id, client_email, private_key_id, .. } = account;
        Some(Firebase { project_id, client_email, key_id: private_key_id, key, token_url: token_url?, url: url? })
    }

    fn apple(&mut self) -> Option<ApplePush> {
        const ALL: [&str; 4] = ["APNS_KEY_FILE", "APNS_KEY_ID", "APNS_TEAM_ID", "APNS_BUNDLE_ID"];
        let missing: Vec<&str> = ALL.into_iter().filter(|name| self.raw.get(name).is_none()).collect();
        if missing.len() == ALL.len() {
            return None;
        }
        if !missing.is_empty() {
            self.mistakes.push(format!("{} must be set too: the APNS_ settings belong together", missing.join(" and ")));
            return None;
        }
        let url = self.outside_url("APNS_URL");
        let [file, key_id, team_id, bundle_id] = ALL.map(|name| self.text(name));
        let key = std::fs::read(&file).map_err(|e| e.to_string());
        let key = key.and_then(|pem| jsonwebtoken::EncodingKey::from_ec_pem(&pem).map_err(|_| "holds no P-256 key as PEM".into()));
        match key {
            Ok(key) => Some(ApplePush { key, key_id, team_id, bundle_id, url: url? }),
            Err(why) => {
                self.mistakes.push(format!("APNS_KEY_FILE {why}"));
                None
            }
        }
    }

    fn outside_url(&mut self, name: &str) -> Option<reqwest::Url> {
        let text = self.text(name);
        let url = outside_url(&text);
        if url.is_none() {
            // Without the value, which may hold a password.
            self.mistakes
                .push(format!("{name} must be like https://host/path, without user and password; http to a loopback address only"));
        }
        url
    }

    fn bus(&mut self, embedded: bool) -> Option<BusConfig> {
        let prefix = self.text("REDIS_PREFIX");
        let url = self.raw.get("REDIS_URL")?;
        if embedded {
            self.mistakes.push("REDIS_URL needs MONGODB_URI: the embedded store is one node's alone".into());
        }
        let clients: Option<Vec<redis::Client>> = url.split(',').map(|one| redis_client(one.trim())).collect();
        if prefix.contains(['{', '}']) {
            self.mistakes.push("REDIS_PREFIX may not contain braces, which mean something to a cluster".into());
        }
        if clients.is_none() {
            // Without the value, which may hold a password.
            self.mistakes
                .push("REDIS_URL must be like redis://host:6379 or rediss://user:password@host:6379, several separated by commas".into());
        }
        Some(BusConfig { clients: clients?, prefix })
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

/// A service account as Google writes it down.
#[derive(serde::Deserialize)]
struct Account {
    project_id: String,
    client_email: String,
    private_key: String,
    private_key_id: Option<String>,
    token_uri: Option<String>,
}

/// Errors: what is wrong, without showing any of it.
fn service_account(text: &str) -> Result<Account, String> {
    serde_json::from_str(text).map_err(|_| "holds no JSON with project_id, client_email and private_key".to_owned())
}

/// A key as environments keep it: in quotes, with its line ends written out. Errors: it is none.
fn rsa_key(text: &str) -> Result<jsonwebtoken::EncodingKey, String> {
    let pem = text.trim().trim_matches('"').replace("\\n", "\n");
    jsonwebtoken::EncodingKey::from_rsa_pem(pem.as_bytes()).map_err(|_| "holds no RSA key as PEM".to_owned())
}

/// Where something may be sent: encrypted, or on this machine.
fn outside_url(text: &str) -> Option<reqwest::Url> {
    jwks_url(text)?;
    text.parse().ok()
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

/// The database a MongoDB address names.
pub fn database_in(uri: &str) -> Option<String> {
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
        for settings in [("HOST", "0.0.0.0"), ("TRUSTED_PROXIES", "127.0.0.1"), ("DEMO", "off")] {
            assert!(!parse(&[settings]).expect("legal").offer_demo, "{settings:?}");
        }
        assert!(parse(&[("HOST", "0.0.0.0"), ("DEMO", "on")]).expect("legal").offer_demo);
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
