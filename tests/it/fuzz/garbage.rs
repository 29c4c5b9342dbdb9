//! What the fuzzers send: requests that are nearly right, texts that have broken programs before, JSON of every shape, and broken JSON.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::Union;
use serde_json::{Map, Number, Value, json};

/// Ids that mean something where the request is going.
#[derive(Clone, Debug)]
pub struct World {
    pub messages: Vec<String>,
    pub conversations: Vec<String>,
    pub calls: Vec<String>,
    pub tokens: Vec<String>,
}

impl World {
    /// Nothing of it exists anywhere.
    pub fn imagined() -> Self {
        let id = |n: u8| format!("69000000000000000000{n:04x}");
        Self {
            messages: vec![id(1), id(2)],
            conversations: vec![id(3), "admin_a1".into()],
            calls: vec![id(4)],
            tokens: vec!["a.b.c".into()],
        }
    }
}

/// What the field pools below are made of.
pub type Json = BoxedStrategy<Value>;

const WORDS: &[&str] = &[
    "",
    " ",
    "admin",
    "Admin",
    "ADMIN",
    "user",
    "astrologer",
    "customer",
    "User",
    "god",
    "me",
    "everyone",
    "text",
    "image",
    "call_log",
    "system",
    "location",
    "voice",
    "video",
    "audio",
    "general",
    "support",
    "true",
    "false",
    "null",
    "undefined",
    "NaN",
    "0",
    "1",
    "-1",
    "1.5",
    "1e3",
    "0x10",
    "+7",
    "007",
    "100",
    "101",
    "200",
    "201",
    "18446744073709551615",
    "18446744073709551616",
    "9223372036854775807",
    "-9223372036854775808",
    "2025-12-20T10:00:00.007Z",
    "2025-12-20T10:00:00+05:30",
    "2025-02-30T10:00:00Z",
    "9999-12-31T23:59:60Z",
    "-0001-01-01T00:00:00Z",
    "+275760-09-13T00:00:00Z",
    "admin_a1",
    "admin_user_u1",
    "user_u1_a1",
    "user_u1_",
    "admin_",
    "admin_admin",
    "admin_conversation",
    "user~u1",
    "u1",
    "a1",
    "u2",
    "a_b",
    "$where",
    "$gt",
    "a.b",
    "__proto__",
    "constructor",
    "'; DROP TABLE messages; --",
    "%00",
    "../../etc/passwd",
    "call_log:1",
    "accepted",
    "connected",
    "ringing",
    "missed",
    "declined",
    "https://x.in/a.png",
    "HTTPS://é/",
    "https://",
    "javascript:alert(1)",
    "dm:history_response",
    "690000000000000000000001",
    "69000000000000000000000G",
    "690000000000000000000001 ",
    "ffffffffffffffffffffffff",
    "000000000000000000000000",
    "ABCDEFABCDEFABCDEFABCDEF",
];

const ODD_CHARACTERS: &[&str] = &[
    "\0",
    "\u{1}",
    "\u{7f}",
    "\u{85}",
    "\u{200b}",
    "\u{200d}",
    "\u{200e}",
    "\u{202e}",
    "\u{2028}",
    "\u{2066}",
    "\u{feff}",
    "\u{d7ff}",
    "\u{e000}",
    "\u{fffd}",
    "\u{fffe}",
    "\u{ffff}",
    "\u{10ffff}",
    "👨‍👩‍👧",
    "é",
    "e\u{301}",
    "नमस्ते",
    "\u{202b}שלום",
    "ﷺ",
    "\r\n",
    "\t",
    "\"",
    "\\",
    "</script>",
    "%",
    "+",
];

/// Any text, most of it chosen to hurt.
pub fn text() -> BoxedStrategy<String> {
    prop_oneof![
        6 => select(WORDS).prop_map(str::to_owned),
        2 => "[A-Za-z0-9_~-]{1,70}",
        1 => "[0-9a-fA-F]{23,25}",
        2 => vec(select(ODD_CHARACTERS), 1..6).prop_map(|parts| parts.concat()),
        2 => (select(WORDS), select(ODD_CHARACTERS), any::<Index>()).prop_map(|(word, odd, at)| inserted(word, odd, at)),
        1 => (select(vec!["x", "é", "👍", "\u{202e}", "_", "~"]), select(vec![63, 64, 65, 139, 140, 141, 255, 1_000, 2_048, 3_999, 4_000, 4_001, 20_000]))
            .prop_map(|(unit, times)| unit.repeat(times)),
        1 => any::<String>(),
        1 => any::<i64>().prop_map(|n| n.to_string()),
    ]
    .boxed()
}

fn inserted(word: &str, odd: &str, at: Index) -> String {
    let chars: Vec<char> = word.chars().collect();
    let (before, after) = chars.split_at(at.index(chars.len() + 1));
    before.iter().collect::<String>() + odd + &after.iter().collect::<String>()
}

