// Made by clients/generate.mjs from docs/asyncapi.json: change that, not this. Version 1 of the contract.

/** `astrologer:status_changed`. */
export interface AstrologerStatus {
  /** Who. */
  astrologerId: string;
  /** Connected or to be reached by push, and switched on where another program keeps such a switch. */
  isOnline: boolean;
  /** When last connected; now, while connected. */
  lastSeen: Timestamp;
  /** Name, when known. */
  name?: string;
  /** `online` or `offline`: connected or not. */
  presence: "online" | "offline";
  /** Picture, when known. */
  profilePicture?: string;
}

/** Whether somebody is connected. */
export interface Attendance {
  id: string;
  isOnline: boolean;
  lastSeen?: Timestamp;
  presence: "online" | "offline";
  type: PersonType;
}

export interface AuthRefreshAccepted {
  /** When the new token ends. */
  expiresAt?: Timestamp;
  ok: true;
}

export type AuthRefreshAck = AuthRefreshAccepted | Refused;

export interface AuthRefreshRequest {
  /** A newer token of the same person. */
  token: string;
}

export interface CallAcceptAccepted {
  agoraAppId?: string;
  agoraToken?: string;
  callId: CallId;
  channelName: string;
  code?: string;
  expiresAt?: Timestamp;
  ok: true;
  reason?: string;
  status: string;
  uid: number;
}

export type CallAcceptAck = CallAcceptAccepted | Refused;

export interface CallAcceptRequest {
  /** The call. */
  callId: string;
}

export interface CallAccepted {
  /** Absent without Agora credentials. */
  agoraAppId?: string;
  /** Absent without Agora credentials. */
  agoraToken?: string;
  /** Absent if it was ignored. */
  callId?: CallId;
  /** If this answered the call; so the next four. */
  channelName?: string;
  /** When the token ends. */
  expiresAt?: Timestamp;
  ok: true;
  /** Where the call stands. */
  status?: string;
  /** 0: any. */
  uid?: number;
}

export type CallAck = CallAccepted | Refused;

/** `call:connected`. */
export interface CallConnected {
  callId: CallId;
  contactId: string;
}

export interface CallConnectedAccepted {
  callId: CallId;
  ok: true;
  status: string;
}

export type CallConnectedAck = CallConnectedAccepted | Refused;

export interface CallConnectedRequest {
  /** The call. */
  callId: string;
}

export interface CallEndAccepted {
  callId: CallId;
  ok: true;
  status: string;
}

export type CallEndAck = CallEndAccepted | Refused;

export interface CallEndRequest {
  /** The call. */
  callId: string;
  /** Seconds talked, as the client counted them. */
  duration?: number;
  /** Why, in the client's own word. */
  reason?: string;
}

/** `call:end` and `call:ended`. */
export interface CallEnded {
  _id: CallId;
  callId: CallId;
  contactId: string;
  duration: number;
  endReason?: EndReason;
  message?: string;
  reason: string;
  status: string;
}

/** The `_id` of a call. */
export type CallId = string;

export interface CallInitiateAccepted {
  agoraAppId?: string;
  agoraToken?: string;
  callId: CallId;
  channelName: string;
  code?: string;
  expiresAt?: Timestamp;
  ok: true;
  reason?: string;
  status: string;
  uid: number;
}

export type CallInitiateAck = CallInitiateAccepted | Refused;

export interface CallInitiateRequest {
  /** `audio` is read as `voice`. */
  callType: "voice" | "video";
  /** Whom. */
  calleeId?: string;
  /** Beside `calleeId`; `admin` alone is enough. */
  calleeType?: "admin" | "astrologer" | "user";
  /** The consultation it belongs to. */
  consultationId?: string;
}

/** `call:missed`. */
export interface CallMissed {
  _id: CallId;
  callId: CallId;
  reason: EndReason;
  status: string;
}

/** A call with what is needed to join its channel. */
export interface CallOffer {
  _id: CallId;
  /** In `call:accept`. */
  acceptedAt?: Timestamp;
  /** Absent without Agora credentials. */
  agoraAppId?: string;
  /** Absent without Agora credentials. */
  agoraToken?: string;
  /** The same. */
  agoraUid: number;
  callId: CallId;
  callType: CallType;
  calleeId: string;
  calleeType: PersonType;
  callerAvatar?: string;
  callerId: string;
  callerName?: string;
  /** In `call:incoming`, if the caller's own token states it. */
  callerPhone?: string;
  callerType: PersonType;
  channelName: string;
  /** In `call:accept`: the callee. */
  contactId?: string;
  conversationId?: string;
  /** When the token ends. */
  expiresAt?: Timestamp;
  id: CallId;
  recipientId: string;
  recipientType: PersonType;
  status: string;
  timestamp: Timestamp;
  /** The media user the token is for; 0 is any. */
  uid: number;
}

