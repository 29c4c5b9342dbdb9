// Made by clients/generate.mjs from docs/asyncapi.json: change that, not this. Version 1 of the contract.

/// Events a client may send.
abstract final class ClientEvents {
  /// Put the connection on a newer token of the same person.
  static const authRefresh = 'auth:refresh';
  /// What an older app queued while it was offline. New apps do not send it.
  static const call = 'call';
  /// Answer, as the callee, while it rings.
  static const callAccept = 'call:accept';
  /// Answer, as the callee, while it rings. Older name of call:accept.
  static const callAccepted = 'call:accepted';
  /// Say that media flows.
  static const callConnected = 'call:connected';
  /// Cancel, decline or hang up.
  static const callEnd = 'call:end';
  /// Cancel, decline or hang up. Older name of call:end.
  static const callEnded = 'call:ended';
  /// Ring somebody.
  static const callInitiate = 'call:initiate';
  /// Decline, as the callee, while it rings.
  static const callReject = 'call:reject';
  /// Decline, as the callee, while it rings. Older name of call:reject.
  static const callRejected = 'call:rejected';
  /// A fresh token for the channel of a call that is not over.
  static const callToken = 'call:token';
  /// Delete a message, for oneself or for everyone.
  static const dmDeleteMessage = 'dm:delete_message';
  /// A page of a conversation, oldest first. The newest page marks everything addressed to the asker as read.
  static const dmHistory = 'dm:history';
  /// Sit in the room of a conversation and hear it there. Safe to repeat.
  static const dmJoinConversation = 'dm:join_conversation';
  /// Leave the room. Messages then arrive as `dm:new_message`.
  static const dmLeaveConversation = 'dm:leave_conversation';
  /// Mark messages addressed to you as read.
  static const dmMarkRead = 'dm:mark_read';
  /// Mark messages addressed to you as read. Older name of dm:mark_read.
  static const dmRead = 'dm:read';
  /// Send a message. Repeat with the same `clientMessageId` until there is an answer.
  static const dmSendMessage = 'dm:send_message';
  /// What was said while you were away. Answers in its ack only.
  static const dmSync = 'dm:sync';
  /// Say that you type. Unknown and foreign conversations: silence.
  static const dmTypingStart = 'dm:typing_start';
  /// Say that you stopped; also said by itself five seconds after the last start.
  static const dmTypingStop = 'dm:typing_stop';
  /// How busy the server is.
  static const getStats = 'get_stats';
  /// Who is online.
  static const presenceGet = 'presence:get';
}

/// Events the server sends.
abstract final class ServerEvents {
  /// An astrologer can be reached, or no longer; to admins.
  static const astrologerStatusChanged = 'astrologer:status_changed';
  /// The call was answered, to the caller. Both names carry the same.
  static const callAccept = 'call:accept';
  /// The call was answered, to the caller. Both names carry the same.
  static const callAccepted = 'call:accepted';
  /// Media flows on the other side.
  static const callConnected = 'call:connected';
  /// The call is over. Both names carry the same; a missed call says `call:end` only.
  static const callEnd = 'call:end';
  /// The call is over. Both names carry the same; a missed call says `call:end` only.
  static const callEnded = 'call:ended';
  /// The same again, for `call` and `call:*` events.
  static const callError = 'call:error';
  /// A call rings, to the callee.
  static const callIncoming = 'call:incoming';
  /// The call begins, to the socket that asked for it.
  static const callInitiated = 'call:initiated';
  /// Nobody answered in time, to both sides.
  static const callMissed = 'call:missed';
  /// The call was not wanted, to the caller. Both names carry the same.
  static const callReject = 'call:reject';
  /// The call was not wanted, to the caller. Both names carry the same.
  static const callRejected = 'call:rejected';
  /// Channel and token of a call, to the asking socket.
  static const callToken = 'call:token';
  /// First event of every connection: who the server takes the client for.
  static const connected = 'connected';
  /// The same again, for `dm:*` events.
  static const dmError = 'dm:error';
  /// A page of history, to the asker.
  static const dmHistory = 'dm:history';
  /// The same under an older name, where asked for.
  static const dmHistoryResponse = 'dm:history_response';
  /// The asking socket sits in the room of a conversation.
  static const dmJoined = 'dm:joined';
  /// A message was deleted, for one or for all.
  static const dmMessageDeleted = 'dm:message_deleted';
  /// A message, to the sockets in the room.
  static const dmMessageReceived = 'dm:message_received';
  /// The stored message, to the socket that sent it.
  static const dmMessageSent = 'dm:message_sent';
  /// Messages were handed to a client of their recipient; to the sender.
  static const dmMessagesDelivered = 'dm:messages_delivered';
  /// Messages were read by whom they are addressed to.
  static const dmMessagesRead = 'dm:messages_read';
  /// A message, to both people's other sockets that are not in the room.
  static const dmNewMessage = 'dm:new_message';
  /// Somebody in the room types. Both names carry the same: listen to one.
  static const dmTypingStart = 'dm:typing_start';
  /// He stopped. Both names carry the same: listen to one.
  static const dmTypingStop = 'dm:typing_stop';
  /// He stopped. Both names carry the same: listen to one.
  static const dmUserStoppedTyping = 'dm:user_stopped_typing';
  /// Somebody in the room types. Both names carry the same: listen to one.
  static const dmUserTyping = 'dm:user_typing';
  /// A request of this socket failed.
  static const error = 'error';
  /// People came or went.
  static const presenceChanged = 'presence:changed';
  /// Events may have been missed: catch up.
  static const resync = 'resync';
  /// Answer to `get_stats`.
  static const stats = 'stats';
}

