// Socket.IO in: sign-in, then one table of events for all sockets, because a set of listeners for each would be most of an idle one's memory.
// Every event is answered, and every failure is told.

import { verify, personal, room } from "./people.mjs";
import { answerTo, log, objectOf, text } from "./failure.mjs";
import { Typing } from "./typing.mjs";
import * as messages from "./messages.mjs";
import * as calls from "./calls.mjs";

// So that the reason can still reach a client that is refused.
const REFUSAL_LINGER_MS = 1_000;

export function serve(io) {
  io.use((socket, next) => {
    try {
      socket.data.me = verify(socket.handshake.auth?.token);
      next();
    } catch (refusal) {
      next(new Error(refusal.code));
      setTimeout(() => socket.conn.close(), REFUSAL_LINGER_MS);
    }
  });
  io.on("connection", welcome);
}

function welcome(socket) {
  const { me } = socket.data;
  // As Socket.IO's guide on memory advises: nobody needs the first request of a session any more.
  socket.conn.request = null;
  socket.join(personal(me));
  const { id, type, name } = me;
  const user = { id, _id: id, userId: id, name, type, userType: type, role: type, isAnonymous: false, ...(type === "admin" && { isAdmin: true }) };
  socket.emit("connected", { socketId: socket.id, user, timestamp: Date.now(), serverTime: new Date().toISOString(), protocol: 1 });
  socket.onAny(heard);
  socket.on("disconnect", gone);
}

function gone() {
  this.data.typing?.close();
}

const typingOf = (socket) => (socket.data.typing ??= new Typing(socket, socket.data.me));

/** What becomes of an event: called with its socket, who that is, and the payload. */
const EVENTS = {
  "dm:join_conversation": (socket, me, payload) => messages.join(socket, me, payload),
  "dm:leave_conversation": (socket, _me, payload) => {
    const conversationId = text(objectOf(payload), "conversationId");
    socket.data.typing?.sent(conversationId);
    socket.leave(room(conversationId));
    return { conversationId };
  },
  "dm:send_message": async (socket, me, payload) => {
    const { message, repeated } = await messages.send(socket.server, socket, me, payload);
    socket.data.typing?.sent(message.conversationId);
    return repeated ? { message, duplicate: true } : { message };
  },
  "dm:typing_start": (socket, _me, payload) => typingOf(socket).start(payload),
  "dm:typing_stop": (socket, _me, payload) => typingOf(socket).stop(payload),
  "dm:mark_read": (socket, me, payload) => messages.markRead(socket.server, me, payload),
  "dm:history": async (socket, me, payload) => {
    const { conversationId, ...query } = objectOf(payload);
    const { messages: found, pagination } = await messages.page(me, conversationId, query);
    if (query.markRead !== false && !query.before) await messages.markRead(socket.server, me, { conversationId });
    const history = { conversationId, messages: found, ...pagination, unreadCount: await messages.unreadOf(me, conversationId) };
    socket.emit("dm:history", history);
    return history;
  },
  "call:initiate": (socket, me, payload) => calls.initiate(socket.server, socket, me, payload),
  "call:accept": (socket, me, payload) => calls.accept(socket.server, socket, me, payload),
  "call:reject": (socket, me, payload) => calls.reject(socket.server, socket, me, payload),
  "call:connected": (socket, me, payload) => calls.connected(socket.server, me, payload),
  "call:end": (socket, me, payload) => calls.end(socket.server, socket, me, payload),
};
const ALSO = { "dm:read": "dm:mark_read", "call:accepted": "call:accept", "call:rejected": "call:reject", "call:ended": "call:end" };
const HANDLERS = new Map(Object.entries(EVENTS));
for (const [also, event] of Object.entries(ALSO)) HANDLERS.set(also, EVENTS[event]);

/** Any event of the socket that is `this`. */
async function heard(event, payload, ack) {
  const reply = typeof ack === "function" ? ack : typeof payload === "function" ? payload : undefined;
  const handle = HANDLERS.get(event);
  if (!handle) {
    reply?.({ ok: false, code: "UNKNOWN_EVENT", message: "there is no such event" });
    return;
  }
  try {
    const result = handle(this, this.data.me, payload);
    const done = result instanceof Promise ? await result : result;
    reply?.({ ok: true, ...done });
  } catch (error) {
    log(error);
    const answer = answerTo(error);
    const told = { message: answer.message, error: answer.code, code: answer.code, event };
    this.emit("error", told);
    this.emit(event.startsWith("call") ? "call:error" : "dm:error", told);
    reply?.(answer);
  }
}