export interface CallRejectAccepted {
  callId: CallId;
  ok: true;
  status: string;
}

export type CallRejectAck = CallRejectAccepted | Refused;

export interface CallRejectRequest {
  /** The call. */
  callId: string;
  /** Seconds talked, as the client counted them. */
  duration?: number;
  /** Why, in the client's own word. */
  reason?: string;
}

/** `call:reject` and `call:rejected`. */
export interface CallRejected {
  _id: CallId;
  callId: CallId;
  code?: string;
  contactId: string;
  reason: string;
  status: string;
}

export interface CallRequest {
  /** The call. */
  callId: string;
  /** Seconds talked, as the client counted them. */
  duration?: number;
  /** Why, in the client's own word. */
  reason?: string;
}

export interface CallTokenAccepted {
  agoraAppId?: string;
  agoraToken?: string;
  callId: CallId;
  channelName: string;
  code?: string;
  expiresAt?: Timestamp;
  ok: true;
  reason?: string;
  status: string;
  uid: number;
}

export type CallTokenAck = CallTokenAccepted | Refused;

export interface CallTokenRequest {
  /** The call. */
  callId: string;
}

/** What travels during the call. */
export type CallType = "voice" | "video";

export interface Change {
  deliveredAt?: Timestamp;
  isDeleted?: boolean;
  messageId: MessageId;
  readAt?: Timestamp;
  status: MessageStatus;
}

/** `connected`: who the server takes the client for. */
export interface Connected {
  protocol: number;
  serverTime: Timestamp;
  socketId: string;
  /** Milliseconds since the epoch. */
  timestamp: number;
  user: ConnectedUser;
}

export interface ConnectedUser {
  _id: string;
  astrologerId?: string;
  avatar?: string;
  id: string;
  isAdmin?: boolean;
  isAnonymous: boolean;
  name?: string;
  profilePicture?: string;
  role: PersonType;
  type: PersonType;
  userId: string;
  userType: PersonType;
}

/** The `_id` of a conversation. */
export type ConversationId = string;

/** The canonical key of a conversation. */
export type ConversationKey = string;

export interface DmDeleteMessageAccepted {
  /** Which. */
  messageId: MessageId;
  ok: true;
  /** For whom. */
  scope: "me" | "everyone";
}

export type DmDeleteMessageAck = DmDeleteMessageAccepted | Refused;

export interface DmDeleteMessageRequest {
  /** If given, the message must be in it. */
  conversationId?: string;
  /** Which. */
  messageId: string;
  /** `me` if missing. */
  scope?: "me" | "everyone";
}

export interface DmHistoryAccepted {
  conversationId: string;
  hasMore: boolean;
  limit: number;
  messages: Array<Message>;
  ok: true;
  page: number;
  total: number;
  unreadCount: number;
}

export type DmHistoryAck = DmHistoryAccepted | Refused;

export interface DmHistoryRequest {
  /** The oldest ones newer than this message; `page` is ignored; `before` wins. */
  after?: string;
  /** The newest ones older than this message; `page` is ignored. */
  before?: string;
  /** Any name of the conversation; its canonical key is best. */
  conversationId: string;
  /** 50 if missing; a larger number means the largest page. */
  limit?: number;
  /** False: look without reading. */
  markRead?: boolean;
  /** Counted from the newest; 1 if missing. */
  page?: number;
  /** The page is also emitted under that name. */
  response?: "dm:history_response";
}

export interface DmJoinConversationAccepted {
  /** As the client wrote it. */
  conversationId: string;
  /** Canonical key; the text of the client while nobody knows the conversation. */
  conversationKey: string;
  /** With `after`: the next `after`. */
  cursor?: MessageId;
  /** With `after`: whether there is more. */
  hasMore?: boolean;
  /** With `after`: what is newer, oldest first. */
  messages?: Array<Message>;
  ok: true;
  /** Always true; older clients look at it. */
  success: true;
  /** What the asker has to read there. */
  unreadCount: number;
}

