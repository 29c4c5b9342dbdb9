// A decoder as strict as the shipped apps: one wrong type loses a whole message there, so it fails a test here.
// Source: docs/protocol.md, "Output objects". Every event every test receives passes through it.

const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const HEX = /^[0-9a-f]{24}$/;
const CHANNEL = /^call_\d{13}_[0-9a-z]{9}$/;
const KINDS = ['admin', 'astrologer', 'user'];

/** The closed list of error codes (10.1 row 17). */
export const CODES = [
  'INVALID_PAYLOAD', 'INVALID_ID', 'CONTENT_TOO_LONG', 'PAYLOAD_TOO_LARGE', 'CONVERSATION_NOT_FOUND', 'MESSAGE_NOT_FOUND', 'CALL_NOT_FOUND',
  'DM_JOIN_FORBIDDEN', 'SELF_CONVERSATION_BLOCKED', 'NOT_RELATED', 'FORBIDDEN', 'RATE_LIMITED', 'CALL_NOT_RINGING', 'CALL_OVER', 'CALLEE_BUSY',
  'ANSWERED_ELSEWHERE', 'CONFLICT', 'OVERLOADED', 'UNAVAILABLE', 'UNKNOWN_EVENT', 'NOT_FOUND', 'MEDIA_NOT_FOUND', 'MEDIA_REFUSED', 'INTERNAL',
  'auth.missing', 'auth.invalid', 'auth.expired', 'auth.session_replaced', 'auth.suspended',
];

const is = {
  text: (v) => typeof v === 'string',
  name: (v) => typeof v === 'string' && v.length > 0,
  int: (v) => Number.isInteger(v) && v >= 0,
  number: (v) => typeof v === 'number' && Number.isFinite(v),
  bool: (v) => typeof v === 'boolean',
  iso: (v) => typeof v === 'string' && ISO.test(v) && !Number.isNaN(Date.parse(v)),
  hex: (v) => typeof v === 'string' && HEX.test(v),
  hexes: (v) => Array.isArray(v) && v.length > 0 && v.every(is.hex),
  texts: (v) => Array.isArray(v) && v.every(is.text),
  kind: (v) => KINDS.includes(v),
  list: Array.isArray,
  code: (v) => CODES.includes(v),
  channel: (v) => typeof v === 'string' && CHANNEL.test(v),
  status: (v) => ['sent', 'delivered', 'read', 'failed'].includes(v),
  yes: (v) => v === true,
  no: (v) => v === false,
  object: (v) => typeof v === 'object' && v !== null && !Array.isArray(v),
  oneOf: (...words) => (v) => words.includes(v),
};

/** A name ending in `?` may be missing; nothing else may be there. */
const MESSAGE = {
  _id: is.hex, id: is.hex, conversationId: is.name, conversationKey: is.name, conversationRef: is.hex,
  senderId: is.name, senderType: is.kind, 'senderName?': is.name, 'senderAvatar?': is.name, recipientId: is.name, recipientType: is.kind,
  content: is.text, messageType: is.oneOf('text', 'image', 'audio', 'video', 'file', 'location', 'system', 'call_log'),
  'mediaId?': is.name, 'mediaUrl?': is.name, 'mediaSize?': is.int, 'mediaDuration?': is.number, 'thumbnailUrl?': is.name, 'replyTo?': is.hex, 'replyToId?': is.hex,
  status: is.status, timestamp: is.iso, createdAt: is.iso, updatedAt: is.iso, 'readAt?': is.iso, 'deliveredAt?': is.iso,
  isDeleted: is.bool, 'deletedAt?': is.iso, deletedBy: is.texts,
  'callType?': is.name, 'callStatus?': is.name, 'callDuration?': is.int, 'callId?': is.hex, 'clientMessageId?': is.name,
};
const TYPING = { conversationId: is.name, userId: is.name, userType: is.kind, 'userName?': is.name };
const FAILURE = {
  message: is.name, error: is.code, code: is.code, event: is.name, 'conversationId?': is.name, 'callId?': is.name, 'retryAfterMs?': is.int, 'retryable?': is.yes,
};
const USER = {
  id: is.name, _id: is.name, userId: is.name, 'astrologerId?': is.name, 'name?': is.name, type: is.kind, userType: is.kind, role: is.kind,
  'profilePicture?': is.name, 'avatar?': is.name, isAnonymous: is.no, 'isAdmin?': is.yes,
};
const HISTORY = { conversationId: is.name, messages: is.list, total: is.int, page: is.int, limit: is.int, hasMore: is.bool, unreadCount: is.int };

