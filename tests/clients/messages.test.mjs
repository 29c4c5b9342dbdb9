// Sending: who hears what under which name, aliases, idempotency, limits. Contract: 7.1 to 7.4, 10.1 rows 10, 13, 15, 22, 31.
import assert from 'node:assert/strict';
import { hexId, keyOf, onEveryStore } from './support/stage.mjs';

onEveryStore((it) => {
  it('conformance 7: sender and receiver in the room both get dm:message_received, status sent, with createdAt and timestamp', async (stage) => {
    const { user, astrologer, key, userSocket, astrologerSocket, message } = await stage.talk({ first: 'Namaste' });
    for (const client of [userSocket, astrologerSocket]) {
      const received = await client.next('dm:message_received');
      assert.deepEqual(received, message);
      assert.equal(received.timestamp, received.createdAt);
    }
    assert.deepEqual(
      { ...message, _id: 0, id: 0, conversationRef: 0, timestamp: 0, createdAt: 0, updatedAt: 0 },
      {
        _id: 0, id: 0, conversationId: key, conversationKey: key, conversationRef: 0,
        senderId: user.id, senderType: 'user', senderName: user.name, recipientId: astrologer.id, recipientType: 'astrologer',
        content: 'Namaste', messageType: 'text', status: 'sent', timestamp: 0, createdAt: 0, updatedAt: 0, isDeleted: false, deletedBy: [],
      },
    );
    assert.equal(message._id, message.id);
    assert.deepEqual(await userSocket.copies(message._id), ['dm:message_received', 'dm:message_sent']);
  });

  it('conformance 5: who is in the room gets dm:message_received, who is elsewhere dm:new_message with the full text, never both', async (stage) => {
    const { user, astrologer, key } = stage.pair();
    const [sender, inRoom, elsewhere] = await Promise.all([stage.connect(user), stage.connect(astrologer), stage.connect(astrologer)]);
    await inRoom.join(key);
    const long = 'a long text '.repeat(60);
    const { message } = await sender.send(astrologer, long, { conversationId: key });
    assert.deepEqual(await inRoom.copies(message._id), ['dm:message_received']);
    assert.deepEqual(await elsewhere.copies(message._id), ['dm:new_message']);
    const heard = await elsewhere.next('dm:new_message');
    assert.equal(heard.content, long);
    assert.equal(heard.conversationId, key);
    // After leaving it is the other of the two.
    await inRoom.ask('dm:leave_conversation', { conversationId: key });
    const second = (await sender.send(astrologer, 'again', { conversationId: key })).message;
    assert.deepEqual(await inRoom.copies(second._id), ['dm:new_message']);
  });

  it('7.3 and 10.1 row 22: the sending socket always gets dm:message_sent; the sender’s other sockets hear the message once, in the room or not', async (stage) => {
    const { user, astrologer, key } = stage.pair();
    const [sender, inRoom, elsewhere, receiver] = await Promise.all([
      stage.connect(user), stage.connect(user), stage.connect(user), stage.connect(astrologer),
    ]);
    await inRoom.join(key);
    const { message } = await sender.send(astrologer, 'from a socket outside the room', { conversationId: key });
    assert.deepEqual(await sender.copies(message._id), ['dm:message_sent']);
    assert.deepEqual(await inRoom.copies(message._id), ['dm:message_received']);
    assert.deepEqual(await elsewhere.copies(message._id), ['dm:new_message']);
    assert.deepEqual(await receiver.copies(message._id), ['dm:new_message']);
    await sender.join(key);
    const second = (await sender.send(astrologer, 'from the room', { conversationId: key })).message;
    assert.deepEqual(await sender.copies(second._id), ['dm:message_received', 'dm:message_sent']);
  });

  it('conformance 4: 20 joins in one tick, then a send: one dm:message_received, one dm:message_sent, same _id', async (stage) => {
    const admin = await stage.connect(stage.admin);
    const astrologers = Array.from({ length: 20 }, () => stage.person('astrologer'));
    const joins = astrologers.map(({ id }) => admin.join(`admin_${id}`, { userId: 'admin', userType: 'admin' }));
    const chosen = astrologers[7];
    admin.socket.emit('dm:send_message', {
      conversationId: `admin_${chosen.id}`, recipientId: chosen.id, recipientType: 'astrologer', content: 'hello', messageType: 'text',
    });
    await Promise.all(joins);
    const sent = await admin.next('dm:message_sent', (m) => m.recipientId === chosen.id);
    assert.deepEqual(await admin.copies(sent._id), ['dm:message_received', 'dm:message_sent']);
  });

  it('7.1: every alias of the send payload is understood', async (stage) => {
    const { astrologer, key, userSocket, message } = await stage.talk({ first: 'first' });
    for (const name of ['content', 'message', 'text']) {
      const sent = await userSocket.ask('dm:send_message', { conversationId: key, [name]: `by ${name}` });
      assert.equal(sent.message.content, `by ${name}`);
      assert.equal(sent.message.recipientId, astrologer.id);
    }
    for (const name of ['replyTo', 'replyToId']) {
      const sent = await userSocket.send(astrologer, 'a reply', { conversationId: key, [name]: message._id });
      assert.equal(sent.message.replyTo, message._id);
      assert.equal(sent.message.replyToId, message._id);
    }
    for (const name of ['clientMessageId', 'tempId', 'localId']) {
      const id = hexId();
      const sent = await userSocket.send(astrologer, 'numbered', { conversationId: key, [name]: id });
      assert.equal(sent.message.clientMessageId, id);
    }
  });

  it('7.1: recipientType admin alone is enough, and a canonical key alone names the recipient', async (stage) => {
    const [user, astrologer] = [stage.person('user'), stage.person('astrologer')];
    const [userSocket, astrologerSocket] = await Promise.all([stage.connect(user), stage.connect(astrologer)]);
    const fromUser = (await userSocket.ask('dm:send_message', { recipientType: 'admin', content: 'help' })).message;
    assert.deepEqual([fromUser.conversationKey, fromUser.recipientId, fromUser.recipientType], [`admin_user_${user.id}`, 'admin', 'admin']);
    const fromAstrologer = (await astrologerSocket.ask('dm:send_message', { conversationId: `admin_${astrologer.id}`, content: 'help' })).message;
    assert.deepEqual([fromAstrologer.conversationKey, fromAstrologer.recipientId], [`admin_${astrologer.id}`, 'admin']);
  });

  it('7.1: identity in the payload is ignored, on every event that used to read it', async (stage) => {
    const { user, astrologer, key, userSocket, astrologerSocket } = await stage.talk();
    const liar = { userId: astrologer.id, userType: 'admin', senderId: astrologer.id, senderType: 'admin', callerId: 'x', contactId: 'y' };
    await userSocket.join(key, liar);
    const { message } = await userSocket.send(astrologer, 'who am I', { conversationId: key, ...liar });
    assert.deepEqual([message.senderId, message.senderType, message.senderName], [user.id, 'user', user.name]);
    userSocket.socket.emit('dm:typing_start', { conversationId: key, ...liar });
    assert.equal((await astrologerSocket.next('dm:typing_start')).userId, user.id);
    const stranger = await stage.connect(stage.person('user'));
    await stranger.refused('DM_JOIN_FORBIDDEN', 'dm:join_conversation', { conversationId: key, userId: user.id, userType: 'user' });
    await stranger.refused('CONVERSATION_NOT_FOUND', 'dm:history', { conversationId: key, userId: user.id, userType: 'admin' });
  });

  it('10.1 row 10: a repeated clientMessageId gives the first message, and nothing is emitted', async (stage) => {
    const { astrologer, key, userSocket, astrologerSocket } = await stage.talk();
    const fields = { conversationId: key, clientMessageId: hexId() };
    const first = await userSocket.send(astrologer, 'once', fields);
    assert.equal(first.duplicate ?? false, false);
    const repeats = await Promise.all([1, 2, 3].map(() => userSocket.send(astrologer, 'once', fields)));
    for (const repeat of repeats) {
      assert.equal(repeat.message._id, first.message._id);
      assert.equal(repeat.duplicate, true);
    }
    // The same from another device of the same person.
    const other = await stage.connect(userSocket.person);
    assert.equal((await other.send(astrologer, 'once', fields)).message._id, first.message._id);
    assert.deepEqual(await userSocket.copies(first.message._id), ['dm:message_received', 'dm:message_sent']);
    assert.deepEqual(await astrologerSocket.copies(first.message._id), ['dm:message_received']);
    assert.deepEqual(await other.copies(first.message._id), []);
    const history = await astrologerSocket.ask('dm:history', { conversationId: key });
    assert.deepEqual([history.total, history.unreadCount], [1, 0]);
  });

  it('idempotency: the same id sent twice at once is one message, for other content or another conversation it is CONFLICT, for another sender it is new', async (stage) => {
    const { user, astrologer, key, userSocket, astrologerSocket } = await stage.talk();
    const clientMessageId = hexId();
    const [a, b] = await Promise.all([1, 2].map(() => userSocket.send(astrologer, 'same', { conversationId: key, clientMessageId })));
    assert.equal(a.message._id, b.message._id);
    assert.deepEqual([a, b].filter((sent) => sent.duplicate).length, 1);
    await userSocket.refused('CONFLICT', 'dm:send_message', { conversationId: key, content: 'different', clientMessageId });
    await userSocket.refused('CONFLICT', 'dm:send_message', { recipientType: 'admin', content: 'same', clientMessageId });
    const answer = await astrologerSocket.send(user, 'same', { conversationId: key, clientMessageId });
    assert.notEqual(answer.message._id, a.message._id);
    assert.equal((await userSocket.ask('dm:history', { conversationId: key })).total, 2);
  });

  it('4.2: a reply must be in the same conversation', async (stage) => {
    const { astrologer, key, userSocket } = await stage.talk();
    const foreign = (await userSocket.ask('dm:send_message', { recipientType: 'admin', content: 'elsewhere' })).message;
    for (const replyTo of [foreign._id, hexId()]) {
      await userSocket.refused('MESSAGE_NOT_FOUND', 'dm:send_message', { recipientId: astrologer.id, recipientType: 'astrologer', conversationId: key, content: 'x', replyTo });
    }
    await userSocket.refused('INVALID_ID', 'dm:send_message', { conversationId: key, recipientId: astrologer.id, recipientType: 'astrologer', content: 'x', replyTo: 'no id' });
  });

  it('10.1 row 15: 4,000 code points are accepted whatever their bytes, one more is CONTENT_TOO_LONG', async (stage) => {
    const { astrologer, key, userSocket, astrologerSocket } = await stage.talk();
    for (const content of ['x'.repeat(4_000), 'न'.repeat(4_000), '🙏'.repeat(4_000)]) {
      const { message } = await userSocket.send(astrologer, content, { conversationId: key });
      assert.equal((await astrologerSocket.next('dm:message_received', (m) => m._id === message._id)).content, content);
      await userSocket.refused('CONTENT_TOO_LONG', 'dm:send_message', { conversationId: key, content: `${content}x` });
    }
  });

  it('10.1 row 31: control characters are removed except newline and tab; joiners, marks and spaces stay as sent', async (stage) => {
    const { astrologer, key, userSocket } = await stage.talk();
    const { message } = await userSocket.send(astrologer, ' a\u0000b\u0007c\r\n\td\u007f\u0085 क्\u200dष \u200c 👩‍👩‍👧 ', { conversationId: key });
    assert.equal(message.content, ' abc\n\td क्\u200dष \u200c 👩‍👩‍👧 ');
  });

  it('4.2: text may be empty only beside media, addresses must be https, and kinds of the server cannot be sent', async (stage) => {
    const { astrologer, key, userSocket, astrologerSocket } = await stage.talk();
    const media = { mediaUrl: 'https://cdn.example.com/a.png', mediaSize: 1234, mediaDuration: 12, thumbnailUrl: 'https://cdn.example.com/t.png' };
    const { message } = await userSocket.ask('dm:send_message', { conversationId: key, messageType: 'image', ...media });
    const received = await astrologerSocket.next('dm:message_received');
    assert.deepEqual(received, message);
    for (const [field, value] of Object.entries(media)) assert.equal(received[field], value);
    assert.deepEqual([received.content, received.messageType], ['', 'image']);
    for (const wrong of [
      { content: '' }, { content: ' \n\t ' }, { content: '\u0000' }, {}, { content: 'x', mediaUrl: 'http://cdn.example.com/a.png' },
      { content: 'x', mediaUrl: 'javascript:alert(1)' }, { content: 'x', thumbnailUrl: 'file:///etc/passwd' },
      { content: 'x', messageType: 'call_log' }, { content: 'x', messageType: 'system' }, { content: 'x', messageType: 'poem' },
    ]) {
      await userSocket.refused('INVALID_PAYLOAD', 'dm:send_message', { conversationId: key, recipientId: astrologer.id, recipientType: 'astrologer', ...wrong });
    }
    await userSocket.refused('INVALID_ID', 'dm:send_message', { conversationId: key, content: 'x', clientMessageId: 'x'.repeat(65) });
  });

  it('7.11: who may write to whom', async (stage) => {
    const { user, astrologer, userSocket, astrologerSocket } = await stage.talk({ joined: false });
    const admin = await stage.connect(stage.admin);
    await userSocket.send(astrologer, 'to an astrologer');
    await userSocket.send(stage.admin, 'to support');
    await astrologerSocket.send(user, 'to a user');
    await astrologerSocket.send(stage.admin, 'to support');
    await admin.send(user, 'from support');
    await admin.send(astrologer, 'from support');
    const send = (to) => ({ recipientId: to.id, recipientType: to.kind, content: 'x' });
    await userSocket.refused('FORBIDDEN', 'dm:send_message', send(stage.person('user')));
    await astrologerSocket.refused('FORBIDDEN', 'dm:send_message', send(stage.person('astrologer')));
    await userSocket.refused('SELF_CONVERSATION_BLOCKED', 'dm:send_message', send(user));
    await admin.refused('SELF_CONVERSATION_BLOCKED', 'dm:send_message', send(stage.admin));
    await admin.refused('SELF_CONVERSATION_BLOCKED', 'dm:send_message', { recipientId: 'ops-7', recipientType: 'admin', content: 'x' });
    await userSocket.refused('INVALID_ID', 'dm:send_message', { recipientId: 'a.b', recipientType: 'astrologer', content: 'x' });
  });

  it('3.3: two admins share the inbox, and each message shows who of them wrote it', async (stage) => {
    const astrologer = stage.person('astrologer');
    const [ops, key] = [stage.person('admin', { id: `ops-${hexId()}`, name: 'Asha of support' }), `admin_${astrologer.id}`];
    const [asked, first, second] = await Promise.all([stage.connect(astrologer), stage.connect(stage.admin), stage.connect(ops)]);
    await first.join(key);
    const { message } = await asked.send(stage.admin, 'help', { conversationId: key });
    assert.deepEqual(await first.copies(message._id), ['dm:message_received']);
    assert.deepEqual(await second.copies(message._id), ['dm:new_message']);
    const answer = (await second.send(astrologer, 'gladly', { conversationId: key })).message;
    assert.deepEqual([answer.senderId, answer.senderType, answer.conversationKey], [ops.id, 'admin', key]);
    assert.deepEqual(await first.copies(answer._id), ['dm:message_received']);
    assert.deepEqual(await asked.copies(answer._id), ['dm:new_message']);
    // One unread counter: what one admin reads, the other has read.
    const list = (await stage.rest(ops, 'GET', `/api/conversations/${key}`)).data;
    assert.equal(list.unreadCount, 1);
    assert.deepEqual(await second.ask('dm:mark_read', { conversationId: key }), { ok: true, messageIds: [message._id], unreadCount: 0 });
    const told = await first.next('dm:messages_read', (r) => r.conversationId === key);
    assert.deepEqual([told.readBy, told.readByType], [ops.id, 'admin']);
    assert.equal((await stage.rest(stage.admin, 'GET', `/api/conversations/${key}`)).data.unreadCount, 0);
  });

  it('7.14: a message to one admin by his own id keeps that id and is for every admin', async (stage) => {
    const [astrologer, ops] = [stage.person('astrologer'), stage.person('admin', { id: `ops-${hexId()}` })];
    const key = `admin_${astrologer.id}`;
    const [client, shared, named] = await Promise.all([stage.connect(astrologer), stage.connect(stage.admin), stage.connect(ops)]);
    const { message } = await client.send(ops, 'to ops', { conversationId: key });
    assert.deepEqual([message.recipientId, message.recipientType, message.conversationKey], [ops.id, 'admin', key]);
    for (const admin of [shared, named]) assert.deepEqual(await admin.copies(message._id), ['dm:new_message']);
    assert.deepEqual(await shared.ask('dm:mark_read', { conversationId: key, messageIds: [message._id] }), { ok: true, messageIds: [message._id], unreadCount: 0 });
    assert.equal((await client.next('dm:messages_read')).readBy, 'admin');
    assert.equal((await stage.rest(ops, 'GET', `/api/conversations/${key}`)).data.unreadCount, 0);
  });

  it('messages of a conversation are heard in the order of their acks, by everyone, from several senders at once', async (stage) => {
    const { user, astrologer, key, userSocket, astrologerSocket } = await stage.talk();
    const third = await stage.connect(user);
    await third.join(key);
    const acks = [];
    const send = async (client, to, i) => acks.push((await client.send(to, `${i}`, { conversationId: key })).message._id);
    await Promise.all(Array.from({ length: 30 }, (_, i) => [send(userSocket, astrologer, i), send(astrologerSocket, user, i), send(third, astrologer, i)]).flat());
    const orders = [];
    for (const client of [userSocket, astrologerSocket, third]) {
      await client.settle();
      orders.push(client.all('dm:message_received').map((m) => m._id));
    }
    const history = (await userSocket.ask('dm:history', { conversationId: key, limit: 100 })).messages.map((m) => m._id);
    assert.equal(history.length, 90);
    for (const order of orders) assert.deepEqual(order, history);
    assert.deepEqual([...acks].sort(), [...history].sort());
  });

  it('conformance 29: events of other services are ignored in silence', async (stage) => {
    const { user, astrologer, userSocket } = await stage.talk({ joined: false });
    for (const name of ['live:join', 'discussion:join', 'admin_join_ticket_monitor', 'service-request:join', 'chat:message', 'call:whatever']) {
      userSocket.socket.emit(name, { id: 'x' });
      userSocket.socket.emit(name);
      assert.deepEqual((await userSocket.emitAck(name, 'x')).code, 'UNKNOWN_EVENT');
    }
    assert.deepEqual(userSocket.heard.map((e) => e.event), ['connected']);
    const { message } = await userSocket.send(astrologer, 'still here');
    assert.equal(message.conversationKey, keyOf(user, astrologer));
  });
});