export type DmJoinConversationAck = DmJoinConversationAccepted | Refused;

export interface DmJoinConversationRequest {
  /** Also answer with what is newer than this message. */
  after?: string;
  /** Any name of the conversation; its canonical key is best. */
  conversationId: string;
  /** 50 if missing; a larger number means the largest page. */
  limit?: number;
}

export interface DmLeaveConversationAccepted {
  /** As the client wrote it. */
  conversationId: string;
  ok: true;
}

export type DmLeaveConversationAck = DmLeaveConversationAccepted | Refused;

export interface DmLeaveConversationRequest {
  /** Any name of the conversation; its canonical key is best. */
  conversationId: string;
}

export interface DmMarkReadAccepted {
  /** Those that became read now, oldest first. */
  messageIds: Array<MessageId>;
  ok: true;
  /** What is left to read. */
  unreadCount: number;
}

export type DmMarkReadAck = DmMarkReadAccepted | Refused;

export interface DmMarkReadRequest {
  /** Any name of the conversation; its canonical key is best. */
  conversationId: string;
  /** Missing or empty: everything unread. */
  messageIds?: Array<string>;
}

export interface DmSendMessageAccepted {
  duplicate?: boolean;
  message: Message;
  ok: true;
}

export type DmSendMessageAck = DmSendMessageAccepted | Refused;

export interface DmSendMessageRequest {
  /** Your own id for this message; makes repeats safe. Always send one. */
  clientMessageId?: string;
  /** The text; may be empty beside media. */
  content?: string;
  /** Where; may be missing when there is a recipient. */
  conversationId?: string;
  /** Seconds. */
  mediaDuration?: number;
  /** A file uploaded for this conversation, instead of `mediaUrl` and `thumbnailUrl`. */
  mediaId?: string;
  /** Bytes. */
  mediaSize?: number;
  /** Where the media is. */
  mediaUrl?: string;
  /** `text` if missing; a `mediaId` decides it. */
  messageType?: "text" | "image" | "audio" | "video" | "file" | "location";
  /** To whom; the other participant if missing. */
  recipientId?: string;
  /** Beside `recipientId`; `admin` alone is enough. */
  recipientType?: "admin" | "astrologer" | "user";
  /** A message of the same conversation. */
  replyTo?: string;
  /** Where a preview is. */
  thumbnailUrl?: string;
}

export interface DmSyncAccepted {
  changes?: Array<Change>;
  conversationId: string;
  cursor?: MessageId;
  hasMore: boolean;
  messages: Array<Message>;
  ok: true;
  serverTime: Timestamp;
}

export type DmSyncAck = DmSyncAccepted | Refused;

export interface DmSyncRequest {
  /** Newer than this message; missing: the newest ones. */
  after?: string;
  /** Any name of the conversation; its canonical key is best. */
  conversationId: string;
  /** 50 if missing; a larger number means the largest page. */
  limit?: number;
  /** Also tell what changed since then: the `serverTime` of the last sync or of `connected`. */
  since?: string;
}

export interface DmTypingStartAccepted {
  ok: true;
}

export type DmTypingStartAck = DmTypingStartAccepted | Refused;

export interface DmTypingStartRequest {
  /** Any name of the conversation; its canonical key is best. */
  conversationId: string;
}

export interface DmTypingStopAccepted {
  ok: true;
}

export type DmTypingStopAck = DmTypingStopAccepted | Refused;

export interface DmTypingStopRequest {
  /** Any name of the conversation; its canonical key is best. */
  conversationId: string;
}

export type EndReason = "completed" | "rejected" | "no_answer" | "network_error" | "cancelled";

/** The stable word for programs. */
export type ErrorCode = "auth.missing" | "auth.invalid" | "auth.expired" | "auth.session_replaced" | "auth.suspended" | "INVALID_PAYLOAD" | "INVALID_ID" | "CONTENT_TOO_LONG" | "PAYLOAD_TOO_LARGE" | "CONVERSATION_NOT_FOUND" | "MESSAGE_NOT_FOUND" | "CALL_NOT_FOUND" | "MEDIA_NOT_FOUND" | "MEDIA_REFUSED" | "CALL_NOT_RINGING" | "CALL_OVER" | "ANSWERED_ELSEWHERE" | "NOT_RELATED" | "DM_JOIN_FORBIDDEN" | "SELF_CONVERSATION_BLOCKED" | "FORBIDDEN" | "CONFLICT" | "OVERLOADED" | "RATE_LIMITED" | "UNAVAILABLE" | "UNKNOWN_EVENT" | "NOT_FOUND" | "INTERNAL";

