//! The one table of settings, as documented to operators. `.env.example`, `samvad config` and the parsed values come from it.

use std::fmt::Write as _;

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
    setting(
        "REDIS_CA_FILE",
        "",
        "PEM file with the certificate of the authority, or several, that signs Redis' certificate, for rediss://. Unset: the well-known public ones.",
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
        "Of which messages phones are told. always: of all, as an app in the background keeps its socket for a while and would show nothing. not_in_room: not if the recipient has the conversation open. offline: only if the recipient has no socket.",
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
    setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "",
        "Where traces are sent, by OTLP over HTTP with protobuf, as http://127.0.0.1:4318; /v1/traces is added. Only in a build with the feature otel (docs/operations.md). Unset: nowhere.",
    ),
    secret(
        "OTEL_EXPORTER_OTLP_HEADERS",
        "What is sent along, as name=value, separated by commas, percent-encoded; with them the address must be https or loopback.",
    ),
    setting("OTEL_SERVICE_NAME", "samvad", "What this server is called there."),
    setting("OTEL_TRACES_SAMPLER_ARG", "1", "The part of all traces that is recorded, 0 to 1."),
    setting("LOG_FORMAT", "text", "text (or pretty, which is the same) for people, json for programs: how log lines are written."),
    setting("RUST_LOG", "info", "What is logged, as level or target=level, separated by commas."),
];

/// The text of `.env.example`.
pub fn env_example() -> String {
    let mut text = String::from("# Every setting of the server with its default. Copy to .env and uncomment what you change.\n");
    for setting in SETTINGS {
        let _ = write!(text, "\n# {}\n#{}={}\n", setting.about, setting.name, setting.default);
    }
    text
}