/// Why a request was refused.
abstract final class ErrorCodes {
  /// Another client of yours answered.
  static const answeredElsewhere = 'ANSWERED_ELSEWHERE';
  /// Not there, or not yours.
  static const callNotFound = 'CALL_NOT_FOUND';
  /// Too late to answer.
  static const callNotRinging = 'CALL_NOT_RINGING';
  /// No token for a call that is over.
  static const callOver = 'CALL_OVER';
  /// It contradicts what is there.
  static const conflict = 'CONFLICT';
  /// More text than allowed.
  static const contentTooLong = 'CONTENT_TOO_LONG';
  /// Not there, or not yours.
  static const conversationNotFound = 'CONVERSATION_NOT_FOUND';
  /// A canonical key of other people.
  static const dmJoinForbidden = 'DM_JOIN_FORBIDDEN';
  /// You may not do this; the text says why.
  static const forbidden = 'FORBIDDEN';
  /// Our fault; the text says nothing more.
  static const internal = 'INTERNAL';
  /// A text cannot name what it should.
  static const invalidId = 'INVALID_ID';
  /// A field is missing or wrong; the text says which.
  static const invalidPayload = 'INVALID_PAYLOAD';
  /// No such attachment, not yours, or not complete.
  static const mediaNotFound = 'MEDIA_NOT_FOUND';
  /// A file of no kind that may be attached, or not what was announced.
  static const mediaRefused = 'MEDIA_REFUSED';
  /// Not there, not yours, or not in this conversation.
  static const messageNotFound = 'MESSAGE_NOT_FOUND';
  /// No such REST route or method.
  static const notFound = 'NOT_FOUND';
  /// User and astrologer have not dealt with each other.
  static const notRelated = 'NOT_RELATED';
  /// Too much is waiting; nothing was stored. Retryable.
  static const overloaded = 'OVERLOADED';
  /// A larger body than allowed.
  static const payloadTooLarge = 'PAYLOAD_TOO_LARGE';
  /// Too much in too short a time; nothing was done. Wait `retryAfterMs`.
  static const rateLimited = 'RATE_LIMITED';
  /// Sender and recipient are the same identity.
  static const selfConversationBlocked = 'SELF_CONVERSATION_BLOCKED';
  /// The store does not answer; the outcome is unknown. Retryable with the same `clientMessageId`.
  static const unavailable = 'UNAVAILABLE';
  /// No such event; in acks only.
  static const unknownEvent = 'UNKNOWN_EVENT';
  /// The token is too old.
  static const authExpired = 'auth.expired';
  /// The credential proves nothing.
  static const authInvalid = 'auth.invalid';
  /// No credential was given.
  static const authMissing = 'auth.missing';
  /// The account has signed in elsewhere since.
  static const authSessionReplaced = 'auth.session_replaced';
  /// The account may not be used.
  static const authSuspended = 'auth.suspended';
}

/// What travels during the call.
abstract final class CallTypeWords {
  static const voice = 'voice';
  static const video = 'video';
}

abstract final class EndReasonWords {
  static const completed = 'completed';
  static const rejected = 'rejected';
  static const noAnswer = 'no_answer';
  static const networkError = 'network_error';
  static const cancelled = 'cancelled';
}

/// How far a message got. It only moves forward: sent, delivered, read.
abstract final class MessageStatusWords {
  static const sent = 'sent';
  static const delivered = 'delivered';
  static const read = 'read';
  static const failed = 'failed';
}

/// The union of the kinds both families of clients know.
abstract final class MessageTypeWords {
  static const text = 'text';
  static const image = 'image';
  static const audio = 'audio';
  static const video = 'video';
  static const file = 'file';
  static const location = 'location';
  static const system = 'system';
  static const callLog = 'call_log';
}

/// The three kinds of people the marketplace knows.
abstract final class PersonTypeWords {
  static const admin = 'admin';
  static const astrologer = 'astrologer';
  static const user = 'user';
}

/// What an ack says: what was asked for, or why not.
final class Answer<T> {
  const Answer._(this.accepted, this.refused);

  /// Reads an ack: `Answer.read(data, DmSyncAccepted.fromJson)`.
  factory Answer.read(Object? data, T Function(Map<String, dynamic>) accepted) {
    final json = (data as Map).cast<String, dynamic>();
    return json['ok'] == true ? Answer._(accepted(json), null) : Answer._(null, Refused.fromJson(json));
  }

  final T? accepted;
  final Refused? refused;
}

/// `astrologer:status_changed`.
final class AstrologerStatus {
  const AstrologerStatus({required this.astrologerId, required this.isOnline, required this.lastSeen, this.name, required this.presence, this.profilePicture});

  factory AstrologerStatus.fromJson(Map<String, dynamic> json) => AstrologerStatus(
        astrologerId: json['astrologerId'] as String,
        isOnline: json['isOnline'] as bool,
        lastSeen: DateTime.parse(json['lastSeen'] as String),
        name: json['name'] == null ? null : json['name'] as String,
        presence: json['presence'] as String,
        profilePicture: json['profilePicture'] == null ? null : json['profilePicture'] as String,
      );

  /// Who.
  final String astrologerId;

  /// Connected or to be reached by push, and switched on where another program keeps such a switch.
  final bool isOnline;

  /// When last connected; now, while connected.
  final DateTime lastSeen;

  /// Name, when known.
  final String? name;

  /// `online` or `offline`: connected or not.
  final String presence;

  /// Picture, when known.
  final String? profilePicture;
}

/// Whether somebody is connected.
final class Attendance {
  const Attendance({required this.id, required this.isOnline, this.lastSeen, required this.presence, required this.type});

  factory Attendance.fromJson(Map<String, dynamic> json) => Attendance(
        id: json['id'] as String,
        isOnline: json['isOnline'] as bool,
        lastSeen: json['lastSeen'] == null ? null : DateTime.parse(json['lastSeen'] as String),
        presence: json['presence'] as String,
        type: json['type'] as String,
      );

  final String id;

  final bool isOnline;

  final DateTime? lastSeen;

  final String presence;

  final String type;
}

final class AuthRefreshAccepted {
  const AuthRefreshAccepted({this.expiresAt, required this.ok});

  factory AuthRefreshAccepted.fromJson(Map<String, dynamic> json) => AuthRefreshAccepted(
        expiresAt: json['expiresAt'] == null ? null : DateTime.parse(json['expiresAt'] as String),
        ok: json['ok'] as bool,
      );

  /// When the new token ends.
  final DateTime? expiresAt;

  final bool ok;
}

final class AuthRefreshRequest {
  const AuthRefreshRequest({required this.token});

  Map<String, dynamic> toJson() => {
        'token': token,
      };

  /// A newer token of the same person.
  final String token;
}

final class CallAcceptAccepted {
  const CallAcceptAccepted({this.agoraAppId, this.agoraToken, required this.callId, required this.channelName, this.code, this.expiresAt, required this.ok, this.reason, required this.status, required this.uid});

  factory CallAcceptAccepted.fromJson(Map<String, dynamic> json) => CallAcceptAccepted(
        agoraAppId: json['agoraAppId'] == null ? null : json['agoraAppId'] as String,
        agoraToken: json['agoraToken'] == null ? null : json['agoraToken'] as String,
        callId: json['callId'] as String,
        channelName: json['channelName'] as String,
        code: json['code'] == null ? null : json['code'] as String,
        expiresAt: json['expiresAt'] == null ? null : DateTime.parse(json['expiresAt'] as String),
        ok: json['ok'] as bool,
        reason: json['reason'] == null ? null : json['reason'] as String,
        status: json['status'] as String,
        uid: (json['uid'] as num).toInt(),
      );

