// Calls as the tests need them: ringing, answered, and what was said about them afterwards.
import assert from 'node:assert/strict';

export const to = (person) => ({ calleeId: person.id, calleeType: person.kind });
export const about = (callId) => (payload) => payload.callId === callId;

/** Rings somebody; returns the ack. */
export const initiate = (client, callee, fields = {}) => client.ask('call:initiate', { ...to(callee), callType: 'voice', ...fields });

/** A user rings an astrologer; both have one socket and have heard it. */
export async function ringing(stage, { fields, callerOptions, calleeOptions } = {}) {
  const { user, astrologer, key } = stage.pair();
  const [caller, callee] = await Promise.all([stage.connect(user, callerOptions), stage.connect(astrologer, calleeOptions)]);
  const { callId, channelName } = await initiate(caller, astrologer, fields);
  const incoming = await callee.next('call:incoming', about(callId));
  return { user, astrologer, key, caller, callee, callId, channelName, incoming };
}

/** The same, answered. */
export async function talking(stage, options) {
  const call = await ringing(stage, options);
  await accept(call);
  return call;
}

/** The callee answers and the caller hears it under both names. */
export async function accept({ caller, callee, callId }) {
  const answer = await callee.ask('call:accept', { callId });
  await both(caller, 'call:accept', 'call:accepted', callId);
  return answer;
}

/** Waits for both spellings of an event, which must say the same; returns what they say. */
export async function both(client, first, second, callId) {
  const [a, b] = await Promise.all([client.next(first, about(callId)), client.next(second, about(callId))]);
  assert.deepEqual(a, b, `${first} and ${second} differ`);
  return a;
}
export const ended = (client, callId) => both(client, 'call:end', 'call:ended', callId);
export const rejected = (client, callId) => both(client, 'call:reject', 'call:rejected', callId);

/** A timeout is told as `call:missed` and `call:end`. */
export async function missed(client, callId, waitMs) {
  const [told, end] = await Promise.all([client.next('call:missed', about(callId), waitMs), client.next('call:end', about(callId), waitMs)]);
  assert.deepEqual([told.reason, end.reason, end.status], ['no_answer', 'missed', 'missed']);
}

/** The names of all call events this socket has heard about a call, refusals aside, in order; waits until all have arrived. */
export async function heardOf(client, callId) {
  await client.settle();
  const isAbout = ({ event, payload }) => event.startsWith('call:') && event !== 'call:error' && payload.callId === callId;
  return client.heard.filter(isAbout).map((entry) => entry.event);
}

/** The next call log this socket hears about a call. */
export const logOf = (client, callId) => client.next('dm:message_received', (m) => m.messageType === 'call_log' && m.callId === callId);

/** The call logs of a conversation about one call, from history. */
export async function logsIn(client, conversationId, callId) {
  const { messages } = await client.ask('dm:history', { conversationId, markRead: false, limit: 100 });
  return messages.filter((m) => m.callId === callId);
}

/** The same, once there is one: it is written a moment after the end is told. */
export async function logsSoon(client, conversationId, callId, waitMs = 8_000) {
  for (const deadline = Date.now() + waitMs; ; await new Promise((resolve) => setTimeout(resolve, 100))) {
    const logs = await logsIn(client, conversationId, callId);
    if (logs.length > 0) return logs;
    assert.ok(Date.now() < deadline, `call ${callId} has no log after ${waitMs} ms`);
  }
}

/** The call as one of its parties sees it by REST. */
export const stored = async (stage, person, callId) => (await stage.rest(person, 'GET', `/api/calls/${callId}`)).data;

/** Closes a socket and waits until the server has noticed: it ends the typing of whoever vanishes, and the witness hears that. */
export async function vanish(client, witness, key) {
  await client.send(witness.person, 'soon gone', { conversationId: key });
  await Promise.all([client.join(key), witness.join(key)]);
  await client.ask('dm:typing_start', { conversationId: key });
  await witness.next('dm:typing_start');
  client.close();
  // It also ends by itself after 5 s, which would prove nothing.
  await witness.next('dm:typing_stop', () => true, 4_000);
  await witness.settle();
}
