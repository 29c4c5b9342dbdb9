// Messages: durable first, heard second. A send is one insert and one update of its conversation; nobody hears of it before both.

import { Conversation, Message, ObjectId, isDuplicate } from "./models.mjs";
import { conversationOf, otherIn, partiesOf, participant, personal, room } from "./people.mjs";
import { MAX_CONTENT, MAX_COUNTED, MAX_PAGE, settings } from "./settings.mjs";
import { Refusal, objectOf, text } from "./failure.mjs";

const KINDS = new Set(["text", "image", "audio", "video", "file", "location"]);
const UNREAD = ["sent", "delivered"];
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;

/** Document ids of conversations that exist; the oldest go first when there are too many. */
const known = new Map();
const MAX_KNOWN = 100_000;

/** The id of a conversation, which is opened if need be. A promise only when the database has to be asked. */
function conversationRef(key, type, people) {
  return known.get(key) ?? findOrOpen(key, type, people);
}

async function findOrOpen(key, type, people) {
  const now = new Date();
  const opened = {
    participants: people.map(({ id, type, name }) => ({ id, type, ...(name && { name }), joinedAt: now })),
    conversationType: type, lastMessageAt: now, unreadCount: {}, isActive: true, contextType: "general", aliases: [],
    createdAt: now, updatedAt: now, __v: 0,
  };
  const open = () =>
    Conversation.collection.findOneAndUpdate(
      { conversationId: key },
      { $setOnInsert: opened },
      { upsert: true, returnDocument: "after", projection: { _id: 1 } },
    );
  // Two first messages at once: one of the upserts fails, and finds what the other has made.
  const found = await open().catch((error) => (isDuplicate(error) ? open() : Promise.reject(error)));
  if (known.size >= MAX_KNOWN) known.delete(known.keys().next().value);
  known.set(key, found._id);
  return found._id;
}

/** A stored message as clients see it. Dates are written out once: it is turned into JSON several times. */
export function view(message) {
  const id = message._id.toHexString();
  const created = message.createdAt.toISOString();
  const shown = {
    _id: id, id,
    conversationId: message.conversationId, conversationKey: message.conversationId,
    conversationRef: message.conversationRef?.toHexString(),
    senderId: message.senderId, senderType: message.senderType, senderName: message.senderName, senderAvatar: message.senderAvatar,
    recipientId: message.recipientId, recipientType: message.recipientType,
    content: message.content, messageType: message.messageType,
    status: message.status, timestamp: created, createdAt: created, updatedAt: message.updatedAt.toISOString(),
    isDeleted: message.isDeleted, deletedBy: message.isDeleted ? message.deletedBy : [],
    clientMessageId: message.clientMessageId,
  };
  if (message.mediaUrl) {
    const { mediaUrl, mediaSize, mediaDuration, thumbnailUrl } = message;
    Object.assign(shown, { mediaUrl, mediaSize, mediaDuration, thumbnailUrl });
  }
  if (message.replyTo) shown.replyTo = shown.replyToId = message.replyTo.toHexString();
  if (message.readAt) shown.readAt = message.readAt.toISOString();
  if (message.deliveredAt) shown.deliveredAt = message.deliveredAt.toISOString();
  if (message.callId) {
    const { callType, callStatus, callDuration, callId } = message;
    Object.assign(shown, { callType, callStatus, callDuration, callId: String(callId) });
  }
  return shown;
}