  final String? agoraAppId;

  final String? agoraToken;

  final String callId;

  final String channelName;

  final String? code;

  final DateTime? expiresAt;

  final bool ok;

  final String? reason;

  final String status;

  final int uid;
}

final class CallAcceptRequest {
  const CallAcceptRequest({required this.callId});

  Map<String, dynamic> toJson() => {
        'callId': callId,
      };

  /// The call.
  final String callId;
}

final class CallAccepted {
  const CallAccepted({this.agoraAppId, this.agoraToken, this.callId, this.channelName, this.expiresAt, required this.ok, this.status, this.uid});

  factory CallAccepted.fromJson(Map<String, dynamic> json) => CallAccepted(
        agoraAppId: json['agoraAppId'] == null ? null : json['agoraAppId'] as String,
        agoraToken: json['agoraToken'] == null ? null : json['agoraToken'] as String,
        callId: json['callId'] == null ? null : json['callId'] as String,
        channelName: json['channelName'] == null ? null : json['channelName'] as String,
        expiresAt: json['expiresAt'] == null ? null : DateTime.parse(json['expiresAt'] as String),
        ok: json['ok'] as bool,
        status: json['status'] == null ? null : json['status'] as String,
        uid: json['uid'] == null ? null : (json['uid'] as num).toInt(),
      );

  /// Absent without Agora credentials.
  final String? agoraAppId;

  /// Absent without Agora credentials.
  final String? agoraToken;

  /// Absent if it was ignored.
  final String? callId;

  /// If this answered the call; so the next four.
  final String? channelName;

  /// When the token ends.
  final DateTime? expiresAt;

  final bool ok;

  /// Where the call stands.
  final String? status;

  /// 0: any.
  final int? uid;
}

/// `call:connected`.
final class CallConnected {
  const CallConnected({required this.callId, required this.contactId});

  factory CallConnected.fromJson(Map<String, dynamic> json) => CallConnected(
        callId: json['callId'] as String,
        contactId: json['contactId'] as String,
      );

  final String callId;

  final String contactId;
}

final class CallConnectedAccepted {
  const CallConnectedAccepted({required this.callId, required this.ok, required this.status});

  factory CallConnectedAccepted.fromJson(Map<String, dynamic> json) => CallConnectedAccepted(
        callId: json['callId'] as String,
        ok: json['ok'] as bool,
        status: json['status'] as String,
      );

  final String callId;

  final bool ok;

  final String status;
}

final class CallConnectedRequest {
  const CallConnectedRequest({required this.callId});

  Map<String, dynamic> toJson() => {
        'callId': callId,
      };

  /// The call.
  final String callId;
}

final class CallEndAccepted {
  const CallEndAccepted({required this.callId, required this.ok, required this.status});

  factory CallEndAccepted.fromJson(Map<String, dynamic> json) => CallEndAccepted(
        callId: json['callId'] as String,
        ok: json['ok'] as bool,
        status: json['status'] as String,
      );

  final String callId;

  final bool ok;

  final String status;
}

final class CallEndRequest {
  const CallEndRequest({required this.callId, this.duration, this.reason});

  Map<String, dynamic> toJson() => {
        'callId': callId,
        if (duration != null) 'duration': duration!,
        if (reason != null) 'reason': reason!,
      };

  /// The call.
  final String callId;

  /// Seconds talked, as the client counted them.
  final num? duration;

  /// Why, in the client's own word.
  final String? reason;
}

/// `call:end` and `call:ended`.
final class CallEnded {
  const CallEnded({required this.documentId, required this.callId, required this.contactId, required this.duration, this.endReason, this.message, required this.reason, required this.status});

  factory CallEnded.fromJson(Map<String, dynamic> json) => CallEnded(
        documentId: json['_id'] as String,
        callId: json['callId'] as String,
        contactId: json['contactId'] as String,
        duration: (json['duration'] as num).toInt(),
        endReason: json['endReason'] == null ? null : json['endReason'] as String,
        message: json['message'] == null ? null : json['message'] as String,
        reason: json['reason'] as String,
        status: json['status'] as String,
      );

  final String documentId;

  final String callId;

  final String contactId;

  final int duration;

  final String? endReason;

  final String? message;

  final String reason;

  final String status;
}

final class CallInitiateAccepted {
  const CallInitiateAccepted({this.agoraAppId, this.agoraToken, required this.callId, required this.channelName, this.code, this.expiresAt, required this.ok, this.reason, required this.status, required this.uid});

  factory CallInitiateAccepted.fromJson(Map<String, dynamic> json) => CallInitiateAccepted(
        agoraAppId: json['agoraAppId'] == null ? null : json['agoraAppId'] as String,
        agoraToken: json['agoraToken'] == null ? null : json['agoraToken'] as String,
        callId: json['callId'] as String,
        channelName: json['channelName'] as String,
        code: json['code'] == null ? null : json['code'] as String,
        expiresAt: json['expiresAt'] == null ? null : DateTime.parse(json['expiresAt'] as String),
        ok: json['ok'] as bool,
        reason: json['reason'] == null ? null : json['reason'] as String,
        status: json['status'] as String,
        uid: (json['uid'] as num).toInt(),
      );

  final String? agoraAppId;

  final String? agoraToken;

  final String callId;

  final String channelName;

  final String? code;

  final DateTime? expiresAt;

  final bool ok;

  final String? reason;

  final String status;

  final int uid;
}

final class CallInitiateRequest {
  const CallInitiateRequest({required this.callType, this.calleeId, this.calleeType, this.consultationId});

  Map<String, dynamic> toJson() => {
        'callType': callType,
        if (calleeId != null) 'calleeId': calleeId!,
        if (calleeType != null) 'calleeType': calleeType!,
        if (consultationId != null) 'consultationId': consultationId!,
      };

  /// `audio` is read as `voice`.
  final String callType;

  /// Whom.
  final String? calleeId;

  /// Beside `calleeId`; `admin` alone is enough.
  final String? calleeType;

  /// The consultation it belongs to.
  final String? consultationId;
}

/// `call:missed`.
final class CallMissed {
  const CallMissed({required this.documentId, required this.callId, required this.reason, required this.status});

  factory CallMissed.fromJson(Map<String, dynamic> json) => CallMissed(
        documentId: json['_id'] as String,
        callId: json['callId'] as String,
        reason: json['reason'] as String,
        status: json['status'] as String,
      );

  final String documentId;

