//! Settings: one table, read once at start. The only place that looks at the environment.
//!
//! `.env.example`, `samvad config` and the parsed [`Config`] all come from [`SETTINGS`], so they cannot drift apart.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agora_token_rs::{AppCertificate, AppId, Credentials, TokenVersion};

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
    setting("DATA_DIR", "./data", "Folder of the embedded store (samvad.db) and of the generated JWT secret (jwt-secret)."),
    secret(
        "JWT_SECRET",
        "HS256 secret that client tokens are signed with, at least 16 characters. Unset on the embedded store: a random one is made and kept in DATA_DIR. With MONGODB_URI it must be set.",
    ),
    secret(
        "ADMIN_SECRET_KEY",
        "Shared admin key, at least 16 characters: as auth.token on the socket, as x-admin-key on REST. Unset: only tokens of type admin are admins.",
    ),
    setting(
        "CORS_ORIGINS",
        "*",
        "Browser origins that may connect, separated by commas. * allows any, without credentials; a list allows credentials.",
    ),
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
                for line in lines {
                    let (name, value) = line.map_err(|e| Mistakes(vec![format!(".env: {e}")]))?;
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
                Err(e @ std::env::VarError::NotUnicode(_)) => return Err(Mistakes(vec![format!("{}: {e}", setting.name)])),
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
                Some((_, origin)) if setting.secret => ("********", *origin),
                Some((value, origin)) => (value.as_str(), *origin),
                None if setting.default.is_empty() => ("(unset)", Origin::Default),
                None => (setting.default, Origin::Default),
            };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{:<26}{value:<28}({origin})", setting.name);
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

/// How the secret for tokens is found.
#[derive(Clone, PartialEq, Eq)]
pub enum JwtSecret {
    /// Given by `JWT_SECRET`.
    Given(String),
    /// Kept in this file, made when it is not there.
    Kept(PathBuf),
}

/// Which browser origins may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cors {
    /// Any, without credentials.
    Any,
    /// These, with credentials.
    Only(Vec<http::HeaderValue>),
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
    /// `JWT_SECRET`.
    pub jwt_secret: JwtSecret,
    /// `ADMIN_SECRET_KEY`.
    pub admin_key: Option<String>,
    /// `CORS_ORIGINS`.
    pub cors: Cors,
    /// `ALLOW_QUERY_TOKEN`.
    pub allow_query_token: bool,
    /// `DEMO`, or the embedded store on a loopback address.
    pub offer_demo: bool,
    /// `DELETE_WINDOW`.
    pub delete_window: Duration,
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
        let jwt_secret = match reader.secret("JWT_SECRET") {
            Some(text) => JwtSecret::Given(text),
            None => {
                if !embedded {
                    reader.mistakes.push("JWT_SECRET must be set when MONGODB_URI is: every node must check the same signatures".into());
                }
                JwtSecret::Kept(data_dir.join("jwt-secret"))
            }
        };
        let config = Self {
            host,
            port: reader.value("PORT", "a port number from 0 to 65535", |t| t.parse().ok()).unwrap_or_default(),
            store,
            jwt_secret,
            admin_key: reader.secret("ADMIN_SECRET_KEY"),
            cors: reader.value("CORS_ORIGINS", "* or origins like https://app.example.com, separated by commas", cors).unwrap_or(Cors::Any),
            allow_query_token: reader.switch("ALLOW_QUERY_TOKEN"),
            offer_demo: reader.switch("DEMO") || (embedded && host.is_loopback()),
            delete_window: reader
                .value("DELETE_WINDOW", "a duration like 500ms, 10s, 5m or 24h, or plain seconds", duration)
                .unwrap_or_default(),
            agora: reader.agora(),
            ring_timeout: reader.seconds("RING_TIMEOUT_SECONDS", 3600),
            call_busy: reader.switch("CALL_BUSY"),
            call_logs: reader.switch("CALL_LOGS"),
            caller_phone: reader.switch("CALLER_PHONE"),
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

    fn secret(&mut self, name: &str) -> Option<String> {
        let text = self.raw.get(name)?;
        if text.len() < MIN_SECRET_LEN {
            self.mistakes.push(format!("{name} must have at least {MIN_SECRET_LEN} characters; it has {}", text.chars().count()));
        }
        Some(text.to_owned())
    }
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
        (!host.is_empty() && !host.contains('/')).then(|| http::HeaderValue::from_str(origin).ok())?
    };
    text.split(',').filter(|o| !o.trim().is_empty()).map(origin).collect::<Option<Vec<_>>>().map(Cors::Only)
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
        assert!(config.offer_demo && config.admin_key.is_none());
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
    fn secrets_are_masked_and_the_example_file_names_every_setting() {
        let raw = Raw::from_pairs([("JWT_SECRET", "0123456789abcdef"), ("PORT", "4000")]);
        let text = raw.describe();
        assert!(!text.contains("0123456789abcdef") && text.contains("********"));
        assert!(text.contains("4000"));
        assert_eq!(std::fs::read_to_string(".env.example").expect("in the repository"), env_example(), "run: samvad config --example");
    }
}