/** The words of call events, and the stored words REST shows as `status`. */
const STATES = ['initiated', 'ringing', 'accepted', 'connected', 'ended', 'rejected', 'missed', 'cancelled'];
const STORED = ['initiated', 'ringing', 'answered', 'ongoing', 'ended', 'rejected', 'missed', 'failed'];
const END_REASONS = ['completed', 'rejected', 'no_answer', 'network_error', 'cancelled'];
const KIND_OF_CALL = is.oneOf('voice', 'video');
const STATE = is.oneOf(...STATES);
const END_REASON = is.oneOf(...END_REASONS);

const MEDIA = { uid: is.int, 'agoraToken?': is.name, 'agoraAppId?': is.name, 'expiresAt?': is.iso };
const RINGING = {
  callId: is.hex, _id: is.hex, id: is.hex, callType: KIND_OF_CALL, status: STATE, callerId: is.name, callerType: is.kind,
  'callerName?': is.name, 'callerAvatar?': is.name, recipientId: is.name, recipientType: is.kind, calleeId: is.name, calleeType: is.kind,
  channelName: is.channel, conversationId: is.name, timestamp: is.iso, agoraUid: is.int, ...MEDIA,
};
const ACCEPTED = { ...RINGING, status: is.oneOf('accepted'), contactId: is.name, acceptedAt: is.iso };
const REJECTED = { callId: is.hex, _id: is.hex, contactId: is.name, reason: is.name, 'code?': is.code, status: is.oneOf('rejected') };
const ENDED = { callId: is.hex, _id: is.hex, contactId: is.name, duration: is.int, reason: is.name, 'endReason?': END_REASON, status: STATE };
const MISSED = { callId: is.hex, _id: is.hex, reason: is.oneOf('no_answer'), status: is.oneOf('missed') };
/** The `call:end` beside a `call:missed`: the only one that carries a text for people. */
const MISSED_END = {
  ...MISSED, reason: is.oneOf('missed'), message: is.name, 'contactId?': is.name, 'duration?': (v) => v === 0, 'endReason?': is.oneOf('no_answer'),
};

const CALL_ACK = { ok: is.yes, callId: is.hex, status: STATE };
const MEDIA_ACK = { ...CALL_ACK, channelName: is.channel, ...MEDIA };
/** What the acks of call events hold when they say ok. */
const ACKS = {
  'call:initiate': { ...MEDIA_ACK, 'reason?': is.oneOf('busy'), 'code?': is.oneOf('CALLEE_BUSY') },
  'call:accept': MEDIA_ACK, 'call:accepted': MEDIA_ACK, 'call:token': MEDIA_ACK,
  'call:reject': CALL_ACK, 'call:rejected': CALL_ACK, 'call:connected': CALL_ACK, 'call:end': CALL_ACK, 'call:ended': CALL_ACK,
};

