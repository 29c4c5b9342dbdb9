// What a test is handed: people, sockets and REST against one running server; everything is checked and closed after it.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { connect } from './clients.mjs';
import { startServer, stores } from './server.mjs';
import { sign } from './tokens.mjs';

export const hexId = () => randomBytes(12).toString('hex');

/** The canonical key of two people. */
export function keyOf(a, b) {
  const part = (kind) => [a, b].find((person) => person.kind === kind)?.id.replaceAll('_', '~');
  if (part('admin')) return part('astrologer') ? `admin_${part('astrologer')}` : `admin_user_${part('user')}`;
  return `user_${part('user')}_${part('astrologer')}`;
}

export class Stage {
  #clients = [];

  constructor(server) {
    this.server = server;
  }

  /** Whoever holds the shared admin key. */
  get admin() {
    return { id: 'admin', kind: 'admin', name: 'Admin', token: this.server.adminKey };
  }

  sign(claims, options) {
    return sign(this.server.jwtSecret, claims, options);
  }

  /** A person with a token, new unless an id is given. */
  person(kind, { id = hexId(), name = `${kind} ${id.slice(0, 4)}`, claims = {} } = {}) {
    return { id, kind, name, token: this.sign({ id, type: kind, name, ...claims }) };
  }

  /** A new user, a new astrologer, and the key of their conversation. */
  pair() {
    const [user, astrologer] = [this.person('user'), this.person('astrologer')];
    return { user, astrologer, key: keyOf(user, astrologer) };
  }

  async connect(person, options = {}) {
    const client = await connect(this.server.url, { token: person.token, ...options }, `${person.kind} ${person.id.slice(0, 8)}`);
    client.person = person;
    this.#clients.push(client);
    return client;
  }

  /** A conversation with both sides connected, optionally joined, with one message from the user to the astrologer if asked. */
  async talk({ joined = true, first } = {}) {
    const { user, astrologer, key } = this.pair();
    const [userSocket, astrologerSocket] = await Promise.all([this.connect(user), this.connect(astrologer)]);
    if (joined) await Promise.all([userSocket.join(key), astrologerSocket.join(key)]);
    const message = first === undefined ? undefined : (await userSocket.send(astrologer, first)).message;
    return { user, astrologer, key, userSocket, astrologerSocket, message };
  }

  /** One REST request; the body must be in the envelope. */
  async rest(person, method, path, body, headers = {}) {
    const credential = person ? { authorization: `Bearer ${person.token}` } : {};
    const text = body === undefined || typeof body === 'string' ? body : JSON.stringify(body);
    const type = text === undefined ? {} : { 'content-type': 'application/json' };
    const response = await fetch(this.server.url + path, { method, body: text, headers: { ...credential, ...type, ...headers } });
    const answer = await response.json();
    if (path.startsWith('/api/') && path !== '/api/health') {
      assert.equal(answer.success, response.ok, `${method} ${path}: ${response.status} ${JSON.stringify(answer)}`);
      if (!response.ok) assert.ok(answer.code && answer.message, `a failure has code and message: ${JSON.stringify(answer)}`);
    }
    return { status: response.status, headers: response.headers, body: answer, data: answer.data };
  }

  end() {
    for (const client of this.#clients) client.close();
    assert.deepEqual(this.#clients.flatMap((client) => client.faults), [], 'every packet must keep to the contract');
  }
}

/** Defines the same tests for every store, with one server each. */
export function onEveryStore(define, { env, concurrency = 4 } = {}) {
  for (const store of stores()) {
    describe(store.name, { concurrency }, () => {
      let server;
      before(async () => {
        server = await startServer(store, env);
      });
      after(() => server?.stop());
      define((name, body) =>
        test(`${name} [${store.name}]`, { timeout: 60_000 }, async (t) => {
          const stage = new Stage(server);
          t.after(() => stage.end());
          await body(stage, t);
        }), store);
    });
  }
}
