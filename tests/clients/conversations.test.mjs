// Which conversation a text means, for whom, and in which spelling it is answered. Contract: 3.2 to 3.4, 10.1 rows 4, 5, 6, 33.
import assert from 'node:assert/strict';
import { hexId, keyOf, onEveryStore } from './support/stage.mjs';

onEveryStore((it) => {
  it('conformance 3: an astrologer joins admin_<self> before any message exists; admin_<other> is refused and not joined', async (stage) => {
    const [self, other] = [stage.person('astrologer'), stage.person('astrologer')];
    const [client, otherClient, admin] = await Promise.all([stage.connect(self), stage.connect(other), stage.connect(stage.admin)]);
    await client.join(`admin_${self.id}`);
    await client.next('dm:joined');
    await client.refused('DM_JOIN_FORBIDDEN', 'dm:join_conversation', { conversationId: `admin_${other.id}` });
    const { message } = await admin.send(other, 'for the other only');
    await otherClient.next('dm:new_message', (m) => m._id === message._id);
    assert.deepEqual(await client.copies(message._id), []);
    assert.equal(client.all('dm:joined').length, 1);
  });

  it('10.1 row 5: a canonical key of other people is forbidden whether it exists or not; admins may join any', async (stage) => {
    const { user, astrologer, userSocket, key } = await stage.talk({ joined: false, first: 'exists' });
    const [stranger, admin] = await Promise.all([stage.connect(stage.person('user')), stage.connect(stage.admin)]);
    const unopened = keyOf(stage.person('user'), stage.person('astrologer'));
    const refusals = [];
    for (const conversationId of [key, unopened, `admin_${astrologer.id}`, `admin_user_${user.id}`]) {
      const { message } = await stranger.refused('DM_JOIN_FORBIDDEN', 'dm:join_conversation', { conversationId });
      refusals.push(message);
      await admin.join(conversationId);
    }
    assert.equal(new Set(refusals).size, 1, 'the same words for existing and unknown');
    // The admin hears, but has become no participant.
    const { message } = await userSocket.send(astrologer, 'watched', { conversationId: key });
    assert.deepEqual(await admin.copies(message._id), ['dm:message_received']);
    const { participants } = (await stage.rest(user, 'GET', `/api/conversations/${key}`)).data;
    assert.deepEqual(participants.map((p) => p.type).sort(), ['astrologer', 'user']);
  });

  it('10.1 row 5: a conversation an admin joined before it was opened is heard from its first message on', async (stage) => {
    const { user, astrologer, key } = stage.pair();
    const [admin, client] = await Promise.all([stage.connect(stage.admin), stage.connect(user)]);
    await admin.join(key);
    const { message } = await client.send(astrologer, 'first', { conversationId: key });
    assert.deepEqual(await admin.copies(message._id), ['dm:message_received']);
  });

  it('conformance 8: one socket joins by key, another of the same person by ObjectId; each hears its own spelling', async (stage) => {
    const { user, astrologer, key, astrologerSocket, message: { conversationRef: ref } } = await stage.talk({ first: 'opens it' });
    const [byKey, byId, sender] = await Promise.all([stage.connect(user), stage.connect(user), stage.connect(astrologer)]);
    assert.equal((await byKey.join(key)).conversationId, key);
    const joined = await byId.join(ref, { userId: user.id, userType: 'user' });
    assert.deepEqual([joined.conversationId, joined.conversationKey], [ref, key]);
    assert.equal((await byId.next('dm:joined')).conversationId, ref);

    const { message } = await sender.send(user, 'to both', { conversationId: key });
    for (const [client, spelling] of [[byKey, key], [byId, ref]]) {
      const heard = await client.next('dm:message_received');
      assert.deepEqual([heard._id, heard.conversationId, heard.conversationKey, heard.conversationRef], [message._id, spelling, key, ref]);
      assert.deepEqual(await client.copies(message._id), ['dm:message_received']);
    }
    sender.socket.emit('dm:typing_start', { conversationId: ref });
    const own = (await byId.ask('dm:send_message', { conversationId: ref, content: 'mine' })).message;
    assert.equal(own.conversationId, ref);
    await byId.ask('dm:mark_read', { conversationId: ref });
    const deleted = await byId.ask('dm:delete_message', { conversationId: ref, messageId: own._id, scope: 'everyone' });
    assert.equal(deleted.messageId, own._id);
    for (const [client, spelling] of [[byKey, key], [byId, ref], [astrologerSocket, key]]) {
      await client.settle();
      const names = ['dm:message_received', 'dm:message_sent', 'dm:typing_start', 'dm:user_typing', 'dm:messages_read', 'dm:message_deleted'];
      const spellings = new Set(client.heard.filter((e) => names.includes(e.event)).map((e) => e.payload.conversationId));
      assert.deepEqual([...spellings], [spelling]);
    }
    for (const event of ['dm:typing_start', 'dm:user_typing', 'dm:messages_read', 'dm:message_deleted', 'dm:message_sent']) {
      assert.equal((await byId.next(event)).conversationId, ref, event);
    }
    const history = await byId.ask('dm:history', { conversationId: ref });
    assert.equal(history.conversationId, ref);
    assert.ok(history.messages.length > 0 && history.messages.every((m) => m.conversationId === ref));
    // Upper case means the same document.
    assert.equal((await byKey.ask('dm:history', { conversationId: ref.toUpperCase() })).total, history.total);
    assert.ok(byId.all('dm:history').every((h) => h.conversationId === ref));
  });

  it('3.4: a socket sits in the room of its last spelling only', async (stage) => {
    const { key, userSocket, astrologer, user, astrologerSocket, message: { conversationRef: ref } } = await stage.talk({ first: 'opens it' });
    await userSocket.join(ref);
    const { message } = await astrologerSocket.send(user, 'once', { conversationId: key });
    assert.deepEqual(await userSocket.copies(message._id), ['dm:message_received']);
    assert.equal(userSocket.all('dm:message_received', (m) => m._id === message._id)[0].conversationId, ref);
    await userSocket.ask('dm:leave_conversation', { conversationId: ref });
    const second = (await astrologerSocket.send(user, 'left', { conversationId: key })).message;
    assert.deepEqual(await userSocket.copies(second._id), ['dm:new_message']);
    assert.ok(astrologer.id);
  });

  it('10.1 row 4: underscores in ids are written ~ in keys, so that no two pairs share a key', async (stage) => {
    const suffix = hexId();
    const astrologer = stage.person('astrologer', { id: `user_${suffix}` });
    const user = stage.person('user', { id: `a_b_${suffix}` });
    const [client, admin, astrologerSocket] = await Promise.all([stage.connect(user), stage.connect(stage.admin), stage.connect(astrologer)]);
    assert.equal((await client.send(astrologer, 'x')).message.conversationKey, `user_a~b~${suffix}_user~${suffix}`);
    assert.equal((await admin.send(astrologer, 'x')).message.conversationKey, `admin_user~${suffix}`);
    assert.equal((await admin.send(user, 'x')).message.conversationKey, `admin_user_a~b~${suffix}`);
    // `admin_user_<suffix>` belongs to the user <suffix> and not to the astrologer user_<suffix>.
    const twin = await stage.connect(stage.person('user', { id: suffix }));
    await twin.join(`admin_user_${suffix}`);
    const { message } = await admin.send(astrologer, 'not for the twin', { conversationId: `admin_user~${suffix}` });
    await astrologerSocket.next('dm:new_message', (m) => m._id === message._id);
    assert.deepEqual(await twin.copies(message._id), []);
    await astrologerSocket.refused('DM_JOIN_FORBIDDEN', 'dm:join_conversation', { conversationId: `admin_user_${suffix}0` });
  });

  it('10.1 row 4: keys may be long, and for a user admin_<own id> means admin_user_<own id>', async (stage) => {
    const [user, astrologer] = [stage.person('user', { id: `u${'0'.repeat(39)}${hexId()}` }), stage.person('astrologer', { id: `a${'0'.repeat(39)}${hexId()}` })];
    const [client, admin] = await Promise.all([stage.connect(user), stage.connect(stage.admin)]);
    const key = keyOf(user, astrologer);
    assert.equal(key.length, 134);
    await client.join(key);
    assert.equal((await client.send(astrologer, 'x', { conversationId: key })).message.conversationKey, key);

    const joined = await client.join(`admin_${user.id}`);
    assert.deepEqual([joined.conversationId, joined.conversationKey], [`admin_${user.id}`, `admin_user_${user.id}`]);
    const { message } = await admin.send(user, 'from support');
    const heard = await client.next('dm:message_received', (m) => m._id === message._id);
    assert.deepEqual([heard.conversationId, heard.conversationKey], [`admin_${user.id}`, `admin_user_${user.id}`]);
    const sent = (await client.ask('dm:send_message', { conversationId: `admin_${user.id}`, recipientId: 'admin', recipientType: 'admin', content: 'y' })).message;
    assert.equal(sent.conversationKey, `admin_user_${user.id}`);
  });

  it('3.2: the words of older apps mean one’s own conversation with support', async (stage) => {
    for (const kind of ['astrologer', 'user']) {
      const person = stage.person(kind);
      const key = keyOf(person, stage.admin);
      const client = await stage.connect(person);
      for (const word of ['admin_conversation', 'admin_admin', 'admin']) {
        const joined = await client.join(word, { userId: person.id });
        assert.deepEqual([joined.conversationId, joined.conversationKey], [word, key]);
        const { message } = await client.send(stage.admin, word, { conversationId: word });
        assert.deepEqual([message.conversationId, message.conversationKey], [word, key]);
        assert.equal((await client.next('dm:message_received')).conversationId, word);
      }
    }
  });

  it('3.3: a conversation id with a colon or any other illegal text is INVALID_ID', async (stage) => {
    const client = await stage.connect(stage.person('user'));
    for (const conversationId of ['a:b', 'a b', '$where', 'x'.repeat(141), '../x', 'é']) {
      await client.refused('INVALID_ID', 'dm:join_conversation', { conversationId });
      await client.refused('INVALID_ID', 'dm:history', { conversationId });
    }
  });

  it('10.1 row 6: joining an unknown or foreign id is a pending join that reveals nothing', async (stage) => {
    const { message: { conversationRef: foreign } } = await stage.talk({ first: 'private' });
    const person = stage.person('user');
    const client = await stage.connect(person);
    for (const [id, fields] of [[foreign, {}], [hexId(), {}], ['some-free-text', {}], [foreign, { after: hexId() }], [hexId(), { after: hexId() }]]) {
      const { ok, conversationId, conversationKey, unreadCount } = await client.join(id, fields);
      assert.deepEqual([ok, conversationId, conversationKey, unreadCount], [true, id, id, 0]);
    }
    await client.settle();
    assert.equal(client.all('dm:joined').length, 5);
  });

  it('10.1 row 6: history, sync, mark_read, delete and REST answer alike for unknown and foreign ids, typing is silent', async (stage) => {
    const { key, astrologerSocket, message: { conversationRef: foreign, _id } } = await stage.talk({ first: 'private' });
    const person = stage.person('user');
    const client = await stage.connect(person);
    const { message: own } = await client.send(stage.admin, 'mine');
    for (const [known, unknown] of [[foreign, hexId()], [key, keyOf(stage.person('user'), stage.person('astrologer'))]]) {
      for (const event of ['dm:history', 'dm:sync', 'dm:mark_read']) {
        const answers = [];
        for (const conversationId of [known, unknown]) answers.push(await client.refused('CONVERSATION_NOT_FOUND', event, { conversationId, after: event === 'dm:sync' ? own._id : undefined }));
        assert.deepEqual(answers[0], answers[1], event);
      }
      for (const conversationId of [known, unknown]) {
        assert.equal((await client.ask('dm:typing_start', { conversationId })).ok, true);
        await client.refused('CONVERSATION_NOT_FOUND', 'dm:send_message', { conversationId, content: 'let me in' });
      }
      for (const suffix of ['', '/messages']) {
        const answers = [];
        for (const id of [known, unknown]) answers.push(await stage.rest(person, 'GET', `/api/conversations/${id}${suffix}`));
        assert.deepEqual(answers.map((a) => [a.status, a.body.code]), [[404, 'CONVERSATION_NOT_FOUND'], [404, 'CONVERSATION_NOT_FOUND']]);
        assert.deepEqual(answers[0].body, answers[1].body);
      }
    }
    const deletions = [];
    for (const messageId of [_id, hexId()]) deletions.push(await client.refused('MESSAGE_NOT_FOUND', 'dm:delete_message', { messageId, scope: 'me' }));
    assert.deepEqual(deletions[0], deletions[1]);
    await astrologerSocket.never('dm:typing_start');
  });

  it('10.1 row 6: one’s own canonical key without a conversation has an empty history', async (stage) => {
    const { user, key } = stage.pair();
    const client = await stage.connect(user);
    for (const conversationId of [key, `admin_${user.id}`, `admin_user_${user.id}`]) {
      const history = await client.ask('dm:history', { conversationId });
      assert.deepEqual(history, { ok: true, conversationId, messages: [], total: 0, page: 1, limit: 50, hasMore: false, unreadCount: 0 });
      await client.next('dm:history', (h) => h.conversationId === conversationId && h.messages.length === 0);
      const rest = await stage.rest(user, 'GET', `/api/conversations/${conversationId}/messages`);
      assert.deepEqual([rest.status, rest.data, rest.body.pagination.total], [200, [], 0]);
    }
    const sync = await client.ask('dm:sync', { conversationId: key });
    assert.deepEqual([sync.messages, sync.hasMore], [[], false]);
  });

  it('conformance 9 and 10.1 row 6: the first message naming a pending id opens the conversation, with the id as alias and never as _id', async (stage) => {
    const { user, astrologer, key } = stage.pair();
    const id = hexId();
    const [sender, waiting, stranger, admin] = await Promise.all([
      stage.connect(user), stage.connect(astrologer), stage.connect(stage.person('user')), stage.connect(stage.admin),
    ]);
    for (const client of [sender, waiting, stranger, admin]) await client.join(id);
    const { message } = await sender.send(astrologer, 'opens it', { conversationId: id });
    assert.deepEqual([message.conversationId, message.conversationKey], [id, key]);
    assert.notEqual(message.conversationRef, id);
    for (const client of [sender, waiting]) {
      const heard = await client.next('dm:message_received');
      assert.deepEqual([heard._id, heard.conversationId, heard.conversationKey], [message._id, id, key]);
    }
    assert.deepEqual(await stranger.copies(message._id), []);
    assert.deepEqual(await admin.copies(message._id), []);

    const answer = (await waiting.ask('dm:send_message', { conversationId: id, content: 'answer' })).message;
    assert.equal(answer.conversationKey, key);
    assert.deepEqual(await stranger.copies(answer._id), []);
    for (const client of [sender, waiting]) {
      const history = await client.ask('dm:history', { conversationId: id });
      assert.deepEqual([history.conversationId, history.total], [id, 2]);
    }
    await stranger.refused('CONVERSATION_NOT_FOUND', 'dm:history', { conversationId: id });
    assert.equal((await stage.rest(user, 'GET', `/api/conversations/${id}`)).data.conversationId, key);
    // Nobody squats an id for others: the stranger may use the same text for a conversation of his own.
    const own = (await stranger.send(astrologer, 'mine', { conversationId: id })).message;
    assert.equal(own.conversationKey, keyOf(stranger.person, astrologer));
    assert.equal((await stranger.ask('dm:history', { conversationId: id })).total, 1);
    assert.equal((await sender.ask('dm:history', { conversationId: id })).total, 2);
  });

  it('10.1 row 6: at most 50 pending ids are kept per socket, the oldest is dropped', async (stage) => {
    const { user, astrologer } = stage.pair();
    const [sender, waiting] = await Promise.all([stage.connect(user), stage.connect(astrologer)]);
    const ids = Array.from({ length: 51 }, hexId);
    await Promise.all(ids.map((id) => waiting.join(id)));
    const oldest = (await sender.send(astrologer, 'dropped', { conversationId: ids[0] })).message;
    assert.deepEqual(await waiting.copies(oldest._id), ['dm:new_message']);
    const newest = (await sender.send(astrologer, 'kept', { conversationId: ids[50] })).message;
    assert.deepEqual(await waiting.copies(newest._id), ['dm:message_received']);
    assert.equal(waiting.all('dm:message_received')[0].conversationId, ids[50]);
  });

  it('10.1 row 6: leaving a pending id ends the waiting', async (stage) => {
    const { user, astrologer } = stage.pair();
    const [sender, waiting] = await Promise.all([stage.connect(user), stage.connect(astrologer)]);
    const id = hexId();
    await waiting.join(id);
    await waiting.ask('dm:leave_conversation', { conversationId: id });
    const { message } = await sender.send(astrologer, 'x', { conversationId: id });
    assert.deepEqual(await waiting.copies(message._id), ['dm:new_message']);
  });

  it('10.1 row 33: the same id under different types is two people with two counters', async (stage) => {
    const id = hexId();
    const [user, astrologer] = [stage.person('user', { id }), stage.person('astrologer', { id })];
    const [userSocket, astrologerSocket, admin] = await Promise.all([stage.connect(user), stage.connect(astrologer), stage.connect(stage.admin)]);
    const key = `user_${id}_${id}`;
    await userSocket.send(astrologer, 'one', { conversationId: key });
    await userSocket.send(astrologer, 'two', { conversationId: key });
    await astrologerSocket.send(user, 'three', { conversationId: key });
    const unread = async (person) => (await stage.rest(person, 'GET', `/api/conversations/${key}`)).data.unreadCount;
    assert.deepEqual([await unread(user), await unread(astrologer)], [1, 2]);
    assert.equal((await userSocket.ask('dm:mark_read', { conversationId: key })).unreadCount, 0);
    assert.deepEqual([await unread(user), await unread(astrologer)], [0, 2]);
    // Deleting for oneself hides it from one of the two only.
    const { messages } = await userSocket.ask('dm:history', { conversationId: key });
    await userSocket.ask('dm:delete_message', { messageId: messages[0]._id, scope: 'me' });
    assert.deepEqual((await userSocket.ask('dm:history', { conversationId: key })).total, 2);
    assert.deepEqual((await astrologerSocket.ask('dm:history', { conversationId: key })).total, 3);
    await astrologerSocket.never('dm:message_deleted');
    // Support speaks to them in two conversations.
    await admin.send(user, 'to the user');
    const { message } = await admin.send(astrologer, 'to the astrologer');
    assert.equal(message.conversationKey, `admin_${id}`);
    await userSocket.settle();
    assert.deepEqual(userSocket.all('dm:new_message', (m) => m.senderType === 'admin').map((m) => m.content), ['to the user']);
  });

  it('conformance 26, as far as the API shows: a conversation exposes both spellings of what the two backends store', async (stage) => {
    const { user, astrologer, key, message } = await stage.talk({ first: 'the text' });
    const { data } = await stage.rest(astrologer, 'GET', `/api/conversations/${key}`);
    assert.deepEqual([data._id, data.id, data.conversationRef], [message.conversationRef, message.conversationRef, message.conversationRef]);
    assert.deepEqual([data.conversationId, data.conversationKey, data.conversationType], [key, key, 'user_astrologer']);
    assert.deepEqual(data.lastMessage, {
      messageId: message._id, content: 'the text', senderId: user.id, senderType: 'user', timestamp: message.timestamp, messageType: 'text',
    });
    assert.deepEqual([data.lastMessageText, data.lastMessageAt, data.lastMessageSenderId, data.lastMessageSenderType], ['the text', message.timestamp, user.id, 'user']);
    assert.deepEqual([data.unreadCount, data.isActive, data.contextType], [1, true, 'general']);
    const member = data.participants.find((p) => p.type === 'user');
    assert.deepEqual([member.id, member.name], [user.id, user.name]);
    assert.ok(data.participants.every((p) => p.joinedAt && p.id));
  });

  it('two first messages at the same moment open one conversation', async (stage) => {
    for (let round = 0; round < 5; round += 1) {
      const { user, astrologer } = stage.pair();
      const [a, b] = await Promise.all([stage.connect(user), stage.connect(astrologer)]);
      const sent = await Promise.all([a.send(astrologer, 'x'), b.send(user, 'y'), a.send(astrologer, 'z')]);
      assert.equal(new Set(sent.map((s) => s.message.conversationRef)).size, 1);
      assert.equal((await a.ask('dm:history', { conversationId: keyOf(user, astrologer) })).total, 3);
    }
  });
});