  final String callId;

  final String reason;

  final String status;
}

/// A call with what is needed to join its channel.
final class CallOffer {
  const CallOffer({required this.documentId, this.acceptedAt, this.agoraAppId, this.agoraToken, required this.agoraUid, required this.callId, required this.callType, required this.calleeId, required this.calleeType, this.callerAvatar, required this.callerId, this.callerName, this.callerPhone, required this.callerType, required this.channelName, this.contactId, this.conversationId, this.expiresAt, required this.id, required this.recipientId, required this.recipientType, required this.status, required this.timestamp, required this.uid});

  factory CallOffer.fromJson(Map<String, dynamic> json) => CallOffer(
        documentId: json['_id'] as String,
        acceptedAt: json['acceptedAt'] == null ? null : DateTime.parse(json['acceptedAt'] as String),
        agoraAppId: json['agoraAppId'] == null ? null : json['agoraAppId'] as String,
        agoraToken: json['agoraToken'] == null ? null : json['agoraToken'] as String,
        agoraUid: (json['agoraUid'] as num).toInt(),
        callId: json['callId'] as String,
        callType: json['callType'] as String,
        calleeId: json['calleeId'] as String,
        calleeType: json['calleeType'] as String,
        callerAvatar: json['callerAvatar'] == null ? null : json['callerAvatar'] as String,
        callerId: json['callerId'] as String,
        callerName: json['callerName'] == null ? null : json['callerName'] as String,
        callerPhone: json['callerPhone'] == null ? null : json['callerPhone'] as String,
        callerType: json['callerType'] as String,
        channelName: json['channelName'] as String,
        contactId: json['contactId'] == null ? null : json['contactId'] as String,
        conversationId: json['conversationId'] == null ? null : json['conversationId'] as String,
        expiresAt: json['expiresAt'] == null ? null : DateTime.parse(json['expiresAt'] as String),
        id: json['id'] as String,
        recipientId: json['recipientId'] as String,
        recipientType: json['recipientType'] as String,
        status: json['status'] as String,
        timestamp: DateTime.parse(json['timestamp'] as String),
        uid: (json['uid'] as num).toInt(),
      );

  final String documentId;

  /// In `call:accept`.
  final DateTime? acceptedAt;

  /// Absent without Agora credentials.
  final String? agoraAppId;

  /// Absent without Agora credentials.
  final String? agoraToken;

  /// The same.
  final int agoraUid;

  final String callId;

  final String callType;

  final String calleeId;

  final String calleeType;

  final String? callerAvatar;

  final String callerId;

  final String? callerName;

  /// In `call:incoming`, if the caller's own token states it.
  final String? callerPhone;

  final String callerType;

  final String channelName;

  /// In `call:accept`: the callee.
  final String? contactId;

  final String? conversationId;

  /// When the token ends.
  final DateTime? expiresAt;

  final String id;

  final String recipientId;

  final String recipientType;

  final String status;

  final DateTime timestamp;

  /// The media user the token is for; 0 is any.
  final int uid;
}

final class CallRejectAccepted {
  const CallRejectAccepted({required this.callId, required this.ok, required this.status});

  factory CallRejectAccepted.fromJson(Map<String, dynamic> json) => CallRejectAccepted(
        callId: json['callId'] as String,
        ok: json['ok'] as bool,
        status: json['status'] as String,
      );

  final String callId;

  final bool ok;

  final String status;
}

final class CallRejectRequest {
  const CallRejectRequest({required this.callId, this.duration, this.reason});

  Map<String, dynamic> toJson() => {
        'callId': callId,
        if (duration != null) 'duration': duration!,
        if (reason != null) 'reason': reason!,
      };

  /// The call.
  final String callId;

  /// Seconds talked, as the client counted them.
  final num? duration;

  /// Why, in the client's own word.
  final String? reason;
}

/// `call:reject` and `call:rejected`.
final class CallRejected {
  const CallRejected({required this.documentId, required this.callId, this.code, required this.contactId, required this.reason, required this.status});

  factory CallRejected.fromJson(Map<String, dynamic> json) => CallRejected(
        documentId: json['_id'] as String,
        callId: json['callId'] as String,
        code: json['code'] == null ? null : json['code'] as String,
        contactId: json['contactId'] as String,
        reason: json['reason'] as String,
        status: json['status'] as String,
      );

  final String documentId;

  final String callId;

  final String? code;

  final String contactId;

  final String reason;

  final String status;
}

final class CallRequest {
  const CallRequest({required this.callId, this.duration, this.reason});

  Map<String, dynamic> toJson() => {
        'callId': callId,
        if (duration != null) 'duration': duration!,
        if (reason != null) 'reason': reason!,
      };

  /// The call.
  final String callId;

  /// Seconds talked, as the client counted them.
  final num? duration;

  /// Why, in the client's own word.
  final String? reason;
}

final class CallTokenAccepted {
  const CallTokenAccepted({this.agoraAppId, this.agoraToken, required this.callId, required this.channelName, this.code, this.expiresAt, required this.ok, this.reason, required this.status, required this.uid});

  factory CallTokenAccepted.fromJson(Map<String, dynamic> json) => CallTokenAccepted(
        agoraAppId: json['agoraAppId'] == null ? null : json['agoraAppId'] as String,
        agoraToken: json['agoraToken'] == null ? null : json['agoraToken'] as String,
        callId: json['callId'] as String,
        channelName: json['channelName'] as String,
        code: json['code'] == null ? null : json['code'] as String,
        expiresAt: json['expiresAt'] == null ? null : DateTime.parse(json['expiresAt'] as String),
        ok: json['ok'] as bool,
        reason: json['reason'] == null ? null : json['reason'] as String,
        status: json['status'] as String,
        uid: (json['uid'] as num).toInt(),
      );

  final String? agoraAppId;

  final String? agoraToken;

  final String callId;

  final String channelName;

  final String? code;

  final DateTime? expiresAt;

  final bool ok;

  final String? reason;

  final String status;

  final int uid;
}

final class CallTokenRequest {
  const CallTokenRequest({required this.callId});

  Map<String, dynamic> toJson() => {
        'callId': callId,
      };

  /// The call.
  final String callId;
}

final class Change {
  const Change({this.deliveredAt, this.isDeleted, required this.messageId, this.readAt, required this.status});

  factory Change.fromJson(Map<String, dynamic> json) => Change(
        deliveredAt: json['deliveredAt'] == null ? null : DateTime.parse(json['deliveredAt'] as String),
        isDeleted: json['isDeleted'] == null ? null : json['isDeleted'] as bool,
        messageId: json['messageId'] as String,
        readAt: json['readAt'] == null ? null : DateTime.parse(json['readAt'] as String),
        status: json['status'] as String,
      );