/// Any number JSON can hold.
fn number() -> Json {
    let round = [0.0, -0.0, 0.5, 1.0, 12.0, 1e3, 1e15, 1e16, 1.8e19, 1.9e19, 1e300, -1e300, f64::MIN_POSITIVE, 4.5];
    let whole =
        [0, 1, 2, 5, 6, 49, 50, 99, 100, 101, 200, 201, 255, 256, i64::from(u32::MAX), 1 << 53, i64::MAX, i64::MIN, -1, 1_766_224_800_007];
    prop_oneof![
        select(round.to_vec()).prop_map(|n| json!(n)),
        select(whole.to_vec()).prop_map(|n| json!(n)),
        any::<i64>().prop_map(|n| json!(n)),
        any::<u64>().prop_map(|n| json!(n)),
        any::<f64>().prop_map(|n| Number::from_f64(n).map_or(Value::Null, Value::Number)),
    ]
    .boxed()
}

/// Any JSON, a few levels deep; sometimes very deep.
pub fn value() -> Json {
    let leaf = prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::Bool),
        3 => number(),
        4 => text().prop_map(Value::String),
    ];
    let tree = leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::Array),
            vec((key(), inner), 0..5).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    });
    let deep = (1usize..120, any::<bool>())
        .prop_map(|(depth, list)| (0..depth).fold(json!(1), |inner, _| if list { json!([inner]) } else { json!({ "$a.b": inner }) }));
    prop_oneof![20 => tree, 1 => deep].boxed()
}

/// A name a field might have.
fn key() -> BoxedStrategy<String> {
    let operators =
        ["$where", "$gt", "$ne", "$set", "a.b", "conversationId.$ne", "__proto__", "toJSON", "", "_id", "ok", "code", "conversationid"];
    prop_oneof![3 => select(operators.to_vec()).prop_map(str::to_owned), 3 => select(FIELDS).prop_map(str::to_owned), 1 => text()].boxed()
}

/// Every field the protocol reads anywhere.
const FIELDS: &[&str] = &[
    "conversationId",
    "recipientId",
    "recipientType",
    "calleeId",
    "calleeType",
    "content",
    "message",
    "text",
    "messageType",
    "mediaUrl",
    "mediaSize",
    "mediaDuration",
    "thumbnailUrl",
    "replyTo",
    "replyToId",
    "clientMessageId",
    "tempId",
    "localId",
    "messageIds",
    "messageId",
    "page",
    "limit",
    "before",
    "after",
    "since",
    "markRead",
    "response",
    "scope",
    "callId",
    "_id",
    "id",
    "callType",
    "consultationId",
    "reason",
    "endReason",
    "duration",
    "rating",
    "comment",
    "feedback",
    "status",
    "contextType",
    "contextId",
    "token",
    "userId",
    "type",
    "userType",
    "astrologerId",
];

/// A value that makes sense for the field, if anything does.
fn sensible(field: &str, world: &World) -> Json {
    let of = |texts: Vec<String>| select(texts).prop_map(Value::String).boxed();
    let words = |words: &[&str]| of(words.iter().map(|word| (*word).to_owned()).collect());
    match field {
        "conversationId" => {
            let canonical = ["admin_a1", "admin_user_u1", "user_u1_a1", "admin", "user_u2_a1", "somewhere"].map(str::to_owned);
            of(world.conversations.iter().cloned().chain(canonical).collect())
        }
        "recipientId" | "calleeId" | "userId" | "astrologerId" => words(&["u1", "a1", "admin", "u2", "a2"]),
        "recipientType" | "calleeType" | "type" | "userType" => words(&["user", "astrologer", "admin"]),
        "messageType" => words(&["text", "image", "audio", "video", "file", "location", "system", "call_log"]),
        "mediaUrl" | "thumbnailUrl" => words(&["https://x.in/a.png", "https://x.in/b?c=d#e"]),
        "mediaSize" | "mediaDuration" | "duration" | "page" | "limit" => number(),
        "replyTo" | "replyToId" | "messageId" | "before" | "after" => of(world.messages.clone()),
        "messageIds" => vec(select(world.messages.clone()), 0..4).prop_map(|ids| json!(ids)).boxed(),
        "clientMessageId" | "tempId" | "localId" => "[a-z0-9-]{1,12}".prop_map(Value::String).boxed(),
        "since" => prop_oneof![number(), words(&["2025-12-20T10:00:00.007Z"])].boxed(),
        "markRead" => any::<bool>().prop_map(Value::Bool).boxed(),
        "response" => words(&["dm:history_response"]),
        "scope" => words(&["me", "everyone"]),
        "callId" | "_id" | "id" => of(world.calls.iter().chain(&world.messages).cloned().collect()),
        "callType" => words(&["voice", "video", "audio"]),
        "consultationId" | "contextId" => words(&["690000000000000000000001"]),
        "rating" => (0i64..7).prop_map(|n| json!(n)).boxed(),
        "status" => words(&["ringing", "accepted", "ended", "missed"]),
        "contextType" => words(&["consultation", "service_request", "support", "general"]),
        "token" => of(world.tokens.clone()),
        _ => text().prop_map(Value::String).boxed(),
    }
}