/** Checks what a client wants to send; a document without the id of its conversation. */
function compose(me, payload) {
  const named = text(payload, "conversationId");
  const recipientId = text(payload, "recipientId", "calleeId");
  const recipientType = text(payload, "recipientType", "calleeType");
  const recipient = recipientType ? participant(recipientId, recipientType) : named && otherIn(named, me);
  if (!recipient) throw new Refusal("CONVERSATION_NOT_FOUND");
  const { key, type } = conversationOf(me, recipient);
  if (named && named !== key) {
    if (partiesOf(named)) throw new Refusal(otherIn(named, me) ? "INVALID_PAYLOAD" : "CONVERSATION_NOT_FOUND");
  }
  const messageType = text(payload, "messageType") ?? "text";
  if (!KINDS.has(messageType)) throw new Refusal("INVALID_PAYLOAD", "messageType is none we know");
  const content = (text(payload, "content", "message", "text") ?? "").replace(CONTROL, "");
  // Code points are counted only where there may be too many.
  if (content.length > MAX_CONTENT && [...content].length > MAX_CONTENT) throw new Refusal("CONTENT_TOO_LONG");
  const mediaUrl = text(payload, "mediaUrl");
  if (mediaUrl && !mediaUrl.startsWith("https://")) throw new Refusal("INVALID_PAYLOAD", "mediaUrl must be https");
  if (!content && !mediaUrl) throw new Refusal("INVALID_PAYLOAD", "there is nothing to send");
  const clientMessageId = text(payload, "clientMessageId", "tempId", "localId");
  if (clientMessageId && clientMessageId.length > 64) throw new Refusal("INVALID_ID");
  const replyTo = text(payload, "replyTo", "replyToId");
  if (replyTo && !ObjectId.isValid(replyTo)) throw new Refusal("INVALID_ID");
  const document = {
    _id: undefined, conversationId: key, conversationRef: undefined,
    senderId: me.id, senderType: me.type, ...(me.name && { senderName: me.name }), ...(me.picture && { senderAvatar: me.picture }),
    recipientId: recipient.id, recipientType: recipient.type, messageType, content,
    ...(mediaUrl && { mediaUrl, thumbnailUrl: text(payload, "thumbnailUrl") }),
    status: "sent", ...(replyTo && { replyTo: new ObjectId(replyTo), replyToId: new ObjectId(replyTo) }),
    ...(clientMessageId && { clientMessageId }),
  };
  return { document, recipient, type };
}

/** Gives a document its id and time, stores it and makes it the latest of its conversation. */
async function store(document, unreadOf) {
  const now = new Date();
  document._id = new ObjectId();
  document.isDeleted = false;
  document.deletedBy = [];
  document.timestamp = document.createdAt = document.updatedAt = now;
  document.__v = 0;
  // One after the other: an update beside an insert that is refused as a repeat would count a message twice.
  await Message.collection.insertOne(document);
  const { _id: messageId, content, senderId, senderType, messageType } = document;
  await Conversation.collection.updateOne(
    { _id: document.conversationRef },
    {
      $set: {
        lastMessage: { messageId, content, senderId, senderType, timestamp: now, messageType },
        lastMessageSenderId: senderId, lastMessageSenderType: senderType,
      },
      $max: { lastMessageAt: now, updatedAt: now },
      ...(unreadOf && { $inc: { [`unreadCount.${unreadOf}`]: 1 } }),
    },
  );
}

async function append(me, payload) {
  const { document, recipient, type } = compose(me, payload);
  const ref = conversationRef(document.conversationId, type, [me, recipient]);
  document.conversationRef = ref instanceof ObjectId ? ref : await ref;
  try {
    await store(document, recipient.identity);
  } catch (error) {
    if (!isDuplicate(error) || !document.clientMessageId) throw error;
    const { senderType, senderId, clientMessageId } = document;
    const first = await Message.findOne({ senderType, senderId, clientMessageId }).lean();
    if (first?.content !== document.content || first.conversationId !== document.conversationId) throw new Refusal("CONFLICT");
    return { message: view(first), repeated: true };
  }
  return { message: view(document), recipient };
}

/** Tells a new message: the room hears it whole, and the other sockets of both people too, each socket once. */
function tell(io, socket, me, { message, recipient }) {
  const heard = room(message.conversationId);
  io.to(heard).emit("dm:message_received", message);
  socket?.emit("dm:message_sent", message);
  const others = io.to(personal(recipient)).to(personal(me)).except(heard);
  (socket ? others.except(socket.id) : others).emit("dm:new_message", message);
}

/** The last send under way of each conversation, where they are to be told in the order they were stored. */
const queues = new Map();

async function inTurn(key, work) {
  const before = queues.get(key);
  const turn = before ? before.then(work, work) : work();
  queues.set(key, turn);
  try {
    return await turn;
  } finally {
    if (queues.get(key) === turn) queues.delete(key);
  }
}

export async function send(io, socket, me, raw) {
  const payload = objectOf(raw);
  const work = async () => {
    const sent = await append(me, payload);
    if (!sent.repeated) tell(io, socket, me, sent);
    return sent;
  };
  return settings.ordered ? inTurn(payload.conversationId, work) : work();
}

