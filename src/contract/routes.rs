//! Every REST route: what it is asked with and what it answers.

use crate::wire::shapes::{self, Field, Kind, may, need};

/// A route and its documentation.
pub struct Route {
    /// Method and path, as `rest` has them.
    pub at: (&'static str, &'static str),
    /// What it does.
    pub summary: &'static str,
    /// Fields of the query.
    pub query: &'static [Field],
    /// Fields of the body; `None` where there is none.
    pub body: Option<&'static [Field]>,
    /// What a success is answered with.
    pub answer: Answer,
    /// The statuses of a success.
    pub statuses: &'static [u16],
}

/// What a success looks like.
pub enum Answer {
    /// `{success: true, data}`.
    Data(Kind),
    /// The same with further fields beside `data`.
    DataAnd(Kind, &'static [Field]),
    /// `{success: true}` with these fields.
    Done(&'static [Field]),
    /// An object without the envelope.
    Plain(&'static [Field]),
    /// The text format of Prometheus.
    Metrics,
    /// Leads elsewhere.
    Redirect,
    /// A file.
    Bytes,
}

impl Route {
    const fn query(self, query: &'static [Field]) -> Self {
        Self { query, ..self }
    }

    const fn body(self, body: &'static [Field]) -> Self {
        Self { body: Some(body), ..self }
    }

    const fn says(self, statuses: &'static [u16]) -> Self {
        Self { statuses, ..self }
    }
}

const fn route(method: &'static str, path: &'static str, summary: &'static str, answer: Answer) -> Route {
    Route { at: (method, path), summary, query: &[], body: None, answer, statuses: &[200] }
}

const MESSAGES: Kind = Kind::List(&Kind::A("Message"));
const PAGES: &[Field] = &[need(
    "pagination",
    Kind::Object(&[
        need("page", Kind::Count, "As asked."),
        need("limit", Kind::Count, "As asked, cut to the largest page."),
        need("total", Kind::Count, "How many there are; counting stops at 10,000."),
        need("pages", Kind::Count, "How many pages that is."),
        need("hasMore", Kind::Flag, "Whether there is more in the direction asked for."),
    ]),
    "",
)];
const INBOX_PAGES: &[Field] = &[need(
    "pagination",
    Kind::Object(&[
        need("page", Kind::Count, "As asked."),
        need("limit", Kind::Count, "As asked, cut to the largest page."),
        need("hasMore", Kind::Flag, "Whether there is more."),
        may("nextCursor", Kind::Text, "Where to go on."),
    ]),
    "",
)];
const WITH_MESSAGES: Answer = Answer::DataAnd(
    Kind::With("Conversation", &[need("messages", MESSAGES, "The newest ones, oldest first.")]),
    &[need("conversation", Kind::A("Conversation"), "The same without messages.")],
);
const CALL_WITH_TOKEN: Kind = Kind::With(
    "Call",
    &[
        may("agoraToken", Kind::Text, "Absent without Agora credentials."),
        may("agoraAppId", Kind::Text, "Absent without Agora credentials."),
        may("expiresAt", Kind::A("Timestamp"), "When the token ends."),
    ],
);
const ROW_WITH_TOKEN: Kind = Kind::With(
    "InboxRow",
    &[
        need("channelName", Kind::Text, "The channel to join."),
        may("agoraToken", Kind::Text, "Absent without Agora credentials."),
        may("agoraAppId", Kind::Text, "Absent without Agora credentials."),
        need("uid", Kind::Count, "0: any."),
        may("expiresAt", Kind::A("Timestamp"), "When the token ends."),
    ],
);
const HEALTH: Answer = Answer::Plain(&[
    need("status", Kind::Word(&["ok"]), "The process runs."),
    need("uptime", Kind::Count, "Seconds."),
    need("timestamp", Kind::A("Timestamp"), "Now."),
    need("socketio", Kind::Object(&[need("totalConnections", Kind::Count, "Sockets.")]), ""),
    need("mongodb", Kind::Flag, "Whether the store is MongoDB."),
    need("store", Kind::Text, "Which it is."),
]);
const COUNTED: [Field; 4] = [
    need("messages", Kind::Count, "Messages."),
    need("voiceCalls", Kind::Count, "Calls with sound alone."),
    need("videoCalls", Kind::Count, "Calls with picture."),
    need("total", Kind::Count, "All of them."),
];
const DAY: Field = need("date", Kind::Day, "A day of UTC.");
const NAMED: [Field; 2] =
    [need("astrologerId", Kind::Text, "Who."), need("astrologerName", Kind::Text, "What he is called, as far as that is known.")];

/// All of them. A test compares them with the table of `rest`.
pub const ROUTES: &[Route] = &[
    route("GET", "/health", "The process runs.", HEALTH),
    route("GET", "/api/health", "The same.", HEALTH),
    route(
        "GET",
        "/ready",
        "The store takes writes and the server is not going down; else 503.",
        Answer::Plain(&[
            need("status", Kind::Word(&["ready"]), ""),
            need("store", Kind::Text, "Which it is."),
            may(
                "bus",
                Kind::Object(&[
                    need("status", Kind::Word(&["up", "down"]), "Whether Redis answers."),
                    need("otherNodes", Kind::Count, "How many are heard."),
                    need("told", Kind::Count, "Packets sent."),
                    need("heard", Kind::Count, "Packets received."),
                    need("lost", Kind::Count, "Packets that could not be sent."),
                    need("gaps", Kind::Count, "How often some of another node were missed."),
                    may("why", Kind::Text, "Why it is down."),
                ]),
                "With several nodes.",
            ),
        ]),
    ),
    route("GET", "/metrics", "Figures for Prometheus: to this machine, with METRICS_TOKEN, or to admins.", Answer::Metrics),
    route(
        "GET",
        "/api/admin/board",
        "Figures of this node for the console.",
        Answer::Data(Kind::Object(&[
            need("at", Kind::A("Timestamp"), "Now."),
            need("uptimeSeconds", Kind::Count, ""),
            need(
                "connections",
                Kind::Object(&[
                    need("total", Kind::Count, ""),
                    need("websocket", Kind::Count, ""),
                    need("polling", Kind::Count, ""),
                    need(
                        "byType",
                        Kind::Object(&[need("user", Kind::Count, ""), need("astrologer", Kind::Count, ""), need("admin", Kind::Count, "")]),
                        "",
                    ),
                ]),
                "",
            ),
            need("messages", Kind::Object(&[need("accepted", Kind::Count, ""), need("refused", Kind::Count, "")]), "Since the start."),
            need("deliveries", Kind::Count, "Since the start."),
            need("calls", Kind::Object(&[need("ringing", Kind::Count, ""), need("active", Kind::Count, "")]), "Now."),
            need("writeQueue", Kind::Object(&[need("depth", Kind::Count, "")]), "Now."),
            need(
                "store",
                Kind::Object(&[
                    need("engine", Kind::Text, ""),
                    need("healthy", Kind::Flag, ""),
                    // Not fields of the contract for apps: null while nothing was stored.
                    need(
                        "commitMs",
                        Kind::Object(&[may("p50", Kind::Nullable(&Kind::Number), ""), may("p99", Kind::Nullable(&Kind::Number), "")]),
                        "",
                    ),
                ]),
                "",
            ),
            need("limits", Kind::Object(&[need("hits", Kind::Count, "")]), "Since the start."),
            need("bus", Kind::Object(&[need("configured", Kind::Flag, ""), need("healthy", Kind::Flag, "")]), ""),
        ])),
    ),
    route(
        "GET",
        "/api/admin/sessions",
        "The sockets of this node, the newest first, at most a thousand.",
        Answer::DataAnd(Kind::List(&Kind::A("ConnectedSession")), &[need("total", Kind::Count, "How many there are.")]),
    )
    .query(shapes::SESSIONS_QUERY),
    route(
        "GET",
        "/api/demo",
        "Demo people with tokens, where they are offered; an empty list for most.",
        Answer::Data(Kind::List(&Kind::Object(&[
            need("type", shapes::PEOPLE, ""),
            need("id", Kind::Text, ""),
            need("name", Kind::Text, ""),
            need("token", Kind::Text, ""),
            need("expiresAt", Kind::A("Timestamp"), ""),
        ]))),
    ),
    route(
        "GET",
        "/api/admin/conversations/{astrologer_id}",
        "The conversation with that astrologer, opened if need be, with its newest messages.",
        WITH_MESSAGES,
    )
    .query(shapes::HISTORY_QUERY),
    route("GET", "/api/admin/conversations/{astrologer_id}/messages", "A page of it, oldest first.", Answer::DataAnd(MESSAGES, PAGES))
        .query(shapes::HISTORY_QUERY),
    route("POST", "/api/admin/conversations/{astrologer_id}/messages", "Send there; 200 for a repeat.", Answer::Data(Kind::A("Message")))
        .body(shapes::POST_MESSAGE)
        .says(&[201, 200]),
    route("POST", "/api/admin/calls/initiate", "Ring an astrologer.", Answer::Data(CALL_WITH_TOKEN))
        .body(shapes::INITIATE_AS_ADMIN)
        .says(&[201]),
    route(
        "POST",
        "/api/admin/relations",
        "Note that two have dealt with each other; 200 if that was known.",
        Answer::Data(Kind::Object(&[need("userId", Kind::Text, ""), need("astrologerId", Kind::Text, "")])),
    )
    .body(shapes::RELATION)
    .says(&[201, 200]),
    route(
        "POST",
        "/api/admin/sessions/revoke",
        "Close a person's sockets and refuse his tokens issued until now.",
        Answer::Data(Kind::Object(&[
            need("userId", Kind::Text, ""),
            need("type", shapes::PEOPLE, ""),
            need("closedSockets", Kind::Count, "Of the node that was asked."),
        ])),
    )
    .body(shapes::REVOKE),
    route(
        "POST",
        "/api/admin/login",
        "Whether this is an admin key; 401 if not.",
        Answer::Data(Kind::Object(&[
            need("authenticated", Kind::Yes, ""),
            need("adminKey", Kind::Text, "As given."),
            need("loginAt", Kind::A("Timestamp"), "Now."),
        ])),
    )
    .body(shapes::LOGIN),
    route(
        "GET",
        "/api/admin/communications/stats",
        "Sums of the period.",
        Answer::Data(Kind::Object(&[
            need("totalMessages", Kind::Count, ""),
            need("totalVoiceCalls", Kind::Count, ""),
            need("totalVideoCalls", Kind::Count, ""),
            need("totalCommunications", Kind::Count, ""),
            need("avgCallDuration", Kind::Number, "Minutes, one decimal."),
            need("activeConversations", Kind::Count, ""),
            need("completedCalls", Kind::Count, ""),
            need("missedCalls", Kind::Count, ""),
            need("rejectedCalls", Kind::Count, ""),
        ])),
    )
    .query(shapes::PERIOD),
    route(
        "GET",
        "/api/admin/communications/trends",
        "Figures for every day.",
        Answer::Data(Kind::List(&Kind::Object(&[DAY, COUNTED[0], COUNTED[1], COUNTED[2], COUNTED[3]]))),
    )
    .query(shapes::PERIOD),
    route(
        "GET",
        "/api/admin/communications/astrologers",
        "Astrologers, those with the most of everything first.",
        Answer::Data(Kind::List(&Kind::Object(&[NAMED[0], NAMED[1], COUNTED[0], COUNTED[1], COUNTED[2], COUNTED[3]]))),
    )
    .query(shapes::PERIOD),
    route(
        "GET",
        "/api/admin/communications/call-duration",
        "Astrologers, those with the most calls first.",
        Answer::Data(Kind::List(&Kind::Object(&[
            NAMED[0],
            NAMED[1],
            need("avgVoiceCallDuration", Kind::Number, "Minutes, one decimal."),
            need("avgVideoCallDuration", Kind::Number, "Minutes, one decimal."),
            need("totalVoiceCalls", Kind::Count, ""),
            need("totalVideoCalls", Kind::Count, ""),
        ]))),
    )
    .query(shapes::PERIOD),
    route(
        "GET",
        "/api/admin/communications/peak-hours",
        "Figures for each hour of UTC.",
        Answer::Data(Kind::List(&Kind::Object(&[need("hour", Kind::Whole(0, 23), ""), COUNTED[0], COUNTED[1], COUNTED[2], COUNTED[3]]))),
    )
    .query(shapes::PERIOD),
    route(
        "GET",
        "/api/admin/communications/success-rates",
        "Percent of all calls of every day.",
        Answer::Data(Kind::List(&Kind::Object(&[
            DAY,
            need("completedRate", Kind::Number, ""),
            need("missedRate", Kind::Number, ""),
            need("rejectedRate", Kind::Number, ""),
        ]))),
    )
    .query(shapes::PERIOD),
    route(
        "GET",
        "/api/admin/analytics/communication-trends",
        "Figures for every day, under shorter names.",
        Answer::Data(Kind::List(&Kind::Object(&[
            DAY,
            need("messages", Kind::Count, ""),
            need("voice", Kind::Count, ""),
            need("video", Kind::Count, ""),
        ]))),
    )
    .query(shapes::PERIOD),
    route("POST", "/api/calls/admin/token", "A token for a call, or for a fresh channel.", Answer::Data(Kind::A("MediaChannel")))
        .body(shapes::ADMIN_TOKEN),
    route(
        "GET",
        "/api/conversations",
        "Your conversations, latest activity first.",
        Answer::DataAnd(Kind::List(&Kind::A("Conversation")), PAGES),
    )
    .query(shapes::CONVERSATIONS_QUERY),
    route("POST", "/api/conversations", "Open one; 200 if it was there.", Answer::Data(Kind::A("Conversation")))
        .body(shapes::OPEN)
        .says(&[201, 200]),
    route("GET", "/api/conversations/admin", "Yours with support, opened if need be, with its newest messages.", WITH_MESSAGES)
        .query(shapes::HISTORY_QUERY),
    route("GET", "/api/conversations/admin/messages", "A page of it, oldest first.", Answer::DataAnd(MESSAGES, PAGES))
        .query(shapes::HISTORY_QUERY),
    route("POST", "/api/conversations/admin/messages", "Send there; 200 for a repeat.", Answer::Data(Kind::A("Message")))
        .body(shapes::POST_MESSAGE)
        .says(&[201, 200]),
    route("GET", "/api/conversations/{id}", "One conversation.", Answer::Data(Kind::A("Conversation"))),
    route("GET", "/api/conversations/{id}/messages", "A page of it, oldest first. Marks nothing.", Answer::DataAnd(MESSAGES, PAGES))
        .query(shapes::HISTORY_QUERY),
    route(
        "POST",
        "/api/conversations/{id}/messages",
        "Send as `dm:send_message` does; 200 for a repeat.",
        Answer::Data(Kind::A("Message")),
    )
    .body(shapes::POST_MESSAGE)
    .says(&[201, 200]),
    route(
        "POST",
        "/api/media/uploads",
        "Announce a file, before it is uploaded.",
        Answer::Data(Kind::Object(&[
            need("mediaId", Kind::MediaId, ""),
            need(
                "upload",
                Kind::Object(&[
                    need("method", Kind::Word(&["PUT"]), ""),
                    need("url", Kind::Text, "Holds its own proof: send no credential there."),
                    need("headers", Kind::Object(&[need("Content-Type", Kind::Text, "")]), "Send these."),
                    need("expiresAt", Kind::A("Timestamp"), ""),
                ]),
                "How to upload it.",
            ),
        ])),
    )
    .body(shapes::ANNOUNCE)
    .says(&[201]),
    route(
        "POST",
        "/api/media/{id}/complete",
        "Have an uploaded file looked at. Safe to repeat.",
        Answer::Data(Kind::Object(&[
            need("mediaId", Kind::MediaId, ""),
            need("name", Kind::Text, ""),
            need("mimeType", Kind::Text, ""),
            need("size", Kind::Count, "Bytes."),
            need("messageType", Kind::A("MessageType"), "What a message with it is."),
            need("mediaUrl", Kind::Text, "A signed address."),
            may("width", Kind::Count, "Of a picture."),
            may("height", Kind::Count, "Of a picture."),
            may("thumbnailUrl", Kind::Text, "A signed address of the preview of a picture."),
        ])),
    ),
    route("GET", "/api/media/{id}", "Leads to the file.", Answer::Redirect).query(shapes::MAYBE_SIGNED).says(&[302]),
    route("GET", "/api/media/{id}/thumbnail", "Leads to the preview.", Answer::Redirect).query(shapes::MAYBE_SIGNED).says(&[302]),
    route("PUT", "/api/media/{id}/content", "The bytes of an announced file, where this server keeps them.", Answer::Done(&[]))
        .query(shapes::SIGNED),
    route("GET", "/api/media/{id}/content", "The bytes, whole or a range.", Answer::Bytes).query(shapes::SIGNED).says(&[200, 206]),
    route("GET", "/api/media/{id}/thumbnail/content", "Those of the preview.", Answer::Bytes).query(shapes::SIGNED).says(&[200, 206]),
    route("GET", "/api/presence", "Who is online.", Answer::Data(Kind::List(&Kind::A("Attendance")))).query(shapes::WANTED),
    route("POST", "/api/calls/initiate", "Ring somebody.", Answer::Data(CALL_WITH_TOKEN)).body(shapes::INITIATE).says(&[201]),
    route("GET", "/api/calls/history", "Your calls, newest first.", Answer::DataAnd(Kind::List(&Kind::A("Call")), PAGES))
        .query(shapes::CALLS_QUERY),
    route("GET", "/api/calls/active", "Your calls that are not over.", Answer::Data(Kind::List(&Kind::A("Call")))),
    route("GET", "/api/calls/{id}", "One call.", Answer::Data(Kind::A("Call"))),
    route("POST", "/api/calls/{id}/token", "A fresh token for its channel.", Answer::Data(Kind::A("MediaChannel"))),
    route("POST", "/api/calls/{id}/end", "Cancel, decline or hang up.", Answer::Data(Kind::A("Call"))).body(shapes::ENDING_BODY),
    route("POST", "/api/calls/{id}/feedback", "Rate it once, when it is over.", Answer::Data(Kind::A("Call"))).body(shapes::FEEDBACK),
    route(
        "POST",
        "/api/fcm/register",
        "Make a device yours; one of the tokens must be there.",
        Answer::Done(&[need("message", Kind::Text, "For people.")]),
    )
    .body(shapes::DEVICE),
    route("POST", "/api/fcm/unregister", "Forget a device. Safe to repeat.", Answer::Done(&[need("message", Kind::Text, "For people.")]))
        .body(shapes::DEVICE_TOKEN),
    route(
        "GET",
        "/api/fcm/tokens",
        "Your devices, newest first.",
        Answer::Data(Kind::List(&Kind::Object(&[
            need("token", Kind::Text, "Masked."),
            need("kind", Kind::Word(&["fcm", "voip"]), ""),
            need("platform", Kind::Word(&["android", "ios", "web"]), ""),
            need("lastUpdated", Kind::A("Timestamp"), ""),
        ]))),
    ),
    route(
        "GET",
        "/api/communications/{id}",
        "An inbox: conversations and calls, newest first.",
        Answer::DataAnd(Kind::List(&Kind::A("InboxRow")), INBOX_PAGES),
    )
    .query(shapes::INBOX_QUERY),
    route(
        "GET",
        "/api/communications/{id}/unread-counts",
        "What its owner has not seen.",
        Answer::Data(Kind::Object(&[
            need("messages", Kind::Count, ""),
            need("missedCalls", Kind::Count, "Voice."),
            need("missedVideoCalls", Kind::Count, ""),
        ])),
    )
    .query(shapes::OWNER_QUERY),
    route(
        "PATCH",
        "/api/communications/messages/{id}/read",
        "Mark one message that is addressed to you.",
        Answer::Data(Kind::Object(&[
            need("messageIds", Kind::List(&Kind::A("MessageId")), "Those that became read now."),
            need("unreadCount", Kind::Count, "What is left in its conversation."),
        ])),
    ),
    route(
        "PATCH",
        "/api/communications/{id}/messages/mark-all-read",
        "Mark everything, at most 1,000 conversations in one go.",
        Answer::Data(Kind::Object(&[
            need("conversations", Kind::Count, "How many."),
            need("messages", Kind::Count, "How many."),
            need("hasMore", Kind::Flag, "Ask again."),
        ])),
    ),
    route(
        "PATCH",
        "/api/communications/{id}/calls/clear-missed",
        "The missed calls until now count as seen.",
        Answer::Data(Kind::Object(&[need("missedSeenAt", Kind::A("Timestamp"), "")])),
    ),
    route("POST", "/api/communications/{id}/messages", "Send to a contact; 200 for a repeat.", Answer::Data(Kind::A("InboxRow")))
        .body(shapes::INBOX_MESSAGE)
        .says(&[201, 200]),
    route("POST", "/api/communications/{id}/calls/voice", "Ring a contact.", Answer::Data(ROW_WITH_TOKEN))
        .body(shapes::INBOX_CALL)
        .says(&[201]),
    route("POST", "/api/communications/{id}/calls/video", "Ring a contact with picture.", Answer::Data(ROW_WITH_TOKEN))
        .body(shapes::INBOX_CALL)
        .says(&[201]),
];