  final DateTime? deliveredAt;

  final bool? isDeleted;

  final String messageId;

  final DateTime? readAt;

  final String status;
}

/// `connected`: who the server takes the client for.
final class Connected {
  const Connected({required this.protocol, required this.serverTime, required this.socketId, required this.timestamp, required this.user});

  factory Connected.fromJson(Map<String, dynamic> json) => Connected(
        protocol: (json['protocol'] as num).toInt(),
        serverTime: DateTime.parse(json['serverTime'] as String),
        socketId: json['socketId'] as String,
        timestamp: (json['timestamp'] as num).toInt(),
        user: ConnectedUser.fromJson((json['user'] as Map).cast<String, dynamic>()),
      );

  final int protocol;

  final DateTime serverTime;

  final String socketId;

  /// Milliseconds since the epoch.
  final int timestamp;

  final ConnectedUser user;
}

final class ConnectedUser {
  const ConnectedUser({required this.documentId, this.astrologerId, this.avatar, required this.id, this.isAdmin, required this.isAnonymous, this.name, this.profilePicture, required this.role, required this.type, required this.userId, required this.userType});

  factory ConnectedUser.fromJson(Map<String, dynamic> json) => ConnectedUser(
        documentId: json['_id'] as String,
        astrologerId: json['astrologerId'] == null ? null : json['astrologerId'] as String,
        avatar: json['avatar'] == null ? null : json['avatar'] as String,
        id: json['id'] as String,
        isAdmin: json['isAdmin'] == null ? null : json['isAdmin'] as bool,
        isAnonymous: json['isAnonymous'] as bool,
        name: json['name'] == null ? null : json['name'] as String,
        profilePicture: json['profilePicture'] == null ? null : json['profilePicture'] as String,
        role: json['role'] as String,
        type: json['type'] as String,
        userId: json['userId'] as String,
        userType: json['userType'] as String,
      );

  final String documentId;

  final String? astrologerId;

  final String? avatar;

  final String id;

  final bool? isAdmin;

  final bool isAnonymous;

  final String? name;

  final String? profilePicture;

  final String role;

  final String type;

  final String userId;

  final String userType;
}

final class DmDeleteMessageAccepted {
  const DmDeleteMessageAccepted({required this.messageId, required this.ok, required this.scope});

  factory DmDeleteMessageAccepted.fromJson(Map<String, dynamic> json) => DmDeleteMessageAccepted(
        messageId: json['messageId'] as String,
        ok: json['ok'] as bool,
        scope: json['scope'] as String,
      );

  /// Which.
  final String messageId;

  final bool ok;

  /// For whom.
  final String scope;
}

final class DmDeleteMessageRequest {
  const DmDeleteMessageRequest({this.conversationId, required this.messageId, this.scope});

  Map<String, dynamic> toJson() => {
        if (conversationId != null) 'conversationId': conversationId!,
        'messageId': messageId,
        if (scope != null) 'scope': scope!,
      };

  /// If given, the message must be in it.
  final String? conversationId;

  /// Which.
  final String messageId;

  /// `me` if missing.
  final String? scope;
}

final class DmHistoryAccepted {
  const DmHistoryAccepted({required this.conversationId, required this.hasMore, required this.limit, required this.messages, required this.ok, required this.page, required this.total, required this.unreadCount});

  factory DmHistoryAccepted.fromJson(Map<String, dynamic> json) => DmHistoryAccepted(
        conversationId: json['conversationId'] as String,
        hasMore: json['hasMore'] as bool,
        limit: (json['limit'] as num).toInt(),
        messages: [for (final one in json['messages'] as List) Message.fromJson((one as Map).cast<String, dynamic>())],
        ok: json['ok'] as bool,
        page: (json['page'] as num).toInt(),
        total: (json['total'] as num).toInt(),
        unreadCount: (json['unreadCount'] as num).toInt(),
      );

  final String conversationId;

  final bool hasMore;

  final int limit;

  final List<Message> messages;

  final bool ok;

  final int page;

  final int total;

  final int unreadCount;
}

final class DmHistoryRequest {
  const DmHistoryRequest({this.after, this.before, required this.conversationId, this.limit, this.markRead, this.page, this.response});

  Map<String, dynamic> toJson() => {
        if (after != null) 'after': after!,
        if (before != null) 'before': before!,
        'conversationId': conversationId,
        if (limit != null) 'limit': limit!,
        if (markRead != null) 'markRead': markRead!,
        if (page != null) 'page': page!,
        if (response != null) 'response': response!,
      };

  /// The oldest ones newer than this message; `page` is ignored; `before` wins.
  final String? after;

  /// The newest ones older than this message; `page` is ignored.
  final String? before;

  /// Any name of the conversation; its canonical key is best.
  final String conversationId;

  /// 50 if missing; a larger number means the largest page.
  final int? limit;

  /// False: look without reading.
  final bool? markRead;

  /// Counted from the newest; 1 if missing.
  final int? page;

  /// The page is also emitted under that name.
  final String? response;
}

final class DmJoinConversationAccepted {
  const DmJoinConversationAccepted({required this.conversationId, required this.conversationKey, this.cursor, this.hasMore, this.messages, required this.ok, required this.success, required this.unreadCount});

  factory DmJoinConversationAccepted.fromJson(Map<String, dynamic> json) => DmJoinConversationAccepted(
        conversationId: json['conversationId'] as String,
        conversationKey: json['conversationKey'] as String,
        cursor: json['cursor'] == null ? null : json['cursor'] as String,
        hasMore: json['hasMore'] == null ? null : json['hasMore'] as bool,
        messages: json['messages'] == null ? null : [for (final one in json['messages'] as List) Message.fromJson((one as Map).cast<String, dynamic>())],
        ok: json['ok'] as bool,
        success: json['success'] as bool,
        unreadCount: (json['unreadCount'] as num).toInt(),
      );

  /// As the client wrote it.
  final String conversationId;

  /// Canonical key; the text of the client while nobody knows the conversation.
  final String conversationKey;

  /// With `after`: the next `after`.
  final String? cursor;

  /// With `after`: whether there is more.
  final bool? hasMore;

  /// With `after`: what is newer, oldest first.
  final List<Message>? messages;

  final bool ok;

  /// Always true; older clients look at it.
  final bool success;

  /// What the asker has to read there.
  final int unreadCount;
}

final class DmJoinConversationRequest {
  const DmJoinConversationRequest({this.after, required this.conversationId, this.limit});

