// Stock Socket.IO clients of three generations, and a log of everything each of them hears.
import assert from 'node:assert/strict';
import { io as io4 } from 'socket.io-client';
import { io as io3 } from 'socket.io-client-3';
import io2 from 'socket.io-client-2';
import { ackFaults, packetFaults, textFaults } from './shapes.mjs';

const WAIT_MS = 8_000;
/** An event nobody handles: its ack comes after everything the socket was sent before. */
const MARKER = 'samvad-tests:marker';

export const COMBINATIONS = [4, 3, 2].flatMap((version) => ['websocket', 'polling'].map((transport) => ({ version, transport })));

function open(url, { version = 4, transport = 'websocket', token, auth, query, headers, reconnect = false }) {
  const options = {
    transports: transport === 'upgrade' ? ['polling', 'websocket'] : [transport],
    forceNew: true,
    reconnection: reconnect,
    reconnectionDelay: 50,
    reconnectionDelayMax: 200,
    timeout: WAIT_MS,
    ...(headers ? { extraHeaders: headers } : {}),
    ...(query ? { query } : {}),
  };
  // Engine.IO 3 has no auth payload: the token travels in the query.
  if (version === 2) return io2(url, { ...options, query: { ...query, ...(token === undefined ? {} : { token }) } });
  options.auth = { ...(token === undefined ? {} : { token }), ...auth };
  return (version === 3 ? io3 : io4)(url, options);
}

/** One connected socket. Everything it hears is kept in order, so that nothing can be missed by listening late. */
export class Client {
  heard = [];
  faults = [];
  #waiting = new Set();

  constructor(socket, name) {
    this.socket = socket;
    this.name = name;
    const pass = socket.onevent.bind(socket);
    socket.onevent = (packet) => {
      this.#record(packet);
      pass(packet);
    };
    socket.io.engine.on('packet', ({ type, data }) => {
      if (type === 'message' && typeof data === 'string') this.faults.push(...textFaults(data));
    });
  }

  #record(packet) {
    const [event, ...args] = packet.data;
    const entry = { event, args, ackId: packet.id, payload: args[0], taken: false };
    this.faults.push(...packetFaults(entry));
    this.heard.push(entry);
    for (const waiter of this.#waiting) waiter();
  }

  get id() {
    return this.socket.id;
  }

  /** Payloads heard so far under this name. */
  all(event, matches = () => true) {
    return this.heard.filter((entry) => entry.event === event && matches(entry.payload)).map((entry) => entry.payload);
  }

  /** The next payload under this name that no earlier call has taken. */
  next(event, matches = () => true, waitMs = WAIT_MS) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(look);
        const heard = this.heard.map((entry) => entry.event).join(', ');
        reject(new Error(`${this.name} did not hear ${event} in ${waitMs} ms; it heard: ${heard || 'nothing'}`));
      }, waitMs);
      const look = () => {
        const entry = this.heard.find((e) => !e.taken && e.event === event && matches(e.payload));
        if (!entry) return;
        entry.taken = true;
        clearTimeout(timer);
        this.#waiting.delete(look);
        resolve(entry.payload);
      };
      this.#waiting.add(look);
      look();
    });
  }

  /** Emits and waits for the ack. */
  emitAck(event, ...args) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${this.name} got no ack for ${event} in ${WAIT_MS} ms`)), WAIT_MS);
      this.socket.emit(event, ...args, (...answer) => {
        clearTimeout(timer);
        if (answer.length === 1 && answer[0] && typeof answer[0].ok === 'boolean') resolve(answer[0]);
        else reject(new Error(`the ack of ${event} must be one object with ok, not ${JSON.stringify(answer)}`));
      });
    });
  }

  /** Emits, expects `{ok: true}`, returns the ack. */
  async ask(event, ...args) {
    const answer = await this.emitAck(event, ...args);
    assert.equal(answer.ok, true, `${event} was refused: ${JSON.stringify(answer)}`);
    this.faults.push(...ackFaults(event, answer));
    return answer;
  }

  /** Emits and expects a refusal with this code: in the ack, as `error`, and as `dm:error` or `call:error`. Returns the ack. */
  async refused(code, event, ...args) {
    const before = this.heard.length;
    const answer = await this.emitAck(event, ...args);
    assert.equal(answer.ok, false, `${event} should have been refused with ${code}: ${JSON.stringify(answer)}`);
    assert.equal(answer.code, code, answer.message);
    const told = this.heard.slice(before).filter((entry) => entry.payload?.event === event);
    assert.deepEqual(told.map((entry) => entry.event), ['error', `${event.split(':')[0]}:error`]);
    for (const { payload } of told) assert.equal(payload.code, code);
    for (const entry of told) entry.taken = true;
    return answer;
  }

  send(to, content, fields = {}) {
    return this.ask('dm:send_message', { recipientId: to.id, recipientType: to.kind, content, ...fields });
  }

  join(conversationId, fields = {}) {
    return this.ask('dm:join_conversation', { conversationId, ...fields });
  }

  /** Comes back once everything that was emitted to this socket before has arrived. */
  async settle() {
    const answer = await this.emitAck(MARKER);
    assert.equal(answer.code, 'UNKNOWN_EVENT');
  }

  /** Waits until everything emitted so far has arrived, then fails if this was among it. */
  async never(event, matches = () => true) {
    await this.settle();
    assert.deepEqual(this.all(event, matches), [], `${this.name} must not hear ${event}`);
  }

  /** The names under which this socket was handed a message, in order; waits until all have arrived. */
  async copies(messageId) {
    await this.settle();
    const names = ['dm:message_received', 'dm:new_message', 'dm:message_sent'];
    return this.heard.filter((entry) => names.includes(entry.event) && entry.payload._id === messageId).map((entry) => entry.event);
  }

  close() {
    this.socket.close();
  }
}

/** Connects; resolves when `connected` has arrived, which must be the first packet. */
export async function connect(url, options, name) {
  const socket = open(url, options);
  const client = new Client(socket, name);
  const refused = new Promise((_, reject) => {
    const fail = (error) => reject(new Error(`${name} was refused: ${error.message ?? error}`));
    if (!options.reconnect) socket.once('connect_error', fail);
    if (options.version === 2) socket.once('error', (error) => typeof error === 'string' && fail(error));
  });
  refused.catch(() => {});
  options.early?.(socket);
  try {
    client.greeting = await Promise.race([client.next('connected'), refused]);
  } catch (error) {
    client.close();
    throw error;
  }
  assert.equal(client.heard[0].event, 'connected', 'connected must be the first packet');
  return client;
}

/** Connects and expects a refusal; returns its code, and what became of the transport. */
export function expectRefusal(url, options) {
  const socket = open(url, options);
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('no refusal arrived')), WAIT_MS);
    const engine = socket.io.engine;
    const closed = new Promise((done) => engine.once('close', (reason) => done({ reason, at: Date.now() })));
    const finish = (code) => {
      clearTimeout(timer);
      const at = Date.now();
      resolve({ code, closed: closed.then((end) => ({ reason: end.reason, afterMs: end.at - at })), socket });
    };
    socket.once('connected', () => reject(new Error('was admitted')));
    if (options.version === 2) socket.once('error', (error) => finish(error.message ?? error));
    else socket.once('connect_error', (error) => finish(error.message));
  });
}
