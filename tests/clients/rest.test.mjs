// The same conversations by HTTP. Contract: 5.1, 5.5, 7.10, 10.1 rows 6, 13, 14, 15, 17, 30, 36; section 4 of the issue.
import assert from 'node:assert/strict';
import { hexId, keyOf, onEveryStore } from './support/stage.mjs';
import { messageFaults, textFaults } from './support/shapes.mjs';
import { secondsFromNow, sign } from './support/tokens.mjs';

const ids = (messages) => messages.map((m) => m._id);

/** The routes by which each side of a conversation reaches it. */
function routes(stage, kind) {
  const person = stage.person(kind);
  const key = keyOf(person, stage.admin);
  const own = { asker: person, show: '/api/conversations/admin', messages: '/api/conversations/admin/messages', other: stage.admin };
  const general = { asker: person, show: `/api/conversations/${key}`, messages: `/api/conversations/${key}/messages`, other: stage.admin };
  const admin = { asker: stage.admin, show: `/api/admin/conversations/${person.id}`, messages: `/api/admin/conversations/${person.id}/messages`, other: person };
  return { person, key, all: kind === 'astrologer' ? [own, admin, general] : [own, general] };
}

onEveryStore((it, store) => {
  it('5.1: the support conversation is opened on first sight, with messages and unreadCount, for the admin and for both kinds of people', async (stage) => {
    for (const kind of ['astrologer', 'user']) {
      const { key, all } = routes(stage, kind);
      for (const { asker, show } of all) {
        const { status, body, data } = await stage.rest(asker, 'GET', show);
        assert.equal(status, 200);
        assert.deepEqual([data.conversationId, data.unreadCount, data.conversationType], [key, 0, kind === 'user' ? 'admin_user' : 'admin_astrologer']);
        if (!show.endsWith(key)) {
          assert.deepEqual(data.messages, []);
          assert.equal(body.conversation._id, data._id);
        }
        assert.equal(data.lastMessage, undefined);
      }
    }
  });

  it('10.1 row 14: POST is 201 with the message, a repeat of its clientMessageId 200 with the first one, other content 409', async (stage) => {
    for (const kind of ['astrologer', 'user']) {
      const { all } = routes(stage, kind);
      await stage.rest(all[0].asker, 'GET', all[0].show);
      for (const { asker, messages } of all) {
        const body = { content: `from ${asker.kind}`, clientMessageId: hexId() };
        const first = await stage.rest(asker, 'POST', messages, body);
        assert.equal(first.status, 201);
        assert.deepEqual(messageFaults(first.data), []);
        assert.deepEqual([first.data.content, first.data.senderId, first.data.clientMessageId], [body.content, asker.id, body.clientMessageId]);
        const repeat = await stage.rest(asker, 'POST', messages, body);
        assert.deepEqual([repeat.status, repeat.data._id], [200, first.data._id]);
        const conflict = await stage.rest(asker, 'POST', messages, { ...body, content: 'other' });
        assert.deepEqual([conflict.status, conflict.body.code], [409, 'CONFLICT']);
      }
    }
  });

  it('section 4: a POST is heard on sockets exactly as a socket send', async (stage) => {
    const { user, astrologer, key, userSocket, astrologerSocket, message } = await stage.talk({ first: 'opens' });
    const elsewhere = await stage.connect(astrologer);
    const byId = await stage.connect(astrologer);
    await byId.join(message.conversationRef);
    const { data } = await stage.rest(user, 'POST', `/api/conversations/${key}/messages`, { content: 'by REST' });
    assert.deepEqual(await userSocket.copies(data._id), ['dm:message_received']);
    assert.deepEqual(await astrologerSocket.copies(data._id), ['dm:message_received']);
    assert.deepEqual(await elsewhere.copies(data._id), ['dm:new_message']);
    assert.deepEqual(await byId.copies(data._id), ['dm:message_received']);
    assert.deepEqual(astrologerSocket.all('dm:message_received', (m) => m._id === data._id)[0], data);
    assert.equal(byId.all('dm:message_received')[0].conversationId, message.conversationRef);
    // A repeat is silent.
    const clientMessageId = hexId();
    const first = (await stage.rest(user, 'POST', `/api/conversations/${key}/messages`, { content: 'once', clientMessageId })).data;
    await stage.rest(user, 'POST', `/api/conversations/${key}/messages`, { content: 'once', clientMessageId });
    assert.deepEqual(await astrologerSocket.copies(first._id), ['dm:message_received']);
    // The two ways share the idempotency key.
    const again = await userSocket.send(astrologer, 'once', { conversationId: key, clientMessageId });
    assert.deepEqual([again.message._id, again.duplicate], [first._id, true]);
  });

  it('5.1: a POST to one’s own key that nobody opened opens it; with a recipient any unknown id does, as on a socket', async (stage) => {
    const { user, astrologer, key } = stage.pair();
    const first = await stage.rest(user, 'POST', `/api/conversations/${key}/messages`, { content: 'x' });
    assert.deepEqual([first.status, first.data.conversationKey, first.data.recipientId], [201, key, astrologer.id]);
    const id = hexId();
    const waiting = await stage.connect(astrologer);
    await waiting.join(id);
    const second = await stage.rest(user, 'POST', `/api/conversations/${id}/messages`, { content: 'y', recipientId: astrologer.id, recipientType: 'astrologer' });
    assert.deepEqual([second.status, second.data.conversationId, second.data.conversationKey], [201, id, key]);
    assert.equal((await waiting.next('dm:message_received')).conversationId, id);
    const support = await stage.rest(user, 'POST', '/api/conversations/admin/messages', { message: 'help' });
    assert.deepEqual([support.status, support.data.conversationKey, support.data.content], [201, `admin_user_${user.id}`, 'help']);
    const reply = await stage.rest(stage.admin, 'POST', `/api/admin/conversations/${astrologer.id}/messages`, { text: 'hello', replyToId: undefined });
    assert.deepEqual([reply.status, reply.data.conversationKey, reply.data.senderType], [201, `admin_${astrologer.id}`, 'admin']);
  });

  it('section 4: a POST counts as unread, gets delivered and read marks, and appears in every history', async (stage) => {
    const { user, astrologer, key, userSocket, astrologerSocket } = await stage.talk({ first: 'opens' });
    const { data } = await stage.rest(user, 'POST', `/api/conversations/${key}/messages`, { content: 'by REST' });
    await userSocket.next('dm:messages_delivered', (d) => d.messageIds.includes(data._id));
    assert.equal((await stage.rest(astrologer, 'GET', `/api/conversations/${key}`)).data.unreadCount, 2);
    await astrologerSocket.ask('dm:mark_read', { conversationId: key });
    await userSocket.next('dm:messages_read', (r) => r.messageIds.includes(data._id));
    const list = (await stage.rest(astrologer, 'GET', `/api/conversations/${key}/messages`)).data;
    assert.equal(list.at(-1).status, 'read');
    assert.deepEqual((await astrologerSocket.ask('dm:history', { conversationId: key })).messages, list);
  });

  it('5.1: history is paged by page and limit, and by before and after', async (stage) => {
    const { person, all } = routes(stage, 'astrologer');
    await stage.rest(person, 'GET', all[0].show);
    const sent = [];
    for (let i = 0; i < 12; i += 1) sent.push((await stage.rest(person, 'POST', all[0].messages, { content: `${i}` })).data._id);
    for (const { asker, messages } of all) {
      const page = async (query) => (await stage.rest(asker, 'GET', `${messages}?${query}`)).body;
      for (const [n, from, to, hasMore] of [[1, 7, 12, true], [2, 2, 7, true], [3, 0, 2, false]]) {
        const { data, pagination } = await page(`page=${n}&limit=5`);
        assert.deepEqual(ids(data), sent.slice(from, to));
        assert.deepEqual(pagination, { page: n, limit: 5, total: 12, pages: 3, hasMore });
        assert.deepEqual(data.flatMap((m) => messageFaults(m)), []);
      }
      assert.deepEqual(ids((await page(`before=${sent[7]}&limit=5`)).data), sent.slice(2, 7));
      const newer = await page(`after=${sent[7]}&limit=3`);
      assert.deepEqual([ids(newer.data), newer.pagination.hasMore], [sent.slice(8, 11), true]);
      const whole = await page('limit=1000');
      assert.deepEqual([whole.pagination.limit, whole.data.length], [100, 12]);
      assert.equal((await page('')).pagination.limit, 50);
      for (const [query, status, code] of [
        ['page=0', 400, 'INVALID_PAYLOAD'], ['limit=x', 400, 'INVALID_PAYLOAD'], ['before=x', 400, 'INVALID_ID'], [`after=${hexId()}`, 404, 'MESSAGE_NOT_FOUND'],
      ]) {
        const answer = await stage.rest(asker, 'GET', `${messages}?${query}`);
        assert.deepEqual([answer.status, answer.body.code], [status, code], query);
      }
    }
    const shown = (await stage.rest(stage.admin, 'GET', `/api/admin/conversations/${person.id}?limit=4`)).data;
    assert.deepEqual([ids(shown.messages), shown.unreadCount], [sent.slice(8), 12]);
  });

  it('section 4: GET /api/conversations lists one’s own by last activity, paged by cursor and by page', async (stage) => {
    const astrologer = stage.person('astrologer');
    const users = Array.from({ length: 7 }, () => stage.person('user'));
    for (const user of users) {
      await stage.rest(user, 'POST', '/api/conversations', { recipientId: astrologer.id, recipientType: 'astrologer' });
      await stage.rest(user, 'POST', `/api/conversations/${keyOf(user, astrologer)}/messages`, { content: 'hello' });
    }
    // The first one becomes the latest again.
    await stage.rest(users[0], 'POST', `/api/conversations/${keyOf(users[0], astrologer)}/messages`, { content: 'again' });
    const expected = [users[0], ...users.slice(1).reverse()].map((user) => keyOf(user, astrologer));
    const { body } = await stage.rest(astrologer, 'GET', '/api/conversations');
    assert.deepEqual(body.data.map((c) => c.conversationId), expected);
    assert.deepEqual(body.data.map((c) => c.unreadCount), [2, 1, 1, 1, 1, 1, 1]);
    assert.deepEqual(body.data.map((c) => c.lastMessageText), ['again', ...Array(6).fill('hello')]);
    assert.deepEqual(body.pagination, { page: 1, limit: 50, total: 7, pages: 1, hasMore: false });
    const second = (await stage.rest(astrologer, 'GET', '/api/conversations?page=2&limit=3')).body;
    assert.deepEqual(second.data.map((c) => c.conversationId), expected.slice(3, 6));
    assert.deepEqual(second.pagination, { page: 2, limit: 3, total: 7, pages: 3, hasMore: true });
    const older = (await stage.rest(astrologer, 'GET', `/api/conversations?before=${second.data[0]._id}&limit=10`)).body;
    assert.deepEqual(older.data.map((c) => c.conversationId), expected.slice(4));
    assert.equal(older.pagination.hasMore, false);
    assert.deepEqual((await stage.rest(users[3], 'GET', '/api/conversations')).data.map((c) => c.conversationId), [keyOf(users[3], astrologer)]);
    assert.deepEqual((await stage.rest(stage.person('user'), 'GET', '/api/conversations')).data, []);
    assert.deepEqual(textFaults(JSON.stringify(body)), []);
  });

  it('10.1 row 30: POST /api/conversations opens with 201, then 200, under the permissions of a first message', async (stage) => {
    const { user, astrologer, key } = stage.pair();
    const contextId = hexId();
    const open = (person, body) => stage.rest(person, 'POST', '/api/conversations', body);
    const to = (person) => ({ recipientId: person.id, recipientType: person.kind });
    const first = await open(user, { ...to(astrologer), contextType: 'consultation', contextId });
    assert.deepEqual([first.status, first.data.conversationId, first.data.contextType, first.data.contextId], [201, key, 'consultation', contextId]);
    const second = await open(astrologer, to(user));
    assert.deepEqual([second.status, second.data._id, second.data.contextType], [200, first.data._id, 'consultation']);
    assert.equal((await open(user, { recipientType: 'admin' })).status, 201);
    for (const [person, body, status, code] of [
      [user, to(stage.person('user')), 403, 'FORBIDDEN'],
      [user, to(user), 400, 'SELF_CONVERSATION_BLOCKED'],
      [user, {}, 400, 'INVALID_PAYLOAD'],
      [user, { recipientId: astrologer.id }, 400, 'INVALID_PAYLOAD'],
      [user, { recipientId: 'a.b', recipientType: 'astrologer' }, 400, 'INVALID_ID'],
      [user, { ...to(astrologer), contextType: 'party' }, 400, 'INVALID_PAYLOAD'],
      [user, { ...to(astrologer), contextId: 'x' }, 400, 'INVALID_ID'],
      [user, '[]', 400, 'INVALID_PAYLOAD'],
      [user, '{', 400, 'INVALID_PAYLOAD'],
      [user, '', 400, 'INVALID_PAYLOAD'],
    ]) {
      const answer = await open(person, body);
      assert.deepEqual([answer.status, answer.body.code], [status, code], JSON.stringify(body));
    }
    // A conversation opened by REST is there for sockets.
    const client = await stage.connect(user);
    assert.equal((await client.join(first.data._id)).conversationKey, key);
  });

  it('10.1 row 6: strangers get the same 404 for existing and unknown conversations, on every route with an id', async (stage) => {
    const { key, message } = await stage.talk({ first: 'private' });
    const stranger = stage.person('astrologer');
    const unknownKey = keyOf(stage.person('user'), stage.person('astrologer'));
    for (const [existing, unknown] of [[key, unknownKey], [message.conversationRef, hexId()], [message.conversationRef, 'free-text']]) {
      for (const [method, suffix, body] of [['GET', ''], ['GET', '/messages'], ['GET', `/messages?after=${message._id}`], ['POST', '/messages', { content: 'x' }]]) {
        const [a, b] = [await stage.rest(stranger, method, `/api/conversations/${existing}${suffix}`, body), await stage.rest(stranger, method, `/api/conversations/${unknown}${suffix}`, body)];
        assert.deepEqual([a.status, a.body.code], [404, 'CONVERSATION_NOT_FOUND'], `${method} ${suffix}`);
        assert.deepEqual([a.status, a.body], [b.status, b.body]);
      }
    }
    assert.equal((await stage.rest(stage.admin, 'GET', `/api/conversations/${key}`)).status, 200);
    assert.deepEqual([(await stage.rest(stranger, 'GET', '/api/conversations/a:b')).body.code], ['INVALID_ID']);
  });

  it('10.1 row 17: 401 tells why, and 403 is for people who are no admins', async (stage) => {
    const user = { id: hexId(), type: 'user' };
    const paths = ['/api/conversations', '/api/conversations/admin', '/api/conversations/admin/messages', `/api/conversations/${hexId()}`, `/api/admin/conversations/${hexId()}`];
    for (const path of paths) {
      for (const [headers, code] of [
        [{}, 'auth.missing'],
        [{ authorization: 'Bearer ' }, 'auth.missing'],
        [{ authorization: 'Bearer nonsense' }, 'auth.invalid'],
        [{ authorization: `Bearer ${sign('another-secret-altogether', user)}` }, 'auth.invalid'],
        [{ authorization: `Bearer ${stage.sign({ ...user, exp: secondsFromNow(-90) })}` }, 'auth.expired'],
        [{ authorization: `Bearer ${stage.sign({ ...user, astrologerId: user.id })}` }, 'auth.invalid'],
        [{ 'x-admin-key': 'wrong-key-that-is-long-enough' }, 'auth.invalid'],
      ]) {
        const answer = await stage.rest(undefined, 'GET', path, undefined, headers);
        assert.deepEqual([answer.status, answer.body.code], [401, code], `${path} ${JSON.stringify(headers)}`);
      }
    }
    const [person, id] = [stage.person('astrologer'), hexId()];
    for (const [method, path, body] of [['GET', `/api/admin/conversations/${id}`], ['GET', `/api/admin/conversations/${id}/messages`], ['POST', `/api/admin/conversations/${id}/messages`, { content: 'x' }]]) {
      const answer = await stage.rest(person, method, path, body);
      assert.deepEqual([answer.status, answer.body.code], [403, 'FORBIDDEN']);
    }
    for (const headers of [{ 'x-admin-key': stage.server.adminKey }, { authorization: `Bearer ${stage.server.adminKey}` }, { authorization: `Bearer ${stage.person('admin', { id: 'ops-1' }).token}` }]) {
      assert.equal((await stage.rest(undefined, 'GET', `/api/admin/conversations/${id}`, undefined, headers)).status, 200);
    }
    assert.equal((await stage.rest(stage.admin, 'GET', '/api/admin/conversations/a.b')).body.code, 'INVALID_ID');
  });

  it('7.2: what is wrong with a POST is said with the code a socket would get', async (stage) => {
    const { user, key } = await stage.talk({ first: 'x' });
    const foreign = (await stage.talk({ first: 'y' })).message._id;
    for (const [body, status, code] of [
      [{}, 400, 'INVALID_PAYLOAD'],
      [{ content: 5 }, 400, 'INVALID_PAYLOAD'],
      ['"text"', 400, 'INVALID_PAYLOAD'],
      ['not json', 400, 'INVALID_PAYLOAD'],
      [{ content: 'x'.repeat(4_001) }, 413, 'CONTENT_TOO_LONG'],
      [{ content: 'x', replyTo: foreign }, 404, 'MESSAGE_NOT_FOUND'],
      [{ content: 'x', messageType: 'call_log' }, 400, 'INVALID_PAYLOAD'],
      [{ content: 'x', mediaUrl: 'http://cdn.example.com/x' }, 400, 'INVALID_PAYLOAD'],
      [{ content: 'x', clientMessageId: 'x'.repeat(65) }, 400, 'INVALID_ID'],
      [JSON.stringify({ content: 'x', padding: 'x'.repeat(300 * 1024) }), 413, 'PAYLOAD_TOO_LARGE'],
    ]) {
      const answer = await stage.rest(user, 'POST', `/api/conversations/${key}/messages`, body);
      assert.deepEqual([answer.status, answer.body.code], [status, code], JSON.stringify(body).slice(0, 80));
    }
    assert.equal((await stage.rest(user, 'GET', `/api/conversations/${key}/messages`)).data.length, 1);
  });

  it('5.5: unknown routes and methods are 404 NOT_FOUND in the envelope', async (stage) => {
    const person = stage.person('user');
    for (const [method, path] of [['GET', '/api/nothing'], ['GET', '/nothing'], ['DELETE', '/api/conversations'], ['PUT', '/api/conversations/admin'], ['POST', '/health'], ['GET', '/api/conversations/a/b/c']]) {
      const response = await fetch(stage.server.url + path, { method, headers: { authorization: `Bearer ${person.token}` } });
      const body = await response.json();
      assert.deepEqual([response.status, body.success, body.code], [404, false, 'NOT_FOUND'], `${method} ${path}`);
      assert.ok(body.message);
    }
  });

  it('10.1 row 36: CORS allows any origin without credentials by default, on REST and on polling', async (stage) => {
    const origin = { origin: 'https://app.example.com' };
    for (const path of ['/health', '/api/conversations', '/socket.io/?EIO=4&transport=polling']) {
      const response = await fetch(stage.server.url + path, { headers: origin });
      assert.equal(response.headers.get('access-control-allow-origin'), '*', path);
      assert.equal(response.headers.get('access-control-allow-credentials'), null);
      await response.text();
    }
    const preflight = await fetch(`${stage.server.url}/api/conversations`, {
      method: 'OPTIONS',
      headers: { ...origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization,content-type,x-admin-key' },
    });
    assert.ok(preflight.ok);
    assert.equal(preflight.headers.get('access-control-allow-origin'), '*');
    assert.match(preflight.headers.get('access-control-allow-headers'), /authorization/i);
    assert.match(preflight.headers.get('access-control-allow-methods'), /POST|\*/);
  });

  it('5.5: /health, /api/health and /ready are open and say how it is', async (stage) => {
    for (const path of ['/health', '/api/health']) {
      const { status, body } = await stage.rest(undefined, 'GET', path);
      assert.equal(status, 200);
      assert.equal(body.status.toLowerCase(), 'ok');
      assert.ok(Number.isInteger(body.uptime) && !Number.isNaN(Date.parse(body.timestamp)));
      assert.ok('socketio' in body && 'mongodb' in body);
      assert.ok(!JSON.stringify(body).includes('"rooms":[{'), 'no room names');
    }
    const ready = await fetch(`${stage.server.url}/ready`);
    assert.equal(ready.status, 200);
    assert.ok(JSON.stringify(await ready.json()).includes(store.engine));
  });
});