  Map<String, dynamic> toJson() => {
        if (after != null) 'after': after!,
        'conversationId': conversationId,
        if (limit != null) 'limit': limit!,
      };

  /// Also answer with what is newer than this message.
  final String? after;

  /// Any name of the conversation; its canonical key is best.
  final String conversationId;

  /// 50 if missing; a larger number means the largest page.
  final int? limit;
}

final class DmLeaveConversationAccepted {
  const DmLeaveConversationAccepted({required this.conversationId, required this.ok});

  factory DmLeaveConversationAccepted.fromJson(Map<String, dynamic> json) => DmLeaveConversationAccepted(
        conversationId: json['conversationId'] as String,
        ok: json['ok'] as bool,
      );

  /// As the client wrote it.
  final String conversationId;

  final bool ok;
}

final class DmLeaveConversationRequest {
  const DmLeaveConversationRequest({required this.conversationId});

  Map<String, dynamic> toJson() => {
        'conversationId': conversationId,
      };

  /// Any name of the conversation; its canonical key is best.
  final String conversationId;
}

final class DmMarkReadAccepted {
  const DmMarkReadAccepted({required this.messageIds, required this.ok, required this.unreadCount});

  factory DmMarkReadAccepted.fromJson(Map<String, dynamic> json) => DmMarkReadAccepted(
        messageIds: [for (final one in json['messageIds'] as List) one as String],
        ok: json['ok'] as bool,
        unreadCount: (json['unreadCount'] as num).toInt(),
      );

  /// Those that became read now, oldest first.
  final List<String> messageIds;

  final bool ok;

  /// What is left to read.
  final int unreadCount;
}

final class DmMarkReadRequest {
  const DmMarkReadRequest({required this.conversationId, this.messageIds});

  Map<String, dynamic> toJson() => {
        'conversationId': conversationId,
        if (messageIds != null) 'messageIds': messageIds!,
      };

  /// Any name of the conversation; its canonical key is best.
  final String conversationId;

  /// Missing or empty: everything unread.
  final List<String>? messageIds;
}

final class DmSendMessageAccepted {
  const DmSendMessageAccepted({this.duplicate, required this.message, required this.ok});

  factory DmSendMessageAccepted.fromJson(Map<String, dynamic> json) => DmSendMessageAccepted(
        duplicate: json['duplicate'] == null ? null : json['duplicate'] as bool,
        message: Message.fromJson((json['message'] as Map).cast<String, dynamic>()),
        ok: json['ok'] as bool,
      );

  final bool? duplicate;

  final Message message;

  final bool ok;
}

final class DmSendMessageRequest {
  const DmSendMessageRequest({this.clientMessageId, this.content, this.conversationId, this.mediaDuration, this.mediaId, this.mediaSize, this.mediaUrl, this.messageType, this.recipientId, this.recipientType, this.replyTo, this.thumbnailUrl});

  Map<String, dynamic> toJson() => {
        if (clientMessageId != null) 'clientMessageId': clientMessageId!,
        if (content != null) 'content': content!,
        if (conversationId != null) 'conversationId': conversationId!,
        if (mediaDuration != null) 'mediaDuration': mediaDuration!,
        if (mediaId != null) 'mediaId': mediaId!,
        if (mediaSize != null) 'mediaSize': mediaSize!,
        if (mediaUrl != null) 'mediaUrl': mediaUrl!,
        if (messageType != null) 'messageType': messageType!,
        if (recipientId != null) 'recipientId': recipientId!,
        if (recipientType != null) 'recipientType': recipientType!,
        if (replyTo != null) 'replyTo': replyTo!,
        if (thumbnailUrl != null) 'thumbnailUrl': thumbnailUrl!,
      };

  /// Your own id for this message; makes repeats safe. Always send one.
  final String? clientMessageId;

  /// The text; may be empty beside media.
  final String? content;

  /// Where; may be missing when there is a recipient.
  final String? conversationId;

  /// Seconds.
  final num? mediaDuration;

  /// A file uploaded for this conversation, instead of `mediaUrl` and `thumbnailUrl`.
  final String? mediaId;

  /// Bytes.
  final int? mediaSize;

  /// Where the media is.
  final String? mediaUrl;

  /// `text` if missing; a `mediaId` decides it.
  final String? messageType;

  /// To whom; the other participant if missing.
  final String? recipientId;

  /// Beside `recipientId`; `admin` alone is enough.
  final String? recipientType;

  /// A message of the same conversation.
  final String? replyTo;

  /// Where a preview is.
  final String? thumbnailUrl;
}

final class DmSyncAccepted {
  const DmSyncAccepted({this.changes, required this.conversationId, this.cursor, required this.hasMore, required this.messages, required this.ok, required this.serverTime});

  factory DmSyncAccepted.fromJson(Map<String, dynamic> json) => DmSyncAccepted(
        changes: json['changes'] == null ? null : [for (final one in json['changes'] as List) Change.fromJson((one as Map).cast<String, dynamic>())],
        conversationId: json['conversationId'] as String,
        cursor: json['cursor'] == null ? null : json['cursor'] as String,
        hasMore: json['hasMore'] as bool,
        messages: [for (final one in json['messages'] as List) Message.fromJson((one as Map).cast<String, dynamic>())],
        ok: json['ok'] as bool,
        serverTime: DateTime.parse(json['serverTime'] as String),
      );

  final List<Change>? changes;

  final String conversationId;

  final String? cursor;

  final bool hasMore;

  final List<Message> messages;

  final bool ok;

  final DateTime serverTime;
}

final class DmSyncRequest {
  const DmSyncRequest({this.after, required this.conversationId, this.limit, this.since});

  Map<String, dynamic> toJson() => {
        if (after != null) 'after': after!,
        'conversationId': conversationId,
        if (limit != null) 'limit': limit!,
        if (since != null) 'since': since!.toUtc().toIso8601String(),
      };

  /// Newer than this message; missing: the newest ones.
  final String? after;

  /// Any name of the conversation; its canonical key is best.
  final String conversationId;

  /// 50 if missing; a larger number means the largest page.
  final int? limit;

  /// Also tell what changed since then: the `serverTime` of the last sync or of `connected`.
  final DateTime? since;
}

final class DmTypingStartAccepted {
  const DmTypingStartAccepted({required this.ok});

  factory DmTypingStartAccepted.fromJson(Map<String, dynamic> json) => DmTypingStartAccepted(
        ok: json['ok'] as bool,
      );

  final bool ok;
}

final class DmTypingStartRequest {
  const DmTypingStartRequest({required this.conversationId});

