// A decoder as strict as the shipped apps: one wrong type loses a whole message there, so it fails a test here.
// Source: docs/protocol.md, "Output objects". Every event every test receives passes through it.

const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const HEX = /^[0-9a-f]{24}$/;
const KINDS = ['admin', 'astrologer', 'user'];

/** The closed list of error codes (10.1 row 17). */
export const CODES = [
  'INVALID_PAYLOAD', 'INVALID_ID', 'CONTENT_TOO_LONG', 'PAYLOAD_TOO_LARGE', 'CONVERSATION_NOT_FOUND', 'MESSAGE_NOT_FOUND', 'CALL_NOT_FOUND',
  'DM_JOIN_FORBIDDEN', 'SELF_CONVERSATION_BLOCKED', 'NOT_RELATED', 'FORBIDDEN', 'RATE_LIMITED', 'CALL_NOT_RINGING', 'CALL_OVER', 'CALLEE_BUSY',
  'ANSWERED_ELSEWHERE', 'CONFLICT', 'OVERLOADED', 'UNAVAILABLE', 'UNKNOWN_EVENT', 'NOT_FOUND', 'INTERNAL',
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
  'mediaUrl?': is.name, 'mediaSize?': is.int, 'mediaDuration?': is.number, 'thumbnailUrl?': is.name, 'replyTo?': is.hex, 'replyToId?': is.hex,
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
  error: FAILURE, 'dm:error': FAILURE, 'call:error': FAILURE,
};

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
export const messageFaults = (message, where = 'message') => faultsOf(message, MESSAGE, where);

/** What is wrong with a packet of the server: exactly one object, no ack id, and the fields the contract gives the event. */
export function packetFaults({ event, args, ackId }) {
  if (args.length !== 1 || !is.object(args[0])) return [`${event} must have exactly one object as argument, not ${JSON.stringify(args)}`];
  const faults = ackId === undefined ? [] : [`${event} must not ask the client for an ack`];
  const [payload] = args;
  if (!EVENTS[event]) return [...faults, `${event} is no event of the contract`];
  faults.push(...faultsOf(payload, EVENTS[event], event));
  if (event === 'connected') faults.push(...faultsOf(payload.user ?? {}, USER, 'connected.user'));
  if (payload.messages) faults.push(...payload.messages.flatMap((message) => messageFaults(message, `${event}.messages[]`)));
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