/** A call as REST shows it. */
const CALL = {
  callId: is.hex, _id: is.hex, id: is.hex, callType: KIND_OF_CALL, status: is.oneOf(...STORED), state: STATE, callerId: is.name, callerType: is.kind,
  'callerName?': is.name, 'callerAvatar?': is.name, calleeId: is.name, calleeType: is.kind, 'calleeName?': is.name, 'calleeAvatar?': is.name,
  recipientId: is.name, recipientType: is.kind, 'recipientName?': is.name, 'recipientAvatar?': is.name, channelName: is.channel,
  agoraChannelName: is.channel, agoraUid: is.int, uid: is.int, 'conversationId?': is.name, 'consultationId?': is.hex, initiatedAt: is.iso,
  startedAt: is.iso, 'ringingAt?': is.iso, 'answeredAt?': is.iso, 'acceptedAt?': is.iso, 'connectedAt?': is.iso, 'endedAt?': is.iso,
  duration: is.int, serverDuration: is.int, 'endReason?': END_REASON, 'endDetail?': is.name, 'endedBy?': is.name, 'endedByType?': is.kind,
  'rating?': is.int, 'feedback?': is.name, createdAt: is.iso, updatedAt: is.iso,
};
/** The same field under several names must hold the same. */
const SAME_IN_CALLS = [
  ['callId', '_id'], ['callId', 'id'], ['calleeId', 'recipientId'], ['calleeType', 'recipientType'], ['calleeName', 'recipientName'],
  ['calleeAvatar', 'recipientAvatar'], ['channelName', 'agoraChannelName'], ['uid', 'agoraUid'], ['initiatedAt', 'startedAt'], ['answeredAt', 'acceptedAt'],
];
const CALL_LOG = { callType: KIND_OF_CALL, callStatus: is.oneOf('completed', 'declined', 'cancelled', 'missed'), callDuration: is.int, callId: is.hex };

const ATTENDANCE = { id: is.name, type: is.kind, isOnline: is.bool, presence: is.oneOf('online', 'offline'), 'lastSeen?': is.iso };
const ASTROLOGER_STATUS = {
  astrologerId: is.name, isOnline: is.bool, presence: is.oneOf('online', 'offline'), lastSeen: is.iso, 'name?': is.name, 'profilePicture?': is.name,
};

const EVENTS = {
  connected: { socketId: is.name, user: is.object, timestamp: is.int, serverTime: is.iso, protocol: (v) => is.int(v) || is.name(v) },
  stats: { totalRooms: is.int, totalConnections: is.int, rooms: is.list },
  'dm:joined': { conversationId: is.name, success: is.yes, conversationKey: is.name, unreadCount: is.int },
  'dm:message_received': MESSAGE, 'dm:message_sent': MESSAGE, 'dm:new_message': MESSAGE,
  'dm:typing_start': TYPING, 'dm:user_typing': TYPING, 'dm:typing_stop': TYPING, 'dm:user_stopped_typing': TYPING,
  'dm:messages_read': { conversationId: is.name, messageIds: is.hexes, readBy: is.name, readByType: is.kind, readAt: is.iso },
  'dm:messages_delivered': { conversationId: is.name, messageIds: is.hexes, deliveredTo: is.name, deliveredAt: is.iso },
  'dm:message_deleted': { conversationId: is.name, messageId: is.hex, scope: is.oneOf('me', 'everyone'), deletedBy: is.name, deletedAt: is.iso },
  'dm:history': HISTORY, 'dm:history_response': HISTORY,
  'call:initiated': RINGING, 'call:token': RINGING, 'call:incoming': { ...RINGING, 'callerPhone?': is.name },
  'call:accept': ACCEPTED, 'call:accepted': ACCEPTED, 'call:reject': REJECTED, 'call:rejected': REJECTED, 'call:end': ENDED, 'call:ended': ENDED,
  'call:missed': MISSED, 'call:connected': { callId: is.hex, contactId: is.name },
  'presence:changed': { changes: (v) => is.list(v) && v.length > 0 }, 'astrologer:status_changed': ASTROLOGER_STATUS, resync: { since: is.iso },
  error: FAILURE, 'dm:error': FAILURE, 'call:error': FAILURE,
};
const messageShape = (message) => (message.messageType === 'call_log' ? { ...MESSAGE, ...CALL_LOG } : MESSAGE);