/** `error`, with `dm:error` or `call:error`. */
export interface Failure {
  /** The call it was about, if the client said so. */
  callId?: string;
  /** The stable word. */
  code: ErrorCode;
  /** What it was about, if the client said so. */
  conversationId?: string;
  /** The code again, under the name older clients read. */
  error: ErrorCode;
  /** The event that failed. */
  event: string;
  /** For people. */
  message: string;
  /** Milliseconds to wait. */
  retryAfterMs?: number;
  /** True if the same request may succeed later. */
  retryable?: boolean;
}

export interface GetStatsAccepted {
  ok: true;
}

export type GetStatsAck = GetStatsAccepted | Refused;

export type GetStatsRequest = Record<string, never>;

/** A page of history as the client asked for it. */
export interface HistoryPage {
  conversationId: string;
  hasMore: boolean;
  limit: number;
  messages: Array<Message>;
  page: number;
  total: number;
  unreadCount: number;
}

/** `dm:joined`. */
export interface Joined {
  /** As the client wrote it. */
  conversationId: string;
  /** Canonical key; the text of the client while nobody knows the conversation. */
  conversationKey: string;
  /** Always true; older clients look at it. */
  success: true;
  /** What the asker has to read there. */
  unreadCount: number;
}

/** A message as a listener sees it. */
export interface Message {
  _id: MessageId;
  callDuration?: number;
  callId?: string;
  callStatus?: string;
  callType?: string;
  clientMessageId?: string;
  content: string;
  conversationId: string;
  conversationKey: ConversationKey;
  conversationRef: ConversationId;
  createdAt: Timestamp;
  deletedAt?: Timestamp;
  deletedBy: Array<string>;
  deliveredAt?: Timestamp;
  id: MessageId;
  isDeleted: boolean;
  mediaDuration?: number;
  mediaId?: string;
  mediaSize?: number;
  mediaUrl?: string;
  messageType: MessageType;
  readAt?: Timestamp;
  recipientId: string;
  recipientType: PersonType;
  replyTo?: MessageId;
  replyToId?: MessageId;
  senderAvatar?: string;
  senderId: string;
  senderName?: string;
  senderType: PersonType;
  status: MessageStatus;
  thumbnailUrl?: string;
  timestamp: Timestamp;
  updatedAt: Timestamp;
}

/** `dm:message_deleted`. */
export interface MessageDeleted {
  conversationId: string;
  /** When. */
  deletedAt: Timestamp;
  /** Id of who deleted it. */
  deletedBy: string;
  /** Which. */
  messageId: MessageId;
  /** `me` or `everyone`. */
  scope: "me" | "everyone";
}

/** The `_id` of a message. */
export type MessageId = string;

/** How far a message got. It only moves forward: sent, delivered, read. */
export type MessageStatus = "sent" | "delivered" | "read" | "failed";

/** The union of the kinds both families of clients know. */
export type MessageType = "text" | "image" | "audio" | "video" | "file" | "location" | "system" | "call_log";

/** `dm:messages_delivered`. */
export interface MessagesDelivered {
  conversationId: string;
  /** When. */
  deliveredAt: Timestamp;
  /** Id of the recipient. */
  deliveredTo: string;
  /** In no order. */
  messageIds: Array<MessageId>;
}

/** `dm:messages_read`. */
export interface MessagesRead {
  conversationId: string;
  /** Oldest first. */
  messageIds: Array<MessageId>;
  /** When. */
  readAt: Timestamp;
  /** Id of the reader. */
  readBy: string;
  /** Kind of the reader. */
  readByType: PersonType;
}

/** The three kinds of people the marketplace knows. */
export type PersonType = "admin" | "astrologer" | "user";

/** `presence:changed`. */
export interface PresenceChanged {
  changes: Array<Attendance>;
}

export interface PresenceGetAccepted {
  ok: true;
  /** In no promised order; strangers are left out. */
  presence: Array<Attendance>;
}

export type PresenceGetAck = PresenceGetAccepted | Refused;

export interface PresenceGetRequest {
  /** Each `type:id`, or the id alone. One text with commas will do. */
  ids: Array<string>;
}

