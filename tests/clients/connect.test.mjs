// Getting in, and being kept out: every client generation, both transports. Contract: 1.5, 7.10, 10.1 rows 1, 2, 4, 19.
import assert from 'node:assert/strict';
import { COMBINATIONS, expectRefusal } from './support/clients.mjs';
import { hexId, onEveryStore } from './support/stage.mjs';
import { secondsFromNow, sign } from './support/tokens.mjs';

const label = ({ version, transport }) => `socket.io-client ${version} over ${transport}`;

onEveryStore((it) => {
  for (const combination of COMBINATIONS) {
    it(`conformance 1: connected is the first packet and get_stats is answered, ${label(combination)}`, async (stage) => {
      const astrologer = stage.person('astrologer', { claims: { profilePicture: 'https://cdn.example.com/a.png' } });
      const client = await stage.connect(astrologer, combination);
      const { user, socketId, timestamp, serverTime } = client.greeting;
      assert.deepEqual(user, {
        id: astrologer.id, _id: astrologer.id, userId: astrologer.id, astrologerId: astrologer.id, name: astrologer.name,
        type: 'astrologer', userType: 'astrologer', role: 'astrologer', isAnonymous: false,
        profilePicture: 'https://cdn.example.com/a.png', avatar: 'https://cdn.example.com/a.png',
      });
      assert.ok(socketId);
      assert.ok(Math.abs(timestamp - Date.now()) < 60_000 && Math.abs(Date.parse(serverTime) - timestamp) < 1_000);
      client.socket.emit('get_stats');
      const stats = await client.next('stats');
      assert.ok(stats.totalConnections >= 1);
      assert.deepEqual(stats.rooms, []);
      assert.deepEqual(await client.ask('get_stats'), { ok: true });
    });

    it(`a conversation from join to read, ${label(combination)}`, async (stage) => {
      const { user, astrologer, key } = stage.pair();
      const [sender, receiver, elsewhere] = await Promise.all([
        stage.connect(user, combination),
        stage.connect(astrologer, combination),
        stage.connect(astrologer, combination),
      ]);
      for (const client of [sender, receiver]) {
        const joined = await client.join(key);
        assert.deepEqual(joined, { ok: true, success: true, conversationId: key, conversationKey: key, unreadCount: 0 });
        assert.deepEqual(await client.next('dm:joined'), { conversationId: key, success: true, conversationKey: key, unreadCount: 0 });
      }

      const { message, ok } = await sender.send(astrologer, 'Namaste', { conversationId: key });
      assert.equal(ok, true);
      const received = await receiver.next('dm:message_received');
      assert.equal(received._id, message._id);
      assert.equal(received.content, 'Namaste');
      assert.equal((await sender.next('dm:message_sent'))._id, message._id);
      assert.deepEqual(await receiver.copies(message._id), ['dm:message_received']);
      assert.deepEqual(await elsewhere.copies(message._id), ['dm:new_message']);

      receiver.socket.emit('dm:typing_start', { conversationId: key, userId: astrologer.id });
      for (const name of ['dm:typing_start', 'dm:user_typing']) {
        assert.deepEqual(await sender.next(name), { conversationId: key, userId: astrologer.id, userType: 'astrologer', userName: astrologer.name });
      }

      receiver.socket.emit('dm:history', { conversationId: key, page: 1, limit: 50, markRead: false });
      const history = await receiver.next('dm:history');
      assert.deepEqual(history.messages.map((m) => m._id), [message._id]);

      const read = await receiver.ask('dm:mark_read', { conversationId: key, messageIds: [message._id] });
      assert.deepEqual(read, { ok: true, messageIds: [message._id], unreadCount: 0 });
      const told = await sender.next('dm:messages_read');
      assert.deepEqual([told.messageIds, told.readBy, told.readByType], [[message._id], astrologer.id, 'astrologer']);
    });

    it(`10.1 row 1: a refusal is a stable code, ${label(combination)}`, async (stage) => {
      const { url } = stage.server;
      const user = { id: hexId(), type: 'user' };
      for (const [token, code] of [
        [undefined, 'auth.missing'],
        ['', 'auth.missing'],
        ['nonsense', 'auth.invalid'],
        [sign('another-secret-altogether', user), 'auth.invalid'],
        [stage.sign({ ...user, exp: secondsFromNow(-90) }), 'auth.expired'],
      ]) {
        const refusal = await expectRefusal(url, { ...combination, token });
        assert.equal(refusal.code, code, `token ${token}`);
        refusal.socket.close();
      }
    });

    it(`an event emitted in the tick of connect is not lost, ${label(combination)}`, async (stage) => {
      const { user, key } = stage.pair();
      let answered;
      const client = await stage.connect(user, {
        ...combination,
        early: (socket) => {
          answered = new Promise((resolve) => {
            socket.on('connect', () => {
              socket.emit('get_stats');
              socket.emit('dm:join_conversation', { conversationId: key }, resolve);
            });
          });
        },
      });
      assert.equal((await answered).ok, true);
      await client.next('stats');
      assert.deepEqual(client.heard.map((entry) => entry.event), ['connected', 'stats', 'dm:joined']);
    });
  }

  for (const version of [4, 3, 2]) {
    it(`1.2: a stock client upgrades from polling to websocket without losing or doubling anything, socket.io-client ${version}`, async (stage) => {
      const { user, astrologer, key } = stage.pair();
      const sender = await stage.connect(user);
      const sent = [];
      let sending = true;
      const stream = (async () => {
        for (let i = 0; sending && i < 500; i += 1) sent.push((await sender.send(astrologer, `${i}`, { conversationId: key })).message._id);
      })();
      let upgraded;
      const client = await stage.connect(astrologer, {
        version,
        transport: 'upgrade',
        early: ({ io }) => (upgraded = new Promise((resolve) => io.engine.once('upgrade', resolve))),
      });
      const from = (await client.join(key)) && (await client.ask('dm:sync', { conversationId: key, limit: 1 })).messages.at(-1)?._id;
      await upgraded;
      assert.equal(client.socket.io.engine.transport.name, 'websocket');
      const reached = sent.length;
      while (sent.length < reached + 10) await sender.settle();
      sending = false;
      await stream;
      await client.settle();
      const heard = client.heard.filter((e) => ['dm:message_received', 'dm:new_message'].includes(e.event)).map((e) => e.payload._id);
      assert.equal(new Set(heard).size, heard.length, 'none twice');
      const expected = from ? sent.slice(sent.indexOf(from) + 1) : sent;
      assert.deepEqual(heard.slice(-expected.length), expected);
    });
  }

  it('1.2: another namespace is refused and the default one goes on', async (stage) => {
    const client = await stage.connect(stage.person('user'));
    const other = client.socket.io.socket('/admin', { auth: { token: stage.server.adminKey } });
    const message = await new Promise((resolve) => other.once('connect_error', (error) => resolve(error.message)));
    assert.equal(message, 'Invalid namespace');
    await client.settle();
    assert.ok(client.socket.connected);
  });

  it('connections that are refused, cut or closed do not stay counted', async (stage) => {
    const observer = await stage.connect(stage.person('user'));
    for (const combination of COMBINATIONS) {
      const client = await stage.connect(stage.person('user'), combination);
      client.close();
      const refusal = await expectRefusal(stage.server.url, { ...combination, token: 'nonsense' });
      refusal.socket.close();
      // Cut without a word, as a phone in a tunnel does.
      const cut = await stage.connect(stage.person('user'), { ...combination, transport: 'websocket' });
      const { socket, ws } = cut.socket.io.engine.transport;
      (ws ?? socket).terminate();
    }
    // Other tests of this file come and go; what leaks would stay above any number of them.
    let least = Infinity;
    for (const deadline = Date.now() + 10_000; Date.now() < deadline && least > 8; ) {
      observer.socket.emit('get_stats');
      least = Math.min(least, (await observer.next('stats')).totalConnections);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    assert.ok(least <= 8, `${least} connections are left`);
  });

  for (const combination of COMBINATIONS.filter(({ version }) => version < 4)) {
    // Version 4 closes its side by itself as soon as it hears the refusal; the next test looks at the wire instead.
    it(`10.1 row 1: after a refusal the server closes the transport within 2 s, ${label(combination)}`, async (stage) => {
      const refusal = await expectRefusal(stage.server.url, { ...combination, token: 'nonsense' });
      const end = await refusal.closed;
      refusal.socket.close();
      assert.ok(end.afterMs <= 2_500, `closed after ${end.afterMs} ms`);
      assert.match(end.reason, /transport (close|error)/);
    });
  }

  it('10.1 row 1: after a refusal the session of an Engine.IO 4 poll is gone within 2 s', async (stage) => {
    const at = `${stage.server.url}/socket.io/?EIO=4&transport=polling`;
    const { sid } = JSON.parse((await (await fetch(at)).text()).slice(1));
    assert.equal(await (await fetch(`${at}&sid=${sid}`, { method: 'POST', body: '40{"token":"nonsense"}' })).text(), 'ok');
    const packets = [];
    // A heartbeat may come first.
    while (!packets.some((packet) => packet.startsWith('4'))) packets.push(...(await (await fetch(`${at}&sid=${sid}`)).text()).split('\u001e'));
    assert.ok(packets.includes('44{"message":"auth.invalid"}'), packets.join());
    const started = Date.now();
    const poll = async () => (await fetch(`${at}&sid=${sid}`)).status;
    // The hanging poll is cut or answered, and the next one finds no session.
    await poll().catch(() => {});
    assert.ok(Date.now() - started < 2_500);
    assert.equal(await poll(), 400);
  });

  it('10.1 row 1: exp is required, nbf is honoured, and 60 s of leeway is given', async (stage) => {
    const user = { id: hexId(), type: 'user' };
    const refused = async (claims, options) => {
      const refusal = await expectRefusal(stage.server.url, { token: stage.sign({ ...user, ...claims }, options) });
      refusal.socket.close();
      return refusal.code;
    };
    assert.equal(await refused({ exp: undefined }), 'auth.invalid');
    assert.equal(await refused({ nbf: secondsFromNow(120) }), 'auth.invalid');
    assert.equal(await refused({ exp: secondsFromNow(-75) }), 'auth.expired');
    for (const alg of ['HS384', 'HS512', 'none']) assert.equal(await refused({}, { alg }), 'auth.invalid', alg);
    for (const claims of [{ exp: secondsFromNow(-30) }, { nbf: secondsFromNow(30) }]) {
      await stage.connect({ ...user, kind: 'user', token: stage.sign({ ...user, ...claims }) });
    }
  });

  it('10.1 row 2: a token in the query counts for Engine.IO 3 and not for Engine.IO 4', async (stage) => {
    const user = stage.person('user');
    for (const transport of ['websocket', 'polling']) {
      for (const version of [3, 4]) {
        const refusal = await expectRefusal(stage.server.url, { version, transport, query: { token: user.token } });
        refusal.socket.close();
        assert.equal(refusal.code, 'auth.missing');
      }
      const client = await stage.connect(user, { version: 2, transport });
      assert.equal(client.greeting.user.id, user.id);
    }
  });

  it('7.10: the admin key, bearer prefix, bearer header and x-admin-key are credentials too', async (stage) => {
    const user = stage.person('user');
    const admin = (client) => assert.deepEqual(client.greeting.user, {
      id: 'admin', _id: 'admin', userId: 'admin', name: 'Admin', type: 'admin', userType: 'admin', role: 'admin', isAnonymous: false, isAdmin: true,
    });
    for (const combination of COMBINATIONS) admin(await stage.connect(stage.admin, combination));
    admin(await stage.connect({ ...stage.admin, token: undefined }, { headers: { 'x-admin-key': stage.server.adminKey } }));
    for (const options of [
      { token: `Bearer ${user.token}` },
      { token: undefined, headers: { Authorization: `Bearer ${user.token}` } },
      { token: undefined, headers: { Authorization: `Bearer ${user.token}` }, version: 2 },
    ]) {
      const client = await stage.connect(user, options);
      assert.equal(client.greeting.user.id, user.id);
    }
    for (const key of [`${stage.server.adminKey}x`, stage.server.adminKey.slice(0, -1), 'admin123']) {
      const refusal = await expectRefusal(stage.server.url, { token: key });
      refusal.socket.close();
      assert.equal(refusal.code, 'auth.invalid');
    }
  });

  it('10.1 row 19: the claims of every issuer name the right person', async (stage) => {
    const id = hexId();
    for (const [claims, kind] of [
      [{ astrologerId: id }, 'astrologer'],
      [{ astrologerId: id, type: 'astrologer' }, 'astrologer'],
      [{ userId: id, userType: 'user' }, 'user'],
      [{ _id: id, role: 'customer' }, 'user'],
      [{ sub: id, type: 'user' }, 'user'],
      [{ adminId: 'ops-7', role: 'admin' }, 'admin'],
    ]) {
      const client = await stage.connect({ kind, id, token: stage.sign(claims) });
      assert.equal(client.greeting.user.type, kind);
      assert.equal(client.greeting.user.id, kind === 'admin' ? 'ops-7' : id);
    }
  });

  it('10.1 rows 4 and 19: claims that contradict each other or break the id syntax are auth.invalid', async (stage) => {
    const id = hexId();
    for (const claims of [
      { id },
      { type: 'user' },
      { id, type: 'owner' },
      { astrologerId: id, type: 'user' },
      { astrologerId: id, id: hexId() },
      { userId: id, id: hexId(), type: 'user' },
      { id: 'admin', type: 'user' },
      { id: 'admin', type: 'astrologer' },
      { id: 'a.b', type: 'user' },
      { id: 'a:b', type: 'user' },
      { id: 'x'.repeat(65), type: 'user' },
    ]) {
      const refusal = await expectRefusal(stage.server.url, { token: stage.sign(claims) });
      refusal.socket.close();
      assert.equal(refusal.code, 'auth.invalid', JSON.stringify(claims));
    }
    await stage.connect(stage.person('user', { id: 'x'.repeat(64) }));
  });
});