  Map<String, dynamic> toJson() => {
        'conversationId': conversationId,
      };

  /// Any name of the conversation; its canonical key is best.
  final String conversationId;
}

final class DmTypingStopAccepted {
  const DmTypingStopAccepted({required this.ok});

  factory DmTypingStopAccepted.fromJson(Map<String, dynamic> json) => DmTypingStopAccepted(
        ok: json['ok'] as bool,
      );

  final bool ok;
}

final class DmTypingStopRequest {
  const DmTypingStopRequest({required this.conversationId});

  Map<String, dynamic> toJson() => {
        'conversationId': conversationId,
      };

  /// Any name of the conversation; its canonical key is best.
  final String conversationId;
}

/// `error`, with `dm:error` or `call:error`.
final class Failure {
  const Failure({this.callId, required this.code, this.conversationId, required this.error, required this.event, required this.message, this.retryAfterMs, this.retryable});

  factory Failure.fromJson(Map<String, dynamic> json) => Failure(
        callId: json['callId'] == null ? null : json['callId'] as String,
        code: json['code'] as String,
        conversationId: json['conversationId'] == null ? null : json['conversationId'] as String,
        error: json['error'] as String,
        event: json['event'] as String,
        message: json['message'] as String,
        retryAfterMs: json['retryAfterMs'] == null ? null : (json['retryAfterMs'] as num).toInt(),
        retryable: json['retryable'] == null ? null : json['retryable'] as bool,
      );

  /// The call it was about, if the client said so.
  final String? callId;

  /// The stable word.
  final String code;

  /// What it was about, if the client said so.
  final String? conversationId;

  /// The code again, under the name older clients read.
  final String error;

  /// The event that failed.
  final String event;

  /// For people.
  final String message;

  /// Milliseconds to wait.
  final int? retryAfterMs;

  /// True if the same request may succeed later.
  final bool? retryable;
}

final class GetStatsAccepted {
  const GetStatsAccepted({required this.ok});

  factory GetStatsAccepted.fromJson(Map<String, dynamic> json) => GetStatsAccepted(
        ok: json['ok'] as bool,
      );

  final bool ok;
}

final class GetStatsRequest {
  const GetStatsRequest();

  Map<String, dynamic> toJson() => {};
}

/// A page of history as the client asked for it.
final class HistoryPage {
  const HistoryPage({required this.conversationId, required this.hasMore, required this.limit, required this.messages, required this.page, required this.total, required this.unreadCount});

  factory HistoryPage.fromJson(Map<String, dynamic> json) => HistoryPage(
        conversationId: json['conversationId'] as String,
        hasMore: json['hasMore'] as bool,
        limit: (json['limit'] as num).toInt(),
        messages: [for (final one in json['messages'] as List) Message.fromJson((one as Map).cast<String, dynamic>())],
        page: (json['page'] as num).toInt(),
        total: (json['total'] as num).toInt(),
        unreadCount: (json['unreadCount'] as num).toInt(),
      );

  final String conversationId;

  final bool hasMore;

  final int limit;

  final List<Message> messages;

  final int page;

  final int total;

  final int unreadCount;
}

/// `dm:joined`.
final class Joined {
  const Joined({required this.conversationId, required this.conversationKey, required this.success, required this.unreadCount});

  factory Joined.fromJson(Map<String, dynamic> json) => Joined(
        conversationId: json['conversationId'] as String,
        conversationKey: json['conversationKey'] as String,
        success: json['success'] as bool,
        unreadCount: (json['unreadCount'] as num).toInt(),
      );

  /// As the client wrote it.
  final String conversationId;

  /// Canonical key; the text of the client while nobody knows the conversation.
  final String conversationKey;

  /// Always true; older clients look at it.
  final bool success;

  /// What the asker has to read there.
  final int unreadCount;
}

/// A message as a listener sees it.
final class Message {
  const Message({required this.documentId, this.callDuration, this.callId, this.callStatus, this.callType, this.clientMessageId, required this.content, required this.conversationId, required this.conversationKey, required this.conversationRef, required this.createdAt, this.deletedAt, required this.deletedBy, this.deliveredAt, required this.id, required this.isDeleted, this.mediaDuration, this.mediaId, this.mediaSize, this.mediaUrl, required this.messageType, this.readAt, required this.recipientId, required this.recipientType, this.replyTo, this.replyToId, this.senderAvatar, required this.senderId, this.senderName, required this.senderType, required this.status, this.thumbnailUrl, required this.timestamp, required this.updatedAt});

  factory Message.fromJson(Map<String, dynamic> json) => Message(
        documentId: json['_id'] as String,
        callDuration: json['callDuration'] == null ? null : (json['callDuration'] as num).toInt(),
        callId: json['callId'] == null ? null : json['callId'] as String,
        callStatus: json['callStatus'] == null ? null : json['callStatus'] as String,
        callType: json['callType'] == null ? null : json['callType'] as String,
        clientMessageId: json['clientMessageId'] == null ? null : json['clientMessageId'] as String,
        content: json['content'] as String,
        conversationId: json['conversationId'] as String,
        conversationKey: json['conversationKey'] as String,
        conversationRef: json['conversationRef'] as String,
        createdAt: DateTime.parse(json['createdAt'] as String),
        deletedAt: json['deletedAt'] == null ? null : DateTime.parse(json['deletedAt'] as String),
        deletedBy: [for (final one in json['deletedBy'] as List) one as String],
        deliveredAt: json['deliveredAt'] == null ? null : DateTime.parse(json['deliveredAt'] as String),
        id: json['id'] as String,
        isDeleted: json['isDeleted'] as bool,
        mediaDuration: json['mediaDuration'] == null ? null : json['mediaDuration'] as num,
        mediaId: json['mediaId'] == null ? null : json['mediaId'] as String,
        mediaSize: json['mediaSize'] == null ? null : (json['mediaSize'] as num).toInt(),
        mediaUrl: json['mediaUrl'] == null ? null : json['mediaUrl'] as String,
        messageType: json['messageType'] as String,
        readAt: json['readAt'] == null ? null : DateTime.parse(json['readAt'] as String),
        recipientId: json['recipientId'] as String,
        recipientType: json['recipientType'] as String,
        replyTo: json['replyTo'] == null ? null : json['replyTo'] as String,
        replyToId: json['replyToId'] == null ? null : json['replyToId'] as String,
        senderAvatar: json['senderAvatar'] == null ? null : json['senderAvatar'] as String,
        senderId: json['senderId'] as String,
        senderName: json['senderName'] == null ? null : json['senderName'] as String,
        senderType: json['senderType'] as String,
        status: json['status'] as String,
        thumbnailUrl: json['thumbnailUrl'] == null ? null : json['thumbnailUrl'] as String,
        timestamp: DateTime.parse(json['timestamp'] as String),
        updatedAt: DateTime.parse(json['updatedAt'] as String),
      );

