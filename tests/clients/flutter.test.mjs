// The shipped Flutter app: recognised by its handshake, spared its own echo, and strict about types. Contract: 0.1, 2.2, 7.4.
import assert from 'node:assert/strict';
import { onEveryStore } from './support/stage.mjs';

const DART = { headers: { 'User-Agent': 'Dart/3.0 (dart:io)' } };

/** `Message.fromJson` of the app: a wrong type throws there and the message is lost. */
function decodeAsTheApp(json) {
  const text = (v, fallback) => {
    if (v === undefined) return fallback;
    assert.equal(typeof v, 'string', `a text was expected, not ${JSON.stringify(v)}`);
    return v;
  };
  const whole = (v) => assert.ok(v === undefined || Number.isInteger(v), `an integer was expected, not ${v}`);
  const date = (v) => {
    assert.match(text(v), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    return Date.parse(v);
  };
  whole(json.callDuration);
  if (json.readAt !== undefined) date(json.readAt);
  return {
    id: text(json._id, text(json.id, '')),
    conversationId: text(json.conversationId),
    senderId: text(json.senderId),
    senderType: text(json.senderType, 'user'),
    senderName: text(json.senderName, ''),
    content: text(json.content, ''),
    messageType: text(json.messageType, 'text'),
    mediaUrl: text(json.mediaUrl, null),
    timestamp: date(json.timestamp),
    status: text(json.status, 'sent'),
    replyToId: text(json.replyToId, null),
  };
}

/** Connects as the app does: websocket only, and `get_stats` at once, without an ack. */
async function connectAsTheApp(stage, person, options = {}) {
  const client = await stage.connect(person, { ...DART, transport: 'websocket', ...options });
  client.socket.emit('get_stats');
  await client.next('stats');
  return client;
}

onEveryStore((it) => {
  it('conformance 6: the app’s sending socket hears no echo but dm:message_sent; its other device in the room hears the message', async (stage) => {
    const astrologer = stage.person('astrologer');
    const key = `admin_${astrologer.id}`;
    const [app, second, admin] = await Promise.all([connectAsTheApp(stage, astrologer), connectAsTheApp(stage, astrologer), stage.connect(stage.admin)]);
    for (const client of [app, second]) client.socket.emit('dm:join_conversation', { conversationId: key, userId: astrologer.id, userType: 'astrologer' });
    await Promise.all([app.next('dm:joined'), second.next('dm:joined')]);
    app.socket.emit('dm:send_message', { conversationId: key, recipientId: 'admin', recipientType: 'admin', content: 'hello', messageType: 'text' });
    const sent = await app.next('dm:message_sent');
    assert.deepEqual(await app.copies(sent._id), ['dm:message_sent']);
    assert.deepEqual(await second.copies(sent._id), ['dm:message_received']);
    assert.deepEqual(await admin.copies(sent._id), ['dm:new_message']);
    // What others say is heard as usual.
    const { message } = await admin.send(astrologer, 'answer', { conversationId: key });
    assert.deepEqual(await app.copies(message._id), ['dm:message_received']);
  });

  it('7.4: auth.echo, another agent, or no get_stats keep the echo', async (stage) => {
    const { user, astrologer, key } = stage.pair();
    const [asks, noStats, node] = await Promise.all([
      connectAsTheApp(stage, user, { auth: { echo: true } }),
      stage.connect(user, DART),
      stage.connect(user),
    ]);
    node.socket.emit('get_stats');
    await node.next('stats');
    for (const client of [asks, noStats, node]) {
      await client.join(key);
      const { message } = await client.send(astrologer, 'x', { conversationId: key });
      assert.deepEqual(await client.copies(message._id), ['dm:message_received', 'dm:message_sent']);
    }
  });

  it('0.1 fact 8: a chat decodes under the app’s types: texts, integers, ISO dates with milliseconds, no null', async (stage) => {
    const astrologer = stage.person('astrologer');
    const key = `admin_${astrologer.id}`;
    const [app, admin] = await Promise.all([connectAsTheApp(stage, astrologer), stage.connect(stage.admin)]);
    assert.equal(app.greeting.user.isAnonymous, false);
    app.socket.emit('dm:join_conversation', { conversationId: key, userId: astrologer.id, userType: 'astrologer' });
    await app.next('dm:joined');

    await admin.send(astrologer, 'plain', { conversationId: key });
    const voice = { messageType: 'audio', mediaUrl: 'https://cdn.example.com/v.ogg', mediaSize: 2048.0, mediaDuration: 12.0 };
    const { message: spoken } = await admin.send(astrologer, '', { conversationId: key, ...voice });
    await admin.send(astrologer, 'reply', { conversationId: key, replyToId: spoken._id });
    for (const content of ['plain', '', 'reply']) {
      const decoded = decodeAsTheApp(await app.next('dm:message_received'));
      assert.deepEqual([decoded.content, decoded.senderType, decoded.conversationId], [content, 'admin', key]);
      assert.ok(Math.abs(decoded.timestamp - Date.now()) < 60_000);
      app.socket.emit('dm:mark_read', { conversationId: key, messageIds: [decoded.id] });
    }
    app.socket.emit('dm:history', { conversationId: key, page: 1, limit: 50 });
    const history = await app.next('dm:history', (h) => h.conversationId === key);
    const decoded = history.messages.map(decodeAsTheApp);
    assert.deepEqual(decoded.map((m) => m.content), ['plain', '', 'reply']);
    assert.equal(decoded[2].replyToId, spoken._id);
    assert.deepEqual([...decoded].sort((a, b) => a.timestamp - b.timestamp), decoded, 'oldest first');
    await app.settle();
    assert.deepEqual(app.faults, []);
  });

  it('7.1: a fractional media duration survives, a whole one stays an integer', async (stage) => {
    const { astrologer, userSocket, key } = await stage.talk();
    for (const mediaDuration of [7, 7.25]) {
      const { message } = await userSocket.send(astrologer, '', { conversationId: key, messageType: 'audio', mediaUrl: 'https://cdn.example.com/v.ogg', mediaDuration });
      assert.equal(message.mediaDuration, mediaDuration);
    }
  });

  it('0.1 fact 7: opening the chat clears the unread count, because the app says nothing else', async (stage) => {
    const astrologer = stage.person('astrologer');
    const key = `admin_${astrologer.id}`;
    const [app, admin] = await Promise.all([connectAsTheApp(stage, astrologer), stage.connect(stage.admin)]);
    await admin.send(astrologer, 'one', { conversationId: key });
    await admin.send(astrologer, 'two', { conversationId: key });
    app.socket.emit('dm:history', { conversationId: key, page: 1, limit: 50 });
    assert.equal((await app.next('dm:history')).unreadCount, 0);
    assert.equal((await stage.rest(astrologer, 'GET', '/api/conversations/admin')).data.unreadCount, 0);
  });

  it('2.1: mark_read of the app’s own message changes nothing', async (stage) => {
    const astrologer = stage.person('astrologer');
    const app = await connectAsTheApp(stage, astrologer, { auth: { echo: true } });
    const key = `admin_${astrologer.id}`;
    await app.join(key);
    const { message } = await app.send(stage.admin, 'mine', { conversationId: key });
    assert.deepEqual(await app.ask('dm:mark_read', { conversationId: key, messageIds: [message._id] }), { ok: true, messageIds: [], unreadCount: 0 });
    await app.never('dm:messages_read');
    assert.equal((await stage.rest(stage.admin, 'GET', `/api/conversations/${key}`)).data.unreadCount, 1);
  });
});
