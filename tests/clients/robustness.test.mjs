// What clients do wrong, too fast or too big, and what must survive it. Contract: 7.1, 7.12, 10.1 row 17; notes T2, T6, T18.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { onEveryStore } from './support/stage.mjs';
import { CODES } from './support/shapes.mjs';

/** The server's own table, so that a new event cannot be forgotten here. */
const source = readFileSync(new URL('../../src/handlers/events.rs', import.meta.url), 'utf8');
const table = source.slice(source.indexOf('const EVENTS'), source.indexOf('];', source.indexOf('const EVENTS')));
const EVENTS = [...table.matchAll(/\(\s*"([^"]+)"\s*,\s*ClientEvent::/g)].map(([, name]) => name);
assert.ok(EVENTS.length >= 11 && EVENTS.includes('dm:send_message'), 'the table of events could not be read');

/** Asks nothing, so nothing it is sent can be wrong. */
const WITHOUT_PAYLOAD = ['get_stats'];

const WRONG_TYPES = {
  conversationId: { $ne: null }, recipientId: 7, recipientType: [], content: { a: 1 }, messageId: 12, messageIds: { a: 1 }, scope: 3, after: [],
  before: {}, page: [], limit: {}, replyTo: 5, clientMessageId: [], since: {}, markRead: 'yes', callId: {}, calleeId: 4, callType: 9,
};
const UNDECODABLE = [
  ['no argument', []], ['a text', ['x']], ['a number', [42]], ['true', [true]], ['a list', [[{ conversationId: 'x' }]]], ['null', [null]],
  ['an object with wrong types', [WRONG_TYPES]], ['bytes', [Buffer.from([1, 2, 3])]], ['an empty object', [{}]],
];

onEveryStore((it) => {
  for (const event of EVENTS.filter((name) => !WITHOUT_PAYLOAD.includes(name))) {
    it(`guard: ${event} answers every undecodable payload with a code, error and dm:error, and the connection lives on`, async (stage) => {
      const client = await stage.connect(stage.person('user'));
      // Only messages and calls have an error event of their own.
      const family = event.split(':')[0];
      const errors = ['dm', 'call'].includes(family) ? ['error', `${family}:error`] : ['error'];
      for (const [what, args] of UNDECODABLE) {
        const before = client.heard.length;
        const answer = await client.emitAck(event, ...args);
        assert.equal(answer.ok, false, `${event} with ${what}`);
        assert.ok(CODES.includes(answer.code) && !['INTERNAL', 'UNKNOWN_EVENT'].includes(answer.code), `${event} with ${what}: ${answer.code}`);
        assert.ok(answer.message);
        const told = client.heard.slice(before);
        assert.deepEqual(told.map((e) => e.event), errors, `${event} with ${what}`);
        for (const { payload } of told) {
          assert.deepEqual([payload.code, payload.error, payload.event, payload.message], [answer.code, answer.code, event, answer.message]);
        }
        // The same without asking for an ack.
        client.socket.emit(event, ...args);
        await client.settle();
        assert.deepEqual(client.heard.slice(before + errors.length).map((e) => e.event), errors, `${event} with ${what}, no ack`);
      }
      assert.ok(client.socket.connected);
    });
  }

  it('guard: events that ask nothing accept anything', async (stage) => {
    const client = await stage.connect(stage.person('user'));
    for (const event of WITHOUT_PAYLOAD) for (const [, args] of UNDECODABLE) await client.ask(event, ...args);
  });

  it('10.1 row 10: unknown events are ignored in silence without an ack, and UNKNOWN_EVENT with one', async (stage) => {
    const client = await stage.connect(stage.person('user'));
    for (const name of ['', 'dm:', 'dm:nothing', 'constructor', 'x'.repeat(1_000), 'नमस्ते', 'message', 'call:initiate:x']) {
      client.socket.emit(name, { a: 1 });
      const answer = await client.emitAck(name, { a: 1 });
      assert.deepEqual([answer.ok, answer.code], [false, 'UNKNOWN_EVENT']);
    }
    assert.deepEqual(client.heard.map((e) => e.event), ['connected']);
  });

  for (const version of [4, 3, 2]) {
    it(`T2: pipelined events are answered in the order they were sent, socket.io-client ${version}`, async (stage) => {
      const { user, astrologer, key } = stage.pair();
      const client = await stage.connect(user, { version });
      const order = [];
      const ask = (name, event, payload) => client.emitAck(event, payload).then((answer) => {
        order.push(name);
        return answer;
      });
      const [joined, ...rest] = await Promise.all([
        ask('join', 'dm:join_conversation', { conversationId: key }),
        ask('send 1', 'dm:send_message', { conversationId: key, recipientId: astrologer.id, recipientType: 'astrologer', content: '1' }),
        ask('send 2', 'dm:send_message', { conversationId: key, content: '2' }),
        ask('send 3', 'dm:send_message', { conversationId: key, content: '3' }),
        ask('wrong', 'dm:send_message', { conversationId: key }),
        ask('history', 'dm:history', { conversationId: key }),
        ask('leave', 'dm:leave_conversation', { conversationId: key }),
        ask('send 4', 'dm:send_message', { conversationId: key, content: '4' }),
      ]);
      assert.ok(joined.ok);
      assert.deepEqual(order, ['join', 'send 1', 'send 2', 'send 3', 'wrong', 'history', 'leave', 'send 4']);
      assert.deepEqual(rest.map((answer) => answer.ok), [true, true, true, false, true, true, true]);
      assert.deepEqual(rest[4].messages.map((m) => m.content), ['1', '2', '3'], 'history sees the sends before it');
      assert.deepEqual(client.all('dm:message_received').map((m) => m.content), ['1', '2', '3'], 'what is sent after leaving is not echoed');
    });
  }

  it('T2: acks come in the order of the sends also when these go to many conversations', async (stage) => {
    const client = await stage.connect(stage.person('user'));
    const astrologers = Array.from({ length: 16 }, () => stage.person('astrologer'));
    for (const astrologer of astrologers) await client.send(astrologer, 'opens');
    const order = [];
    const sends = Array.from({ length: 160 }, async (_, i) => {
      await client.send(astrologers[(i * 7) % 16], `${i}`);
      order.push(i);
    });
    await Promise.all(sends);
    assert.deepEqual(order, [...order].sort((a, b) => a - b));
  });

  it('T2: a burst of 300 events keeps the socket alive; each is answered, some perhaps OVERLOADED and retryable', async (stage) => {
    const { user, astrologer, key } = stage.pair();
    const client = await stage.connect(user);
    const send = (i) => client.emitAck('dm:send_message', { conversationId: key, recipientId: astrologer.id, recipientType: 'astrologer', content: `${i}` });
    const answers = await Promise.all(Array.from({ length: 300 }, (_, i) => send(i)));
    const accepted = answers.filter((answer) => answer.ok);
    for (const answer of answers.filter((a) => !a.ok)) assert.deepEqual([answer.code, answer.retryable], ['OVERLOADED', true]);
    assert.ok(accepted.length >= 200, `${accepted.length} of 300 were accepted`);
    await client.settle();
    assert.ok(client.socket.connected);
    const { total } = await client.ask('dm:history', { conversationId: key });
    assert.equal(total, accepted.length, 'what was accepted is stored, what was refused is not');
    const numbers = accepted.map((answer) => Number(answer.message.content));
    assert.deepEqual(numbers, [...numbers].sort((a, b) => a - b));
  });

  it('7.12: contents near the packet limit pass on both transports', async (stage) => {
    for (const transport of ['websocket', 'polling']) {
      const client = await stage.connect(stage.person('user'), { transport });
      const answer = await client.emitAck('dm:history', { conversationId: 'x', padding: 'x'.repeat(250 * 1024) });
      assert.equal(answer.code, 'CONVERSATION_NOT_FOUND');
    }
  });

  it('T6: a packet above 256 KB closes that connection and no other, on both transports', async (stage) => {
    const bystander = await stage.connect(stage.person('user'));
    for (const version of [4, 2]) {
      for (const transport of ['websocket', 'polling']) {
        const client = await stage.connect(stage.person('user'), { version, transport });
        const closed = new Promise((resolve) => client.socket.once('disconnect', resolve));
        client.socket.emit('dm:history', { conversationId: 'x', padding: 'x'.repeat(300 * 1024) });
        const late = new Promise((_, reject) => setTimeout(() => reject(new Error(`version ${version} over ${transport} stayed open`)), 5_000).unref());
        assert.match(await Promise.race([closed, late]), /transport|parse/);
      }
    }
    await bystander.settle();
    assert.ok(bystander.socket.connected);
    await stage.connect(stage.person('user'));
  });

  it('T8: a client that never reads is closed when its buffer is full, and no other', async (stage) => {
    const user = stage.person('user');
    const bystander = await stage.connect(user);
    const at = `${stage.server.url}/socket.io/?EIO=4&transport=polling`;
    const { sid } = JSON.parse((await (await fetch(at)).text()).slice(1));
    const post = async (body) => (await fetch(`${at}&sid=${sid}`, { method: 'POST', body })).status;
    assert.equal(await post(`40${JSON.stringify({ token: user.token })}`), 200);
    const questions = Array(100).fill('42["get_stats"]').join('\u001e');
    let status = 200;
    for (let asked = 0; status === 200 && asked < 100; asked += 1) {
      status = await post(questions);
      // So that the mailbox is empty again and every question is answered.
      await bystander.settle();
    }
    assert.equal(status, 400, 'the session is gone');
    await bystander.settle();
    assert.ok(bystander.socket.connected);
  });

  it('T7: ending a poll cuts no connection it shares with others, as behind a proxy', async (stage) => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const ask = (method, path, body) => new Promise((resolve, reject) => {
      const asked = request(stage.server.url + path, { method, agent }, (response) => {
        let text = '';
        const { localPort } = response.socket;
        response.on('data', (data) => (text += data)).on('end', () => resolve({ status: response.statusCode, text, localPort }));
      });
      asked.on('error', reject).end(body);
    });
    const path = '/socket.io/?EIO=4&transport=polling';
    const first = await ask('GET', path);
    const { sid } = JSON.parse(first.text.slice(1));
    await ask('POST', `${path}&sid=${sid}`, '40{"token":"nonsense"}');
    // A ping may be due first.
    let told;
    do told = (await ask('GET', `${path}&sid=${sid}`)).text;
    while (told === '2');
    assert.match(told, /auth\.invalid/);
    // The refused session ends now; the connection has gone on to serve others.
    for (const until = Date.now() + 1_500; Date.now() < until; ) {
      assert.equal((await ask('GET', '/health')).localPort, first.localPort, 'the connection was cut under another request');
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assert.equal((await ask('GET', `${path}&sid=${sid}`)).status, 400);
    agent.destroy();
  });

  it('malformed Engine.IO and Socket.IO packets close at most their own session', async (stage) => {
    const user = stage.person('user');
    const bystander = await stage.connect(user);
    const at = `${stage.server.url}/socket.io/?EIO=4&transport=polling`;
    const open = async () => JSON.parse((await (await fetch(at)).text()).slice(1)).sid;
    for (const body of ['', '4', '4x', '42', '42[', '42{}', '42[]', '42[1]', '42[null,{}]', '42999999999999999999999["get_stats"]', '451-["x",{"_placeholder":true,"num":0}]', '49', '\u001e\u001e', '2probe', 'bAAAA']) {
      const sid = await open();
      await fetch(`${at}&sid=${sid}`, { method: 'POST', body: `40${JSON.stringify({ token: user.token })}` });
      await fetch(`${at}&sid=${sid}`, { method: 'POST', body }).catch(() => {});
    }
    for (const query of ['', '?EIO=5&transport=polling', '?EIO=4&transport=carrier-pigeon', '?EIO=4', '?EIO=4&transport=polling&sid=none']) {
      const { status } = await fetch(`${stage.server.url}/socket.io/${query}`);
      assert.ok(status >= 400 && status < 500, `${query}: ${status}`);
    }
    await bystander.settle();
    assert.ok(bystander.socket.connected);
  });

  it('ids of the database language and prototype names are data like any other', async (stage) => {
    const { astrologer, key, userSocket } = await stage.talk();
    for (const content of ['{"$gt":""}', "'; DROP TABLE messages; --", '__proto__', '%s%n', '<script>', '\\u0000', '\ud83d\ude4f']) {
      const { message } = await userSocket.send(astrologer, content, { conversationId: key, clientMessageId: content.slice(0, 60) });
      assert.equal(message.content, content);
    }
    await userSocket.refused('INVALID_ID', 'dm:join_conversation', { conversationId: '$where' });
    await userSocket.join('__proto__');
    await userSocket.join('constructor');
  });
});