  final String documentId;

  final int? callDuration;

  final String? callId;

  final String? callStatus;

  final String? callType;

  final String? clientMessageId;

  final String content;

  final String conversationId;

  final String conversationKey;

  final String conversationRef;

  final DateTime createdAt;

  final DateTime? deletedAt;

  final List<String> deletedBy;

  final DateTime? deliveredAt;

  final String id;

  final bool isDeleted;

  final num? mediaDuration;

  final String? mediaId;

  final int? mediaSize;

  final String? mediaUrl;

  final String messageType;

  final DateTime? readAt;

  final String recipientId;

  final String recipientType;

  final String? replyTo;

  final String? replyToId;

  final String? senderAvatar;

  final String senderId;

  final String? senderName;

  final String senderType;

  final String status;

  final String? thumbnailUrl;

  final DateTime timestamp;

  final DateTime updatedAt;
}

/// `dm:message_deleted`.
final class MessageDeleted {
  const MessageDeleted({required this.conversationId, required this.deletedAt, required this.deletedBy, required this.messageId, required this.scope});

  factory MessageDeleted.fromJson(Map<String, dynamic> json) => MessageDeleted(
        conversationId: json['conversationId'] as String,
        deletedAt: DateTime.parse(json['deletedAt'] as String),
        deletedBy: json['deletedBy'] as String,
        messageId: json['messageId'] as String,
        scope: json['scope'] as String,
      );

  final String conversationId;

  /// When.
  final DateTime deletedAt;

  /// Id of who deleted it.
  final String deletedBy;

  /// Which.
  final String messageId;

  /// `me` or `everyone`.
  final String scope;
}

/// `dm:messages_delivered`.
final class MessagesDelivered {
  const MessagesDelivered({required this.conversationId, required this.deliveredAt, required this.deliveredTo, required this.messageIds});

  factory MessagesDelivered.fromJson(Map<String, dynamic> json) => MessagesDelivered(
        conversationId: json['conversationId'] as String,
        deliveredAt: DateTime.parse(json['deliveredAt'] as String),
        deliveredTo: json['deliveredTo'] as String,
        messageIds: [for (final one in json['messageIds'] as List) one as String],
      );

  final String conversationId;

  /// When.
  final DateTime deliveredAt;

  /// Id of the recipient.
  final String deliveredTo;

  /// In no order.
  final List<String> messageIds;
}

/// `dm:messages_read`.
final class MessagesRead {
  const MessagesRead({required this.conversationId, required this.messageIds, required this.readAt, required this.readBy, required this.readByType});

  factory MessagesRead.fromJson(Map<String, dynamic> json) => MessagesRead(
        conversationId: json['conversationId'] as String,
        messageIds: [for (final one in json['messageIds'] as List) one as String],
        readAt: DateTime.parse(json['readAt'] as String),
        readBy: json['readBy'] as String,
        readByType: json['readByType'] as String,
      );

  final String conversationId;

  /// Oldest first.
  final List<String> messageIds;

  /// When.
  final DateTime readAt;

  /// Id of the reader.
  final String readBy;

  /// Kind of the reader.
  final String readByType;
}

/// `presence:changed`.
final class PresenceChanged {
  const PresenceChanged({required this.changes});

  factory PresenceChanged.fromJson(Map<String, dynamic> json) => PresenceChanged(
        changes: [for (final one in json['changes'] as List) Attendance.fromJson((one as Map).cast<String, dynamic>())],
      );

  final List<Attendance> changes;
}

final class PresenceGetAccepted {
  const PresenceGetAccepted({required this.ok, required this.presence});

  factory PresenceGetAccepted.fromJson(Map<String, dynamic> json) => PresenceGetAccepted(
        ok: json['ok'] as bool,
        presence: [for (final one in json['presence'] as List) Attendance.fromJson((one as Map).cast<String, dynamic>())],
      );

  final bool ok;

  /// In no promised order; strangers are left out.
  final List<Attendance> presence;
}

final class PresenceGetRequest {
  const PresenceGetRequest({required this.ids});

  Map<String, dynamic> toJson() => {
        'ids': ids,
      };

  /// Each `type:id`, or the id alone. One text with commas will do.
  final List<String> ids;
}

final class Refused {
  const Refused({required this.code, required this.message, required this.ok, this.retryAfterMs, this.retryable});

  factory Refused.fromJson(Map<String, dynamic> json) => Refused(
        code: json['code'] as String,
        message: json['message'] as String,
        ok: json['ok'] as bool,
        retryAfterMs: json['retryAfterMs'] == null ? null : (json['retryAfterMs'] as num).toInt(),
        retryable: json['retryable'] == null ? null : json['retryable'] as bool,
      );

  final String code;

  /// For people; may change.
  final String message;

  final bool ok;

  /// Milliseconds to wait, where known.
  final int? retryAfterMs;

  /// The same request may succeed later.
  final bool? retryable;
}

/// `resync`.
final class Resync {
  const Resync({required this.since});

  factory Resync.fromJson(Map<String, dynamic> json) => Resync(
        since: DateTime.parse(json['since'] as String),
      );

  /// From when on events may be missing.
  final DateTime since;
}

/// `stats`: how busy the server is. Rooms are not named to clients.
final class Stats {
  const Stats({required this.rooms, required this.totalConnections, required this.totalRooms});

  factory Stats.fromJson(Map<String, dynamic> json) => Stats(
        rooms: [for (final one in json['rooms'] as List) one as String],
        totalConnections: (json['totalConnections'] as num).toInt(),
        totalRooms: (json['totalRooms'] as num).toInt(),
      );

  final List<String> rooms;

  final int totalConnections;

  final int totalRooms;
}

/// `dm:typing_start`, `dm:typing_stop` and their second names.
final class Typing {
  const Typing({required this.conversationId, required this.userId, this.userName, required this.userType});

  factory Typing.fromJson(Map<String, dynamic> json) => Typing(
        conversationId: json['conversationId'] as String,
        userId: json['userId'] as String,
        userName: json['userName'] == null ? null : json['userName'] as String,
        userType: json['userType'] as String,
      );

  final String conversationId;

  /// Who types.
  final String userId;

  /// Name of who types.
  final String? userName;

  /// Kind of who types.
  final String userType;
}