/** Leaves the log of a call in the conversation of the two; it is never unread. */
export async function logCall(io, call, callStatus) {
  const caller = participant(call.callerId, call.callerType);
  const callee = participant(call.calleeId, call.calleeType);
  const { key, type } = conversationOf(caller, callee);
  const ref = conversationRef(key, type, [caller, callee]);
  const document = {
    _id: undefined, conversationId: key, conversationRef: ref instanceof ObjectId ? ref : await ref,
    senderId: caller.id, senderType: caller.type, recipientId: callee.id, recipientType: callee.type, messageType: "call_log",
    content: `${call.callType === "video" ? "Video" : "Voice"} call ${callStatus}`, status: "sent",
    callType: call.callType, callStatus, callDuration: call.duration, callId: call._id, clientMessageId: `call_log:${call._id}`,
  };
  try {
    await store(document, undefined);
  } catch (error) {
    if (isDuplicate(error)) return;
    throw error;
  }
  io.to(personal(caller)).to(personal(callee)).emit("dm:message_received", view(document));
}

export async function unreadOf(me, key) {
  const found = await Conversation.findOne({ conversationId: key }, { unreadCount: 1 }).lean();
  return Math.max(0, found?.unreadCount?.[me.identity] ?? 0);
}

export async function join(socket, me, raw) {
  const conversationId = text(objectOf(raw), "conversationId");
  if (!conversationId) throw new Refusal("INVALID_PAYLOAD", "conversationId is missing");
  if (!otherIn(conversationId, me) && !(me.type === "admin" && partiesOf(conversationId))) throw new Refusal("DM_JOIN_FORBIDDEN");
  const [unreadCount] = await Promise.all([unreadOf(me, conversationId), socket.join(room(conversationId))]);
  const joined = { conversationId, success: true, conversationKey: conversationId, unreadCount };
  socket.emit("dm:joined", joined);
  return joined;
}

export async function markRead(io, me, raw) {
  const payload = objectOf(raw);
  const conversationId = text(payload, "conversationId");
  const other = otherIn(conversationId, me);
  if (!other) throw new Refusal("CONVERSATION_NOT_FOUND");
  const asked = payload.messageIds ?? (payload.messageId ? [payload.messageId] : []);
  const ids = (Array.isArray(asked) ? asked : [asked]).filter((id) => ObjectId.isValid(id)).map((id) => new ObjectId(id));
  if (ids.length === 0 && asked.length > 0) throw new Refusal("INVALID_ID");
  const unread = { conversationId, recipientType: me.type, recipientId: me.id, status: { $in: UNREAD }, isDeleted: false };
  if (me.type === "admin") delete unread.recipientId;
  if (ids.length > 0) unread._id = { $in: ids };
  const found = await Message.find(unread, { messageType: 1 }).sort({ _id: 1 }).lean();
  const messageIds = found.map(({ _id }) => _id.toHexString());
  if (found.length > 0) {
    const now = new Date();
    // The condition again: whoever changes it counts it.
    const changed = await Message.collection.updateMany(
      { _id: { $in: found.map(({ _id }) => _id) }, status: { $in: UNREAD } },
      { $set: { status: "read", readAt: now, updatedAt: now } },
    );
    const logs = found.filter(({ messageType }) => messageType === "call_log").length;
    const counted = Math.max(0, changed.modifiedCount - logs);
    await Conversation.collection.updateOne({ conversationId }, { $inc: { [`unreadCount.${me.identity}`]: -counted } });
    io.to(room(conversationId)).to(personal(me)).to(personal(other)).emit("dm:messages_read", {
      conversationId, messageIds, readBy: me.id, readByType: me.type, readAt: now.toISOString(),
    });
  }
  return { messageIds, unreadCount: await unreadOf(me, conversationId) };
}

/** A page, oldest first: the newest, or the newest ones before a message. */
export async function page(me, conversationId, query) {
  if (!otherIn(conversationId, me) && !(me.type === "admin" && partiesOf(conversationId))) throw new Refusal("CONVERSATION_NOT_FOUND");
  const limit = Math.min(Math.max(Number(query.limit) || 50, 1), MAX_PAGE);
  const number = Math.max(Number(query.page) || 1, 1);
  if (query.before && !ObjectId.isValid(query.before)) throw new Refusal("INVALID_ID");
  const visible = { conversationId, isDeleted: { $ne: true }, deletedBy: { $ne: me.identity } };
  const wanted = query.before ? { ...visible, _id: { $lt: new ObjectId(query.before) } } : visible;
  // One more than asked for tells whether there are more. Beside the count, not after it.
  const [found, total] = await Promise.all([
    Message.find(wanted).sort({ _id: -1 }).skip(query.before ? 0 : (number - 1) * limit).limit(limit + 1).lean(),
    Message.countDocuments(visible, { limit: MAX_COUNTED }),
  ]);
  const messages = found.slice(0, limit).reverse().map(view);
  return { messages, pagination: { page: number, limit, total, pages: Math.ceil(total / limit), hasMore: found.length > limit } };
}
