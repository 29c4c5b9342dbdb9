// The four kinds of apps that speak of calls: what each sends, and which events it has ears for. Contract: 0, 2.3, 2.4.
import assert from 'node:assert/strict';

/** What the Flutter app does with a field: a wrong type throws there and the call is lost. */
const text = (v) => assert.ok(v === undefined || typeof v === 'string', `a text was expected, not ${JSON.stringify(v)}`);
const whole = (v) => assert.ok(v === undefined || Number.isInteger(v), `an integer was expected, not ${JSON.stringify(v)}`);
const present = (v) => assert.ok(typeof v === 'string' && v.length > 0, `a text is missing, there is ${JSON.stringify(v)}`);

const plain = ({ callId }) => ({ callId });
const withContact = ({ callId, contactId }) => ({ callId, contactId });

/** S: the original specification. */
const S = {
  name: 'S',
  kind: 'user',
  hears: {
    begun: ['call:initiated'], incoming: ['call:incoming'], accepted: ['call:accepted'], connected: [], rejected: ['call:rejected'],
    ended: ['call:ended'], missed: ['call:missed'],
  },
  initiate: ({ id, kind }, callType) => ({ calleeId: id, calleeType: kind, callType }),
  accept: plain,
  connected: plain,
  reject: plain,
  end: (call, duration) => ({ callId: call.callId, duration }),
  decode: ({ callId }) => present(callId),
};

/** D1: the older dashboard. It hears nothing about the call it begins until somebody answers. */
const D1 = {
  ...S,
  name: 'D1',
  kind: 'admin',
  hears: { ...S.hears, begun: [] },
  initiate: ({ id, kind }, callType) => ({ recipientId: id, recipientType: kind, callType, callerId: 'admin', callerType: 'admin' }),
  reject: ({ callId }) => ({ callId, reason: 'declined' }),
  end: ({ callId }) => ({ callId, endReason: 'completed' }),
  decode(payload, role) {
    present(payload._id);
    if (role === 'accepted') for (const field of ['channelName', 'agoraToken', 'callType']) present(payload[field]);
    if (role === 'accepted') assert.equal(payload.status, 'accepted');
  },
};

/** D2: the shipped dashboard, with ears for both spellings of most events. */
const D2 = {
  ...D1,
  name: 'D2',
  hears: {
    begun: ['call:token'], incoming: ['call:incoming'], accepted: ['call:accept', 'call:accepted'], connected: [], rejected: ['call:reject'],
    ended: ['call:end', 'call:ended'], missed: ['call:missed', 'call:end'],
  },
  accept: withContact,
  connected: withContact,
  end: ({ callId, contactId }) => ({ callId, contactId, duration: 0, reason: 'completed' }),
  decode(payload, role) {
    present(payload.callId);
    if (['begun', 'incoming', 'accepted'].includes(role)) for (const field of ['channelName', 'agoraToken']) present(payload[field]);
  },
};

/** F: the shipped Flutter app, strict about types. */
const F = {
  name: 'F',
  kind: 'astrologer',
  hears: {
    begun: ['call:token'], incoming: ['call:incoming'], accepted: ['call:accept'], connected: ['call:connected'], rejected: ['call:reject'],
    ended: ['call:end'], missed: ['call:end'],
  },
  connect: { transport: 'websocket', headers: { 'User-Agent': 'Dart/3.0 (dart:io)' } },
  initiate: ({ id, kind }, callType) => ({ recipientId: id, recipientType: kind, callType }),
  accept: withContact,
  connected: withContact,
  reject: ({ callId, contactId }) => ({ callId, contactId, reason: 'rejected' }),
  end: ({ callId, contactId }, duration) => ({ callId, contactId, duration }),
  decode(payload, role) {
    present(payload.callId);
    for (const field of ['callerId', 'callerType', 'callerName', 'callerAvatar', 'callType', 'agoraToken', 'agoraAppId', 'channelName', 'reason']) text(payload[field]);
    whole(payload.uid);
    whole(payload.duration);
    if (role === 'incoming') for (const field of ['agoraToken', 'agoraAppId', 'channelName', 'callerId']) present(payload[field]);
  },
};

export const DIALECTS = [S, D1, D2, F];

/** Who may stand at the two ends: each as the kind of person that uses such an app, unless both would be the same kind (7.11). */
export function kindsOf(caller, callee) {
  if (caller.kind !== callee.kind) return [caller.kind, callee.kind];
  return [caller.kind, caller.kind === 'astrologer' ? 'user' : 'astrologer'];
}

/** One app of a dialect on one socket. It asks for no acks, as the apps do, and judges by what it hears. */
export class App {
  constructor(dialect, client) {
    this.dialect = dialect;
    this.client = client;
    this.person = client.person;
  }

  static async start(stage, dialect, person) {
    const client = await stage.connect(person, dialect.connect);
    if (dialect.name === 'F') client.socket.emit('get_stats');
    return new App(dialect, client);
  }

  #say(event, payload) {
    this.client.socket.emit(event, payload);
  }

  initiate(callee, callType) {
    this.#say('call:initiate', this.dialect.initiate(callee, callType));
  }
  accept(call) {
    this.#say('call:accept', this.dialect.accept(call));
  }
  connected(call) {
    this.#say('call:connected', this.dialect.connected(call));
  }
  reject(call) {
    this.#say('call:reject', this.dialect.reject(call));
  }
  end(call, duration) {
    this.#say('call:end', this.dialect.end(call, duration));
  }

  /** Waits until the app has heard this of a call, under every name it has ears for; undefined if it has none. */
  async hear(role, matches) {
    const payloads = await Promise.all(this.dialect.hears[role].map((name) => this.client.next(name, matches)));
    for (const payload of payloads) {
      this.dialect.decode(payload, role);
      if (role !== 'missed') assert.deepEqual(payload, payloads[0], `both spellings of ${role} say the same`);
    }
    return payloads[0];
  }

  /** Everything the app has ears for and heard about a call, sorted; waits until all has arrived. */
  async heard(callId) {
    await this.client.settle();
    const ears = Object.values(this.dialect.hears).flat();
    return this.client.heard.filter((e) => ears.includes(e.event) && e.payload.callId === callId).map((e) => e.event).sort();
  }

  /** What `heard` must be, had the app been told exactly this. */
  expected(...roles) {
    return roles.flatMap((role) => this.dialect.hears[role]).sort();
  }
}
