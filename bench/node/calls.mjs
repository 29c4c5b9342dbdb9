// Calls: every step is one compare-and-set on the document, so that of an answer, a hang-up and a timeout in the same instant one wins.

import { randomBytes } from "node:crypto";
import { Call, ObjectId } from "./models.mjs";
import { conversationOf, participant, personal } from "./people.mjs";
import { settings } from "./settings.mjs";
import { Refusal, log, objectOf, text } from "./failure.mjs";
import { logCall } from "./messages.mjs";

const RINGING = ["initiated", "ringing"];
const TALKING = ["answered", "ongoing"];
const MAX_TALK_SECONDS = 86_400;
const SWEEP_MS = 2_000;

/** How clients name what is stored. */
const said = (call) => {
  if (call.status === "answered") return "accepted";
  if (call.status === "ongoing") return "connected";
  return call.status === "ended" && call.endReason === "cancelled" ? "cancelled" : call.status;
};

const caller = (call) => participant(call.callerId, call.callerType);
const callee = (call) => participant(call.calleeId, call.calleeType);
const isParty = (person, id, type) => person.type === type && (type === "admin" || person.id === id);
const isCaller = (call, me) => isParty(me, call.callerId, call.callerType);
const isCallee = (call, me) => isParty(me, call.calleeId, call.calleeType);

function shown(call) {
  const id = call._id.toHexString();
  return {
    callId: id, _id: id, id, callType: call.callType, status: said(call),
    callerId: call.callerId, callerType: call.callerType, callerName: call.callerName,
    recipientId: call.calleeId, recipientType: call.calleeType, calleeId: call.calleeId, calleeType: call.calleeType,
    channelName: call.agoraChannelName, conversationId: call.conversationId, timestamp: call.initiatedAt.toISOString(),
    uid: 0, agoraUid: 0,
  };
}

/** Calls of this process that are not over, as last seen, each with its ring timer. A hint only: the document decides. */
const live = new Map();

function ringOut(io, call) {
  const timer = setTimeout(() => miss(io, call._id).catch(log), settings.ringSeconds * 1000);
  timer.unref();
  live.set(call._id.toHexString(), { call, timer });
}

/** Notes what became of a call; one that is answered or over rings no more. */
function note(call) {
  const id = call._id.toHexString();
  const entry = live.get(id);
  if (!entry) return;
  if (!RINGING.includes(call.status)) clearTimeout(entry.timer);
  if (call.endedAt) live.delete(id);
  else entry.call = call;
}

/** Moves a call on if it is still in one of these states; the call afterwards, or null. */
async function transition(_id, from, change) {
  const after = await Call.collection.findOneAndUpdate(
    { _id, status: { $in: from } },
    { $set: { ...change, updatedAt: new Date() }, ...(change.endedAt && { $unset: { open: "", ringDeadline: "" } }) },
    { returnDocument: "after" },
  );
  if (after) note(after);
  return after;
}

const ending = (status, endReason, endDetail, by) => ({
  status, endReason, endDetail, endedAt: new Date(), ...(by && { endedBy: by.id, endedByType: by.type }),
});

async function miss(io, id) {
  const call = await transition(id, RINGING, ending("missed", "no_answer", "timeout"));
  if (!call) return;
  const both = () => io.to(personal(caller(call))).to(personal(callee(call)));
  const callId = id.toHexString();
  both().emit("call:missed", { callId, _id: callId, reason: "no_answer", status: "missed" });
  both().emit("call:end", { callId, _id: callId, duration: 0, reason: "missed", endReason: "no_answer", status: "missed", message: "Nobody answered" });
  await logged(io, call, "missed");
}

/** Finds calls that have rung too long, now and from time to time: those of a process that is gone, above all. Tells how to end it. */
export async function sweep(io) {
  const look = async () => {
    const overdue = await Call.find({ open: true, ringDeadline: { $lte: new Date() } }, { _id: 1 }).limit(100).lean();
    await Promise.all(overdue.map(({ _id }) => miss(io, _id)));
  };
  const timer = setInterval(() => look().catch(log), SWEEP_MS);
  await look();
  return () => clearInterval(timer);
}

const logged = (io, call, status) => (settings.callLogs ? logCall(io, call, status) : undefined);