export interface Refused {
  code: ErrorCode;
  /** For people; may change. */
  message: string;
  ok: false;
  /** Milliseconds to wait, where known. */
  retryAfterMs?: number;
  /** The same request may succeed later. */
  retryable?: true;
}

/** `resync`. */
export interface Resync {
  /** From when on events may be missing. */
  since: Timestamp;
}

/** `stats`: how busy the server is. Rooms are not named to clients. */
export interface Stats {
  rooms: Array<string>;
  totalConnections: number;
  totalRooms: number;
}

/** ISO 8601 in UTC with three decimals. */
export type Timestamp = string;

/** `dm:typing_start`, `dm:typing_stop` and their second names. */
export interface Typing {
  conversationId: string;
  /** Who types. */
  userId: string;
  /** Name of who types. */
  userName?: string;
  /** Kind of who types. */
  userType: PersonType;
}

/** What the server says: `Socket<ServerToClientEvents, ClientToServerEvents>` of socket.io-client. */
export interface ServerToClientEvents {
  /** An astrologer can be reached, or no longer; to admins. */
  "astrologer:status_changed": (payload: AstrologerStatus) => void;
  /** The call was answered, to the caller. Both names carry the same. */
  "call:accept": (payload: CallOffer) => void;
  /** The call was answered, to the caller. Both names carry the same. */
  "call:accepted": (payload: CallOffer) => void;
  /** Media flows on the other side. */
  "call:connected": (payload: CallConnected) => void;
  /** The call is over. Both names carry the same; a missed call says `call:end` only. */
  "call:end": (payload: CallEnded) => void;
  /** The call is over. Both names carry the same; a missed call says `call:end` only. */
  "call:ended": (payload: CallEnded) => void;
  /** The same again, for `call` and `call:*` events. */
  "call:error": (payload: Failure) => void;
  /** A call rings, to the callee. */
  "call:incoming": (payload: CallOffer) => void;
  /** The call begins, to the socket that asked for it. */
  "call:initiated": (payload: CallOffer) => void;
  /** Nobody answered in time, to both sides. */
  "call:missed": (payload: CallMissed) => void;
  /** The call was not wanted, to the caller. Both names carry the same. */
  "call:reject": (payload: CallRejected) => void;
  /** The call was not wanted, to the caller. Both names carry the same. */
  "call:rejected": (payload: CallRejected) => void;
  /** Channel and token of a call, to the asking socket. */
  "call:token": (payload: CallOffer) => void;
  /** First event of every connection: who the server takes the client for. */
  "connected": (payload: Connected) => void;
  /** The same again, for `dm:*` events. */
  "dm:error": (payload: Failure) => void;
  /** A page of history, to the asker. */
  "dm:history": (payload: HistoryPage) => void;
  /** The same under an older name, where asked for. */
  "dm:history_response": (payload: HistoryPage) => void;
  /** The asking socket sits in the room of a conversation. */
  "dm:joined": (payload: Joined) => void;
  /** A message was deleted, for one or for all. */
  "dm:message_deleted": (payload: MessageDeleted) => void;
  /** A message, to the sockets in the room. */
  "dm:message_received": (payload: Message) => void;
  /** The stored message, to the socket that sent it. */
  "dm:message_sent": (payload: Message) => void;
  /** Messages were handed to a client of their recipient; to the sender. */
  "dm:messages_delivered": (payload: MessagesDelivered) => void;
  /** Messages were read by whom they are addressed to. */
  "dm:messages_read": (payload: MessagesRead) => void;
  /** A message, to both people's other sockets that are not in the room. */
  "dm:new_message": (payload: Message) => void;
  /** Somebody in the room types. Both names carry the same: listen to one. */
  "dm:typing_start": (payload: Typing) => void;
  /** He stopped. Both names carry the same: listen to one. */
  "dm:typing_stop": (payload: Typing) => void;
  /** He stopped. Both names carry the same: listen to one. */
  "dm:user_stopped_typing": (payload: Typing) => void;
  /** Somebody in the room types. Both names carry the same: listen to one. */
  "dm:user_typing": (payload: Typing) => void;
  /** A request of this socket failed. */
  "error": (payload: Failure) => void;
  /** People came or went. */
  "presence:changed": (payload: PresenceChanged) => void;
  /** Events may have been missed: catch up. */
  "resync": (payload: Resync) => void;
  /** Answer to `get_stats`. */
  "stats": (payload: Stats) => void;
}

