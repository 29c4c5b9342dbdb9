// History, catching up, read and delivered marks, unread counts, deleting. Contract: 7.5, 7.7, 10.1 rows 10 to 13, 20, 21, 23, 32.
import assert from 'node:assert/strict';
import { hexId, onEveryStore } from './support/stage.mjs';

const ids = (messages) => messages.map((m) => m._id);

/** Sends numbered messages one after the other; returns them. */
async function sendMany(client, to, key, count, prefix = '') {
  const sent = await Promise.all(Array.from({ length: count }, (_, i) => client.send(to, `${prefix}${i}`, { conversationId: key })));
  return sent.map((s) => s.message);
}

const unreadOf = async (stage, person, key) => (await stage.rest(person, 'GET', `/api/conversations/${key}`)).data.unreadCount;

onEveryStore((it) => {
  it('10.1 row 10: history is {ok, conversationId, messages oldest first, total, page, limit, hasMore, unreadCount}, in ack and event alike', async (stage) => {
    const { astrologer, key, userSocket, astrologerSocket } = await stage.talk();
    const sent = await sendMany(userSocket, astrologer, key, 12);
    const { ok, ...ack } = await astrologerSocket.ask('dm:history', { conversationId: key });
    assert.equal(ok, true);
    assert.deepEqual(await astrologerSocket.next('dm:history'), ack);
    assert.deepEqual(ids(ack.messages), ids(sent));
    assert.deepEqual({ ...ack, messages: [] }, { conversationId: key, messages: [], total: 12, page: 1, limit: 50, hasMore: false, unreadCount: 0 });
    await astrologerSocket.never('dm:history_response');
  });

  it('7.1: page and limit may be numbers or texts; limit is at most 100; before is a message id', async (stage) => {
    const { astrologer, key, userSocket } = await stage.talk();
    const sent = ids(await sendMany(userSocket, astrologer, key, 12));
    const page = (fields) => userSocket.ask('dm:history', { conversationId: key, ...fields });
    for (const [number, from, to, hasMore] of [[1, 7, 12, true], [2, 2, 7, true], [3, 0, 2, false], [4, 0, 0, false]]) {
      for (const [p, limit] of [[number, 5], [`${number}`, '5']]) {
        const answer = await page({ page: p, limit });
        assert.deepEqual([ids(answer.messages), answer.page, answer.limit, answer.total, answer.hasMore], [sent.slice(from, to), number, 5, 12, hasMore]);
      }
    }
    const older = await page({ before: sent[7], limit: '5' });
    assert.deepEqual([ids(older.messages), older.hasMore], [sent.slice(2, 7), true]);
    const oldest = await page({ before: sent[2] });
    assert.deepEqual([ids(oldest.messages), oldest.hasMore], [sent.slice(0, 2), false]);
    assert.equal((await page({ limit: 5_000 })).limit, 100);
    for (const wrong of [{ page: 0 }, { page: -1 }, { limit: 0 }, { limit: 'many' }, { page: 1.5 }, { page: {} }]) {
      await userSocket.refused('INVALID_PAYLOAD', 'dm:history', { conversationId: key, ...wrong });
    }
    await userSocket.refused('INVALID_ID', 'dm:history', { conversationId: key, before: 'yesterday' });
    await userSocket.refused('MESSAGE_NOT_FOUND', 'dm:history', { conversationId: key, before: hexId() });
  });

  it('7.5: dm:history_response comes beside dm:history for a socket that asks for it', async (stage) => {
    const { key, userSocket } = await stage.talk({ first: 'x' });
    userSocket.socket.emit('dm:history', { conversationId: key, response: 'dm:history_response' });
    const asked = await userSocket.next('dm:history_response');
    assert.equal(asked.messages.length, 1);
  });

  it('conformance 13 and 10.1 row 13: a send adds one unread, history page 1 marks everything as read, events included', async (stage) => {
    const { user, astrologer, key, userSocket, astrologerSocket } = await stage.talk();
    const sent = ids(await sendMany(userSocket, astrologer, key, 3));
    assert.equal(await unreadOf(stage, astrologer, key), 3, 'also while the recipient sits in the room');
    assert.equal(await unreadOf(stage, user, key), 0);
    const joined = await astrologerSocket.join(key);
    assert.equal(joined.unreadCount, 3);
    const history = await astrologerSocket.ask('dm:history', { conversationId: key, page: 1 });
    assert.equal(history.unreadCount, 0);
    assert.ok(history.messages.every((m) => m.status === 'read'), 'the page shows them as they are afterwards');
    for (const client of [userSocket, astrologerSocket]) {
      const read = await client.next('dm:messages_read');
      assert.deepEqual([read.messageIds, read.readBy, read.readByType], [sent, astrologer.id, 'astrologer']);
    }
    const seen = await userSocket.ask('dm:history', { conversationId: key });
    assert.ok(seen.messages.every((m) => m.status === 'read' && m.readAt));
    assert.equal(await unreadOf(stage, astrologer, key), 0);
  });

  it('10.1 row 13: markRead:false, other pages and REST have no side effects; the asker’s own messages do not change', async (stage) => {
    const { astrologer, key, userSocket, astrologerSocket } = await stage.talk();
    await sendMany(userSocket, astrologer, key, 3);
    assert.equal((await astrologerSocket.ask('dm:history', { conversationId: key, markRead: false })).unreadCount, 3);
    assert.equal((await astrologerSocket.ask('dm:history', { conversationId: key, page: 2, limit: 1 })).unreadCount, 3);
    await astrologerSocket.ask('dm:sync', { conversationId: key });
    for (const path of [`/api/conversations/${key}/messages?page=1`, `/api/conversations/${key}`, '/api/conversations']) {
      assert.equal((await stage.rest(astrologer, 'GET', path)).status, 200);
    }
    assert.equal((await userSocket.ask('dm:history', { conversationId: key })).unreadCount, 0);
    assert.equal(await unreadOf(stage, astrologer, key), 3);
    for (const client of [userSocket, astrologerSocket]) await client.never('dm:messages_read');
  });

  it('10.1 row 13: an admin who looks at the conversation of others reads nothing', async (stage) => {
    const { astrologer, key, userSocket } = await stage.talk();
    await sendMany(userSocket, astrologer, key, 2);
    const admin = await stage.connect(stage.admin);
    const history = await admin.ask('dm:history', { conversationId: key });
    assert.deepEqual([history.messages.length, history.unreadCount], [2, 0]);
    assert.deepEqual(await admin.ask('dm:mark_read', { conversationId: key }), { ok: true, messageIds: [], unreadCount: 0 });
    assert.equal(await unreadOf(stage, astrologer, key), 2);
    await userSocket.never('dm:messages_read');
  });

  it('conformance 12: mark_read by the sender changes nothing; by the recipient both sides hear dm:messages_read', async (stage) => {
    const { astrologer, key, userSocket, astrologerSocket, message } = await stage.talk({ first: 'x' });
    const { _id } = message;
    assert.deepEqual(await userSocket.ask('dm:mark_read', { conversationId: key, messageIds: [_id] }), { ok: true, messageIds: [], unreadCount: 0 });
    assert.equal(await unreadOf(stage, astrologer, key), 1);
    assert.deepEqual(await astrologerSocket.ask('dm:mark_read', { conversationId: key, messageIds: [_id] }), { ok: true, messageIds: [_id], unreadCount: 0 });
    for (const client of [userSocket, astrologerSocket]) {
      const read = await client.next('dm:messages_read');
      assert.deepEqual([read.conversationId, read.messageIds], [key, [_id]]);
    }
    // Again: nothing is left to change, and nothing is emitted.
    assert.deepEqual(await astrologerSocket.ask('dm:mark_read', { conversationId: key, messageIds: [_id] }), { ok: true, messageIds: [], unreadCount: 0 });
    for (const client of [userSocket, astrologerSocket]) {
      await client.settle();
      assert.equal(client.all('dm:messages_read').length, 1);
    }
  });

  it('10.1 row 21: read receipts reach the rooms and both personal rooms, once per socket', async (stage) => {
    const { user, astrologer, key, userSocket, astrologerSocket, message } = await stage.talk({ first: 'x' });
    const [userElsewhere, astrologerElsewhere, stranger] = await Promise.all([stage.connect(user), stage.connect(astrologer), stage.connect(stage.person('user'))]);
    await astrologerElsewhere.ask('dm:mark_read', { conversationId: key, messageIds: [message._id] });
    for (const client of [userSocket, astrologerSocket, userElsewhere, astrologerElsewhere]) {
      await client.settle();
      assert.deepEqual(client.all('dm:messages_read').map((r) => r.messageIds), [[message._id]], client.name);
    }
    await stranger.never('dm:messages_read');
  });

  it('10.1 row 32: missing or empty ids mean all unread, a single id may stand alone, wrong ids are skipped, only wrong ids are INVALID_ID', async (stage) => {
    const { astrologer, key, userSocket, astrologerSocket } = await stage.talk();
    const read = (fields) => astrologerSocket.ask('dm:mark_read', { conversationId: key, ...fields });
    const [a, b, c, d, e, f] = ids(await sendMany(userSocket, astrologer, key, 6));
    assert.deepEqual(await read({ messageIds: [a, 'no id', 7, null] }), { ok: true, messageIds: [a], unreadCount: 5 });
    assert.deepEqual(await read({ messageId: b }), { ok: true, messageIds: [b], unreadCount: 4 });
    assert.deepEqual(await read({ messageIds: c }), { ok: true, messageIds: [c], unreadCount: 3 });
    for (const messageIds of [['no id'], 'no id', [7, null]]) await astrologerSocket.refused('INVALID_ID', 'dm:mark_read', { conversationId: key, messageIds });
    assert.deepEqual(await read({ messageIds: [hexId()] }), { ok: true, messageIds: [], unreadCount: 3 });
    assert.deepEqual(await read({ messageIds: [] }), { ok: true, messageIds: [d, e, f], unreadCount: 0 });
    const [g] = ids(await sendMany(userSocket, astrologer, key, 1));
    assert.deepEqual(await read({}), { ok: true, messageIds: [g], unreadCount: 0 });
    // The older name of the event.
    const [h] = ids(await sendMany(userSocket, astrologer, key, 1));
    assert.deepEqual(await astrologerSocket.ask('dm:read', { conversationId: key, messageIds: [h] }), { ok: true, messageIds: [h], unreadCount: 0 });
  });

  it('7.7: mark_read touches only messages of that conversation addressed to the reader', async (stage) => {
    const { user, astrologer, key, userSocket, astrologerSocket, message } = await stage.talk({ first: 'x' });
    const own = (await astrologerSocket.send(user, 'own', { conversationId: key })).message;
    const elsewhere = await stage.talk({ first: 'y' });
    assert.deepEqual(await astrologerSocket.ask('dm:mark_read', { conversationId: key, messageIds: [own._id, elsewhere.message._id] }), { ok: true, messageIds: [], unreadCount: 1 });
    await elsewhere.astrologerSocket.refused('CONVERSATION_NOT_FOUND', 'dm:mark_read', { conversationId: key, messageIds: [message._id] });
    assert.equal(await unreadOf(stage, elsewhere.astrologer, elsewhere.key), 1);
    assert.deepEqual([await unreadOf(stage, astrologer, key), await unreadOf(stage, user, key)], [1, 1]);
    await userSocket.never('dm:messages_read');
  });

  it('7.7: the unread count is right although messages arrive while others are read', async (stage) => {
    const { astrologer, key, userSocket, astrologerSocket } = await stage.talk({ first: 'opens' });
    const readers = Array.from({ length: 10 }, () => astrologerSocket.ask('dm:mark_read', { conversationId: key }));
    const sent = await Promise.all([sendMany(userSocket, astrologer, key, 40), ...readers]);
    assert.equal(sent[0].length, 40);
    const { messages } = await userSocket.ask('dm:history', { conversationId: key });
    const left = messages.filter((m) => m.status !== 'read').length;
    assert.equal(await unreadOf(stage, astrologer, key), left);
    assert.equal((await astrologerSocket.ask('dm:mark_read', { conversationId: key })).unreadCount, 0);
    assert.equal(await unreadOf(stage, astrologer, key), 0);
  });

  it('10.1 row 20: dm:messages_delivered goes to the sender when a socket of the recipient was handed the message', async (stage) => {
    const { user, astrologer, key, userSocket, message } = await stage.talk({ first: 'x' });
    const other = await stage.connect(user);
    const told = await userSocket.next('dm:messages_delivered');
    assert.deepEqual([told.conversationId, told.messageIds, told.deliveredTo], [key, [message._id], astrologer.id]);
    const second = (await userSocket.send(astrologer, 'y', { conversationId: key })).message;
    for (const client of [userSocket, other]) await client.next('dm:messages_delivered', (d) => d.messageIds.includes(second._id));
    const { messages } = await userSocket.ask('dm:history', { conversationId: key });
    assert.deepEqual(messages.map((m) => [m.status, typeof m.deliveredAt]), [['delivered', 'string'], ['delivered', 'string']]);
  });

  it('10.1 row 20: not while the recipient is away; history and sync hand messages over later', async (stage) => {
    for (const event of ['dm:history', 'dm:sync', 'dm:join_conversation']) {
      const { user, astrologer, key } = stage.pair();
      const sender = await stage.connect(user);
      const { message } = await sender.send(astrologer, 'for later', { conversationId: key });
      const seen = await sender.ask('dm:history', { conversationId: key });
      assert.equal(seen.messages[0].status, 'sent');
      const second = (await sender.send(astrologer, 'and this', { conversationId: key })).message;
      const receiver = await stage.connect(astrologer);
      await receiver.ask(event, { conversationId: key, markRead: false, ...(event === 'dm:join_conversation' ? { after: message._id } : {}) });
      const told = await sender.next('dm:messages_delivered', (d) => d.messageIds.includes(second._id));
      assert.deepEqual([told.deliveredTo, told.conversationId], [astrologer.id, key]);
      assert.ok(sender.heard.filter((e) => e.event === 'dm:messages_delivered').every((e) => e.payload.messageIds.every((id) => [message._id, second._id].includes(id))));
    }
  });

  it('7.7: status only moves forward: a read message never becomes delivered again', async (stage) => {
    const { astrologer, key, userSocket, astrologerSocket, message } = await stage.talk({ first: 'x' });
    await astrologerSocket.ask('dm:mark_read', { conversationId: key, messageIds: [message._id] });
    await astrologerSocket.ask('dm:sync', { conversationId: key });
    // Delivered marks are written in the order of the deliveries: once this one is told, the first was dealt with.
    const second = (await userSocket.send(astrologer, 'y', { conversationId: key })).message;
    await userSocket.next('dm:messages_delivered', (d) => d.messageIds.includes(second._id));
    const { messages } = await userSocket.ask('dm:history', { conversationId: key });
    assert.deepEqual(messages.map((m) => m.status), ['read', 'delivered']);
  });

  it('10.1 row 11: dm:sync gives what is strictly newer than after, oldest first, own messages included', async (stage) => {
    const { user, astrologer, key, userSocket, astrologerSocket } = await stage.talk();
    const first = ids(await sendMany(userSocket, astrologer, key, 5));
    const answers = ids(await sendMany(astrologerSocket, user, key, 5));
    const all = [...first, ...answers];
    const sync = (fields) => userSocket.ask('dm:sync', { conversationId: key, ...fields });
    const { ok, conversationId, messages, hasMore, serverTime } = await sync({ after: all[3] });
    assert.deepEqual([ok, conversationId, ids(messages), hasMore], [true, key, all.slice(4), false]);
    assert.ok(Math.abs(Date.parse(serverTime) - Date.now()) < 60_000);
    let [cursor, walked] = [all[0], []];
    for (let more = true; more; ) {
      const page = await sync({ after: cursor, limit: '4' });
      walked.push(...ids(page.messages));
      cursor = walked.at(-1);
      more = page.hasMore;
    }
    assert.deepEqual(walked, all.slice(1));
    assert.deepEqual((await sync({ after: all.at(-1) })).messages, []);
    await userSocket.refused('MESSAGE_NOT_FOUND', 'dm:sync', { conversationId: key, after: hexId() });
    const foreign = (await stage.talk({ first: 'foreign' })).message._id;
    await userSocket.refused('MESSAGE_NOT_FOUND', 'dm:sync', { conversationId: key, after: foreign });
    await userSocket.refused('INVALID_ID', 'dm:sync', { conversationId: key, after: 'no id' });
    // Answers come in the ack alone.
    assert.deepEqual(userSocket.heard.filter((e) => e.event.startsWith('dm:sync')), []);
  });

  it('10.1 row 23: without after the newest limit messages; a cursor deleted for oneself or for all still works', async (stage) => {
    const { astrologer, key, userSocket } = await stage.talk();
    const all = ids(await sendMany(userSocket, astrologer, key, 6));
    const newest = await userSocket.ask('dm:sync', { conversationId: key, limit: 2 });
    assert.deepEqual([ids(newest.messages), newest.hasMore], [all.slice(4), true]);
    assert.ok(newest.serverTime);
    await userSocket.ask('dm:delete_message', { messageId: all[2], scope: 'me' });
    await userSocket.ask('dm:delete_message', { messageId: all[3], scope: 'everyone' });
    assert.deepEqual(ids((await userSocket.ask('dm:sync', { conversationId: key, after: all[2] })).messages), all.slice(4));
    assert.deepEqual(ids((await userSocket.ask('dm:sync', { conversationId: key, after: all[3] })).messages), all.slice(4));
    assert.deepEqual(ids((await userSocket.ask('dm:sync', { conversationId: key, after: all[1] })).messages), all.slice(4));
  });

  it('10.1 row 11: the limit of dm:sync is at most 200', async (stage) => {
    const { astrologer, key, userSocket } = await stage.talk();
    const all = [];
    for (let i = 0; i < 3; i += 1) all.push(...ids(await sendMany(userSocket, astrologer, key, 70)));
    const page = await userSocket.ask('dm:sync', { conversationId: key, after: all[0], limit: 1_000 });
    assert.deepEqual([ids(page.messages), page.hasMore], [all.slice(1, 201), true]);
  });

  it('10.1 row 23: with since the answer has the messages changed since then', async (stage) => {
    const { astrologer, key, userSocket, astrologerSocket } = await stage.talk();
    const [a, b, c, d] = ids(await sendMany(userSocket, astrologer, key, 4));
    await userSocket.next('dm:messages_delivered', (told) => told.messageIds.includes(d));
    const before = await userSocket.ask('dm:sync', { conversationId: key, after: d, since: userSocket.greeting.serverTime });
    assert.deepEqual(before.changes.map((change) => change.messageId).sort(), [a, b, c, d]);
    assert.ok(before.changes.every((change) => change.status === 'delivered' && change.deliveredAt));
    // The server's clock has whole milliseconds; the change must fall into a later one.
    while (Date.now() <= Date.parse(before.serverTime)) await new Promise((resolve) => setImmediate(resolve));
    await astrologerSocket.ask('dm:mark_read', { conversationId: key, messageIds: [b] });
    await userSocket.ask('dm:delete_message', { messageId: c, scope: 'everyone' });
    await userSocket.ask('dm:delete_message', { messageId: a, scope: 'me' });
    const { changes, serverTime, messages } = await userSocket.ask('dm:sync', { conversationId: key, after: d, since: before.serverTime });
    assert.deepEqual(messages, []);
    const byId = Object.fromEntries(changes.map((change) => [change.messageId, change]));
    assert.deepEqual(Object.keys(byId).sort(), [a, b, c].sort());
    assert.equal(byId[b].status, 'read');
    assert.ok(byId[b].readAt && byId[b].isDeleted === undefined);
    assert.deepEqual([byId[a].isDeleted, byId[c].isDeleted], [true, true]);
    assert.ok(serverTime >= before.serverTime);
    assert.equal((await userSocket.ask('dm:sync', { conversationId: key })).changes, undefined);
    await userSocket.refused('INVALID_PAYLOAD', 'dm:sync', { conversationId: key, since: 'yesterday' });
  });

  it('10.1 row 10 and conformance 28: joining with after answers with what was missed', async (stage) => {
    const { user, astrologer, key, userSocket, astrologerSocket, message } = await stage.talk({ first: 'seen' });
    astrologerSocket.close();
    const missed = ids(await sendMany(userSocket, astrologer, key, 4, 'missed '));
    const back = await stage.connect(astrologer);
    const answer = await back.join(key, { after: message._id, limit: 3 });
    assert.deepEqual([ids(answer.messages), answer.hasMore, answer.unreadCount, answer.conversationKey], [missed.slice(0, 3), true, 5, key]);
    const rest = await back.ask('dm:sync', { conversationId: key, after: missed[2] });
    assert.deepEqual([ids(rest.messages), rest.hasMore], [missed.slice(3), false]);
    // What is sent from now on comes as an event; together nothing is missing and nothing is double.
    const live = (await userSocket.send(astrologer, 'live', { conversationId: key })).message;
    assert.deepEqual(await back.copies(live._id), ['dm:message_received']);
    assert.deepEqual(back.all('dm:message_received').map((m) => m._id), [live._id]);
    const plain = await back.join(key);
    assert.deepEqual([plain.messages, plain.hasMore], [undefined, undefined]);
    assert.ok(user.id);
  });

  it('conformance 28: a message sent while joining and catching up is never lost', async (stage) => {
    const { astrologer, key, userSocket, astrologerSocket, message } = await stage.talk({ first: 'seen' });
    astrologerSocket.close();
    const back = await stage.connect(astrologer);
    const [sent, joined] = await Promise.all([sendMany(userSocket, astrologer, key, 20), back.join(key, { after: message._id, limit: 100 })]);
    await back.settle();
    const heard = new Set([...ids(joined.messages), ...ids(back.all('dm:message_received')), ...ids(back.all('dm:new_message'))]);
    assert.deepEqual(ids(sent).filter((id) => !heard.has(id)), []);
  });

  it('10.1 row 12: deleting for me hides it from my sockets and my history only', async (stage) => {
    const { user, astrologer, key, userSocket, astrologerSocket, message } = await stage.talk({ first: 'x' });
    const other = await stage.connect(astrologer);
    const ack = await astrologerSocket.ask('dm:delete_message', { messageId: message._id, conversationId: key, scope: 'me' });
    assert.deepEqual(ack, { ok: true, messageId: message._id, scope: 'me' });
    for (const client of [astrologerSocket, other]) {
      const told = await client.next('dm:message_deleted');
      assert.deepEqual([told.conversationId, told.messageId, told.scope, told.deletedBy], [key, message._id, 'me', astrologer.id]);
    }
    await userSocket.never('dm:message_deleted');
    const [mine, theirs] = [await astrologerSocket.ask('dm:history', { conversationId: key }), await userSocket.ask('dm:history', { conversationId: key })];
    assert.deepEqual([mine.messages, mine.total], [[], 0]);
    assert.deepEqual([ids(theirs.messages), theirs.total], [[message._id], 1]);
    assert.deepEqual(theirs.messages[0].deletedBy, [], 'who hid it is nobody’s business');
    assert.equal(await unreadOf(stage, astrologer, key), 0);
    assert.ok(user.id);
  });

  it('10.1 row 12: deleting for everyone blanks it, tells both parties once per socket, and takes back lastMessage and unread', async (stage) => {
    const { user, astrologer, key, userSocket, astrologerSocket, message } = await stage.talk({ first: 'stays' });
    const elsewhere = await stage.connect(astrologer);
    const clientMessageId = hexId();
    const gone = (await userSocket.send(astrologer, 'goes', { conversationId: key, clientMessageId })).message;
    assert.equal(await unreadOf(stage, astrologer, key), 2);
    const ack = await userSocket.ask('dm:delete_message', { messageId: gone._id, scope: 'everyone' });
    assert.deepEqual(ack, { ok: true, messageId: gone._id, scope: 'everyone' });
    for (const client of [userSocket, astrologerSocket, elsewhere]) {
      await client.settle();
      const told = client.all('dm:message_deleted');
      assert.deepEqual(told.map((d) => [d.conversationId, d.messageId, d.scope, d.deletedBy]), [[key, gone._id, 'everyone', user.id]]);
    }
    const { data } = await stage.rest(astrologer, 'GET', `/api/conversations/${key}`);
    assert.deepEqual([data.lastMessage.messageId, data.lastMessageText, data.unreadCount], [message._id, 'stays', 1]);
    for (const client of [userSocket, astrologerSocket]) {
      assert.deepEqual(ids((await client.ask('dm:history', { conversationId: key, markRead: false })).messages), [message._id]);
    }
    // A repeat of the send finds the first message, blanked.
    const repeat = await userSocket.send(astrologer, 'goes', { conversationId: key, clientMessageId });
    assert.deepEqual([repeat.message._id, repeat.message.content, repeat.message.isDeleted, repeat.duplicate], [gone._id, '', true, true]);
    // Deleting the only one left leaves an empty conversation.
    await userSocket.ask('dm:delete_message', { messageId: message._id, scope: 'everyone' });
    const empty = (await stage.rest(astrologer, 'GET', `/api/conversations/${key}`)).data;
    assert.deepEqual([empty.lastMessage, empty.lastMessageText, empty.unreadCount], [undefined, '', 0]);
  });

  it('10.1 row 12: only the sender and admins delete for everyone, strangers learn nothing', async (stage) => {
    const { key, userSocket, astrologerSocket, message } = await stage.talk({ first: 'x' });
    const [stranger, admin] = await Promise.all([stage.connect(stage.person('user')), stage.connect(stage.admin)]);
    const request = { messageId: message._id, scope: 'everyone' };
    await astrologerSocket.refused('FORBIDDEN', 'dm:delete_message', request);
    await stranger.refused('MESSAGE_NOT_FOUND', 'dm:delete_message', request);
    await userSocket.refused('CONVERSATION_NOT_FOUND', 'dm:delete_message', { ...request, conversationId: `admin_user_${userSocket.person.id}` });
    await userSocket.send(stage.admin, 'another conversation');
    await userSocket.refused('MESSAGE_NOT_FOUND', 'dm:delete_message', { ...request, conversationId: `admin_user_${userSocket.person.id}` });
    assert.equal((await userSocket.ask('dm:history', { conversationId: key })).total, 1);
    await admin.ask('dm:delete_message', request);
    for (const client of [userSocket, astrologerSocket]) assert.equal((await client.next('dm:message_deleted')).deletedBy, 'admin');
    assert.equal((await userSocket.ask('dm:history', { conversationId: key })).total, 0);
    await userSocket.refused('INVALID_ID', 'dm:delete_message', { messageId: 'no id' });
    await userSocket.refused('INVALID_PAYLOAD', 'dm:delete_message', { messageId: message._id, scope: 'some' });
  });

  it('10.1 row 12: deleting twice is harmless, and a read message does not lower the unread count', async (stage) => {
    const { astrologer, key, userSocket, astrologerSocket, message } = await stage.talk({ first: 'read' });
    await astrologerSocket.ask('dm:mark_read', { conversationId: key });
    const unread = (await userSocket.send(astrologer, 'unread', { conversationId: key })).message;
    await userSocket.ask('dm:delete_message', { messageId: message._id, scope: 'everyone' });
    await userSocket.ask('dm:delete_message', { messageId: message._id, scope: 'everyone' });
    assert.equal(await unreadOf(stage, astrologer, key), 1);
    await astrologerSocket.ask('dm:delete_message', { messageId: unread._id, scope: 'me' });
    await userSocket.ask('dm:delete_message', { messageId: unread._id, scope: 'everyone' });
    assert.equal(await unreadOf(stage, astrologer, key), 0);
  });
});