async function find(payload, me) {
  const id = text(payload, "callId", "_id", "id");
  if (!id || !ObjectId.isValid(id)) throw new Refusal("INVALID_ID");
  const call = live.get(id)?.call ?? (await Call.findOne({ _id: id }).lean());
  if (!call || !(isCaller(call, me) || isCallee(call, me))) throw new Refusal("CALL_NOT_FOUND");
  return call;
}

const talksAlready = ({ id }) =>
  Call.exists({ $or: [{ recipientId: id }, { callerId: id }], open: true, status: { $in: TALKING } });

export async function initiate(io, socket, me, raw) {
  const payload = objectOf(raw);
  const other = participant(text(payload, "calleeId", "recipientId"), text(payload, "calleeType", "recipientType"));
  const callType = { voice: "voice", audio: "voice", video: "video" }[text(payload, "callType")];
  if (!callType) throw new Refusal("INVALID_PAYLOAD", "callType must be voice or video");
  const { key } = conversationOf(me, other);
  const isOnline = io.of("/").adapter.rooms.has(personal(other));
  const talks = settings.callBusy && other.type !== "admin" && isOnline;
  const busy = talks && (await talksAlready(other));
  const now = new Date();
  const channel = `call_${randomBytes(12).toString("hex")}`;
  const call = {
    _id: new ObjectId(), callerId: me.id, callerType: me.type, ...(me.name && { callerName: me.name }),
    calleeId: other.id, calleeType: other.type, recipientId: other.id, recipientType: other.type, callType,
    status: isOnline ? "ringing" : "initiated", agoraChannelName: channel, channelName: channel, agoraUid: 0, conversationId: key,
    initiatedAt: now, startedAt: now, ...(isOnline && { ringingAt: now }), duration: 0, serverDuration: 0, createdAt: now, updatedAt: now,
    __v: 0, ...(busy ? ending("rejected", "rejected", "busy") : { open: true, ringDeadline: new Date(+now + settings.ringSeconds * 1000) }),
  };
  await Call.collection.insertOne(call);
  const base = shown(call);
  socket.emit("call:initiated", base);
  socket.emit("call:token", base);
  if (busy) {
    const refused = { callId: base.callId, _id: base._id, contactId: other.id, reason: "busy", code: "CALLEE_BUSY", status: "rejected" };
    for (const name of ["call:reject", "call:rejected"]) io.to(personal(me)).emit(name, refused);
    logged(io, call, "missed")?.catch(log);
    return { callId: base.callId, status: base.status, channelName: channel, uid: 0, reason: "busy", code: "CALLEE_BUSY" };
  }
  ringOut(io, call);
  io.to(personal(other)).emit("call:incoming", base);
  return { callId: base.callId, status: base.status, channelName: channel, uid: 0 };
}

export async function accept(io, socket, me, raw) {
  const payload = objectOf(raw);
  const id = text(payload, "callId", "_id", "id");
  if (!id || !ObjectId.isValid(id)) throw new Refusal("INVALID_ID");
  const now = new Date();
  // The compare-and-set itself proves who asks and that it still rings: nothing is read first.
  const call = await Call.collection.findOneAndUpdate(
    { _id: new ObjectId(id), calleeType: me.type, ...(me.type !== "admin" && { calleeId: me.id }), status: { $in: RINGING }, ringDeadline: { $gt: now } },
    { $set: { status: "answered", answeredAt: now, acceptedAt: now, updatedAt: now, answeredBySocket: socket.id }, $unset: { ringDeadline: "" } },
    { returnDocument: "after" },
  );
  if (!call) return refuseAccept(socket, me, payload);
  note(call);
  const base = shown(call);
  const accepted = { ...base, contactId: me.id, acceptedAt: now.toISOString() };
  for (const name of ["call:accept", "call:accepted"]) io.to(personal(caller(call))).emit(name, accepted);
  const elsewhere = { callId: id, _id: id, contactId: call.callerId, duration: 0, reason: "answered_elsewhere", status: "accepted" };
  for (const name of ["call:end", "call:ended"]) socket.to(personal(me)).emit(name, elsewhere);
  return { callId: id, status: base.status, channelName: base.channelName, uid: 0 };
}