/** What a client may say. The ack is part of each: `const answer: AnswerTo<"dm:sync"> = await socket.timeout(10_000).emitWithAck("dm:sync", payload)`. */
export interface ClientToServerEvents {
  /** Put the connection on a newer token of the same person. */
  "auth:refresh": (payload: AuthRefreshRequest, ack: (answer: AuthRefreshAck) => void) => void;
  /** What an older app queued while it was offline. New apps do not send it. */
  "call": (payload: CallRequest, ack: (answer: CallAck) => void) => void;
  /** Answer, as the callee, while it rings. */
  "call:accept": (payload: CallAcceptRequest, ack: (answer: CallAcceptAck) => void) => void;
  /** Answer, as the callee, while it rings. Older name of `call:accept`. */
  "call:accepted": (payload: CallAcceptRequest, ack: (answer: CallAcceptAck) => void) => void;
  /** Say that media flows. */
  "call:connected": (payload: CallConnectedRequest, ack: (answer: CallConnectedAck) => void) => void;
  /** Cancel, decline or hang up. */
  "call:end": (payload: CallEndRequest, ack: (answer: CallEndAck) => void) => void;
  /** Cancel, decline or hang up. Older name of `call:end`. */
  "call:ended": (payload: CallEndRequest, ack: (answer: CallEndAck) => void) => void;
  /** Ring somebody. */
  "call:initiate": (payload: CallInitiateRequest, ack: (answer: CallInitiateAck) => void) => void;
  /** Decline, as the callee, while it rings. */
  "call:reject": (payload: CallRejectRequest, ack: (answer: CallRejectAck) => void) => void;
  /** Decline, as the callee, while it rings. Older name of `call:reject`. */
  "call:rejected": (payload: CallRejectRequest, ack: (answer: CallRejectAck) => void) => void;
  /** A fresh token for the channel of a call that is not over. */
  "call:token": (payload: CallTokenRequest, ack: (answer: CallTokenAck) => void) => void;
  /** Delete a message, for oneself or for everyone. */
  "dm:delete_message": (payload: DmDeleteMessageRequest, ack: (answer: DmDeleteMessageAck) => void) => void;
  /** A page of a conversation, oldest first. The newest page marks everything addressed to the asker as read. */
  "dm:history": (payload: DmHistoryRequest, ack: (answer: DmHistoryAck) => void) => void;
  /** Sit in the room of a conversation and hear it there. Safe to repeat. */
  "dm:join_conversation": (payload: DmJoinConversationRequest, ack: (answer: DmJoinConversationAck) => void) => void;
  /** Leave the room. Messages then arrive as `dm:new_message`. */
  "dm:leave_conversation": (payload: DmLeaveConversationRequest, ack: (answer: DmLeaveConversationAck) => void) => void;
  /** Mark messages addressed to you as read. */
  "dm:mark_read": (payload: DmMarkReadRequest, ack: (answer: DmMarkReadAck) => void) => void;
  /** Mark messages addressed to you as read. Older name of `dm:mark_read`. */
  "dm:read": (payload: DmMarkReadRequest, ack: (answer: DmMarkReadAck) => void) => void;
  /** Send a message. Repeat with the same `clientMessageId` until there is an answer. */
  "dm:send_message": (payload: DmSendMessageRequest, ack: (answer: DmSendMessageAck) => void) => void;
  /** What was said while you were away. Answers in its ack only. */
  "dm:sync": (payload: DmSyncRequest, ack: (answer: DmSyncAck) => void) => void;
  /** Say that you type. Unknown and foreign conversations: silence. */
  "dm:typing_start": (payload: DmTypingStartRequest, ack: (answer: DmTypingStartAck) => void) => void;
  /** Say that you stopped; also said by itself five seconds after the last start. */
  "dm:typing_stop": (payload: DmTypingStopRequest, ack: (answer: DmTypingStopAck) => void) => void;
  /** How busy the server is. */
  "get_stats": (payload: GetStatsRequest, ack: (answer: GetStatsAck) => void) => void;
  /** Who is online. */
  "presence:get": (payload: PresenceGetRequest, ack: (answer: PresenceGetAck) => void) => void;
}

/** What the ack of an event holds. Needed beside `timeout`, with which socket.io-client forgets the type. */
export type AnswerTo<Name extends keyof ClientToServerEvents> = Parameters<Parameters<ClientToServerEvents[Name]>[1]>[0];