function shapeOf(event, payload) {
  if (EVENTS[event] === MESSAGE) return messageShape(payload);
  return event === 'call:end' && 'message' in payload ? MISSED_END : EVENTS[event];
}

function faultsOf(value, shape, where) {
  const faults = [];
  for (const [field, right] of Object.entries(shape)) {
    const name = field.replace(/\?$/, '');
    if (!(name in value)) {
      if (name === field) faults.push(`${where}.${name} is missing`);
    } else if (!right(value[name])) {
      faults.push(`${where}.${name} is ${JSON.stringify(value[name])}`);
    }
  }
  for (const name of Object.keys(value)) {
    if (!(name in shape) && !(`${name}?` in shape)) faults.push(`${where}.${name} is not in the contract`);
  }
  return faults;
}

/** What is wrong with a message. */
export const messageFaults = (message, where = 'message') => faultsOf(message, messageShape(message), where);

/** Names for one thing that say different things, and a part of the Agora fields without the others. */
function callDisagreements(value, where) {
  const faults = SAME_IN_CALLS.filter(([a, b]) => a in value && b in value && value[a] !== value[b]).map(([a, b]) => `${where}: ${a} and ${b} differ`);
  const media = ['agoraToken', 'agoraAppId', 'expiresAt'].filter((name) => name in value);
  if (media.length % 3 !== 0) faults.push(`${where}: only ${media} of the Agora fields`);
  return faults;
}

/** What is wrong with a call as REST shows it; `media` if this route adds a token. */
export function callFaults(call, { media = false, where = 'call' } = {}) {
  return [...faultsOf(call, media ? { ...CALL, ...MEDIA } : CALL, where), ...callDisagreements(call, where)];
}

/** What is wrong with what REST says when it makes a token. */
export const tokenFaults = (data) => [...faultsOf(data, { channelName: is.channel, ...MEDIA }, 'token'), ...callDisagreements(data, 'token')];

/** What is wrong with the ack of a call event that was granted. */
export const ackFaults = (event, answer) => (ACKS[event] ? [...faultsOf(answer, ACKS[event], `ack of ${event}`), ...callDisagreements(answer, event)] : []);

/** What is wrong with a packet of the server: exactly one object, no ack id, and the fields the contract gives the event. */
export function packetFaults({ event, args, ackId }) {
  if (args.length !== 1 || !is.object(args[0])) return [`${event} must have exactly one object as argument, not ${JSON.stringify(args)}`];
  const faults = ackId === undefined ? [] : [`${event} must not ask the client for an ack`];
  const [payload] = args;
  if (!EVENTS[event]) return [...faults, `${event} is no event of the contract`];
  faults.push(...faultsOf(payload, shapeOf(event, payload), event));
  if (event.startsWith('call:')) faults.push(...callDisagreements(payload, event));
  if (event === 'connected') faults.push(...faultsOf(payload.user ?? {}, USER, 'connected.user'));
  if (payload.messages) faults.push(...payload.messages.flatMap((message) => messageFaults(message, `${event}.messages[]`)));
  if (payload.changes) faults.push(...payload.changes.flatMap((row) => faultsOf(row, ATTENDANCE, `${event}.changes[]`)));
  if (payload.error && payload.error !== payload.code) faults.push(`${event}: error and code differ`);
  return faults;
}

/** What is wrong with the text of a packet: the apps want no null, and integers written as integers (12, never 12.0). */
export function textFaults(text) {
  const bare = text.replace(/"(?:[^"\\]|\\.)*"/g, '""');
  const faults = [];
  if (/[:,[]null\b/.test(bare)) faults.push(`null in ${text}`);
  if (/\d\.0*(?![0-9])|\d[eE][+-]?\d/.test(bare)) faults.push(`an integer is written as a fraction in ${text}`);
  return faults;
}