async function refuseAccept(socket, me, payload) {
  const call = await find(payload, me);
  if (!isCallee(call, me)) throw new Refusal("FORBIDDEN", "only the callee answers");
  const callId = call._id.toHexString();
  if (call.answeredBySocket === socket.id) return { callId, status: said(call), channelName: call.agoraChannelName, uid: 0 };
  const elsewhere = TALKING.includes(call.status);
  const reason = elsewhere ? "answered_elsewhere" : said(call);
  for (const name of ["call:end", "call:ended"]) socket.emit(name, { callId, _id: callId, duration: 0, reason, status: said(call) });
  throw new Refusal(elsewhere ? "ANSWERED_ELSEWHERE" : "CALL_NOT_RINGING", reason, { callId });
}

export async function reject(io, socket, me, raw) {
  const payload = objectOf(raw);
  const call = await find(payload, me);
  if (!isCallee(call, me)) throw new Refusal("FORBIDDEN", "only the callee rejects");
  return decline(io, socket, me, call, (text(payload, "reason", "endReason") ?? "declined").slice(0, 64));
}

async function decline(io, socket, me, call, reason) {
  const callId = call._id.toHexString();
  const after = await transition(call._id, RINGING, ending("rejected", "rejected", reason === "busy" ? "busy" : "declined", me));
  if (!after) return { callId, status: said(call) };
  const rejected = { callId, _id: callId, contactId: me.id, reason, status: "rejected" };
  for (const name of ["call:reject", "call:rejected"]) io.to(personal(caller(after))).emit(name, rejected);
  const stop = { callId, _id: callId, contactId: after.callerId, duration: 0, reason: "rejected", status: "rejected" };
  for (const name of ["call:end", "call:ended"]) socket.to(personal(me)).emit(name, stop);
  logged(io, after, reason === "busy" ? "missed" : "declined")?.catch(log);
  return { callId, status: "rejected" };
}

export async function connected(io, me, raw) {
  const call = await find(objectOf(raw), me);
  const callId = call._id.toHexString();
  const after = await transition(call._id, ["answered"], { status: "ongoing", connectedAt: new Date() });
  if (after) {
    const other = isCaller(call, me) ? callee(call) : caller(call);
    io.to(personal(other)).emit("call:connected", { callId, contactId: me.id });
  }
  return { callId, status: said(after ?? call) };
}

export async function end(io, socket, me, raw) {
  const payload = objectOf(raw);
  let call = await find(payload, me);
  const callId = call._id.toHexString();
  const reason = text(payload, "reason", "endReason")?.slice(0, 64);
  // Once more if somebody else was faster: the call is one state further then.
  for (let attempt = 0; attempt < 3; attempt++) {
    const rings = RINGING.includes(call.status);
    if (!rings && !TALKING.includes(call.status)) break;
    if (rings && isCallee(call, me)) return decline(io, socket, me, call, reason ?? "declined");
    const change = rings ? ending("ended", "cancelled", "caller_cancelled", me) : hangingUp(call, me, payload, reason);
    const after = await transition(call._id, rings ? RINGING : [call.status], change);
    if (after) {
      const other = isCaller(after, me) ? callee(after) : caller(after);
      const why = rings ? "cancelled" : (reason ?? "completed");
      const { duration, endReason } = after;
      const over = { callId, _id: callId, contactId: me.id, duration, reason: why, endReason, status: said(after) };
      for (const name of ["call:end", "call:ended"]) io.to(personal(other)).emit(name, over);
      logged(io, after, rings ? "cancelled" : "completed")?.catch(log);
      return { callId, status: said(after) };
    }
    call = await Call.findOne({ _id: call._id }).lean();
    note(call);
  }
  return { callId, status: said(call) };
}

function hangingUp(call, me, payload, reason) {
  const since = call.connectedAt ?? call.answeredAt;
  const serverDuration = since ? Math.max(0, Math.floor((Date.now() - since) / 1000)) : 0;
  const told = Number(payload.duration);
  const believed = Number.isInteger(told) && told > 0 && told <= Math.min(MAX_TALK_SECONDS, serverDuration + 5);
  const word = reason?.includes("network") ? "network_error" : "completed";
  return { ...ending("ended", word, word, me), serverDuration, duration: believed ? told : serverDuration };
}