/// An object with some of these fields, most of them sensible, and now and then others.
pub fn object(fields: &[&'static str], world: &World) -> Json {
    let field = |name: &'static str| {
        prop_oneof![6 => sensible(name, world), 2 => text().prop_map(Value::String), 2 => value()]
            .prop_map(move |value| (name.to_owned(), value))
            .boxed()
    };
    let wanted: Vec<_> = fields.iter().map(|name| proptest::option::weighted(0.7, field(name))).collect();
    let others = vec(prop_oneof![Union::new(FIELDS.iter().map(|name| field(name))), (key(), value()).boxed()], 0..2);
    (wanted, others).prop_map(|(wanted, others)| Value::Object(wanted.into_iter().flatten().chain(others).collect::<Map<_, _>>())).boxed()
}

/// The JSON text of something; one time in `rarity` it is no longer what it was.
pub fn json_text(value: impl Strategy<Value = Value> + 'static, rarity: u32) -> BoxedStrategy<String> {
    prop_oneof![rarity => Just(None), 1 => breakage().prop_map(Some)]
        .prop_flat_map({
            let value = value.boxed();
            move |breakage| {
                value.clone().prop_map(move |value| breakage.as_ref().map_or_else(|| value.to_string(), |b| b.apply(&value.to_string())))
            }
        })
        .boxed()
}

/// One way to spoil a JSON text.
#[derive(Clone, Debug)]
enum Breakage {
    Insert(Index, &'static str),
    Cut(Index, Index),
    Twice(Index),
    InFront(&'static str),
    Behind(&'static str),
    Nested(usize, &'static str, &'static str),
}

fn breakage() -> BoxedStrategy<Breakage> {
    let pieces = [
        "\\ud800",
        "\\udc00\\ud800",
        "\\u0000",
        "\"",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "1e999",
        "-",
        "NaN",
        "\u{0}",
        "\u{feff}",
        "é",
        "\\",
        "\\x",
        "0",
    ];
    let fields = [
        "{\"conversationId\":1,\"conversationId\":null,",
        "{\"content\":\"\\ud800\",",
        "{\"a\":1e999,",
        "{\"$where\":{},",
        "{,",
        "\u{feff}{",
        "[",
        "null",
    ];
    let ends = ["}", ",", " ", "\u{0}", "{}", "]", "//", "\u{2028}"];
    let nests = [("[", "]"), ("{\"a\":", "}"), ("[", ""), ("{\"a\":[", "")];
    prop_oneof![
        (any::<Index>(), select(pieces.to_vec())).prop_map(|(at, piece)| Breakage::Insert(at, piece)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Breakage::Cut(from, to)),
        any::<Index>().prop_map(Breakage::Twice),
        select(fields.to_vec()).prop_map(Breakage::InFront),
        select(ends.to_vec()).prop_map(Breakage::Behind),
        (select(vec![100, 127, 128, 129, 1_000, 20_000]), select(nests.to_vec()))
            .prop_map(|(depth, (open, close))| Breakage::Nested(depth, open, close)),
    ]
    .boxed()
}

impl Breakage {
    fn apply(&self, text: &str) -> String {
        let chars: Vec<char> = text.chars().collect();
        let part = |range: std::ops::Range<usize>| chars[range].iter().collect::<String>();
        match self {
            Self::Insert(at, piece) => {
                let at = at.index(chars.len() + 1);
                part(0..at) + piece + &part(at..chars.len())
            }
            Self::Cut(from, to) => {
                let (a, b) = (from.index(chars.len() + 1), to.index(chars.len() + 1));
                part(0..a.min(b)) + &part(a.max(b)..chars.len())
            }
            Self::Twice(at) => {
                let at = at.index(chars.len() + 1);
                part(0..at) + &part(0..chars.len()) + &part(at..chars.len())
            }
            Self::InFront(start) => (*start).to_owned() + text.strip_prefix('{').unwrap_or(text),
            Self::Behind(end) => text.to_owned() + end,
            Self::Nested(depth, open, close) => open.repeat(*depth) + text + &close.repeat(*depth),
        }
    }
}

/// The fields an event reads. What is not listed reads none.
pub fn fields_of(event: &str) -> &'static [&'static str] {
    match event {
        "dm:join_conversation" | "dm:sync" => &["conversationId", "after", "limit", "since"],
        "dm:leave_conversation" | "dm:typing_start" | "dm:typing_stop" => &["conversationId"],
        "dm:send_message" => &[
            "conversationId",
            "recipientId",
            "recipientType",
            "content",
            "messageType",
            "mediaUrl",
            "mediaSize",
            "mediaDuration",
            "thumbnailUrl",
            "replyTo",
            "clientMessageId",
        ],
        "dm:mark_read" | "dm:read" => &["conversationId", "messageIds"],
        "dm:history" => &["conversationId", "page", "limit", "before", "after", "markRead", "response"],
        "dm:delete_message" => &["messageId", "conversationId", "scope"],
        "auth:refresh" => &["token"],
        "presence:get" | "/api/presence" => &["ids"],
        "call:initiate" => &["calleeId", "calleeType", "callType", "consultationId"],
        name if name.starts_with("call") => &["callId", "reason", "duration"],
        _ => &[],
    }
}
