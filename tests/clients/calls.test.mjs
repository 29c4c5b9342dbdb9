// A call from ringing to its log, in every dialect. Contract: "Calls"; 2.3 to 2.5, 6.3, 6.4, 7.3; 10.1 rows 8, 18, 24.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { hexId, keyOf, onEveryStore } from './support/stage.mjs';
import { about, accept, ended, heardOf, initiate, logOf, logsIn, rejected, ringing, stored, talking } from './support/calls.mjs';
import { App, DIALECTS, kindsOf } from './support/dialects.mjs';

const env = { AGORA_APP_ID: randomBytes(16).toString('hex'), AGORA_APP_CERTIFICATE: randomBytes(16).toString('hex') };

const anybody = (stage, kind) => (kind === 'admin' ? stage.admin : stage.person(kind));

async function startPair(stage, callerDialect, calleeDialect) {
  const [callerKind, calleeKind] = kindsOf(callerDialect, calleeDialect);
  return Promise.all([App.start(stage, callerDialect, anybody(stage, callerKind)), App.start(stage, calleeDialect, anybody(stage, calleeKind))]);
}

/** The caller rings the callee; returns what the two know of the call. */
async function ring(caller, callee, callType) {
  caller.initiate(callee.person, callType);
  const incoming = await callee.hear('incoming', (p) => p.callerId === caller.person.id && p.calleeId === callee.person.id);
  const begun = await caller.hear('begun', about(incoming.callId));
  return { incoming, begun, callId: incoming.callId, forCaller: { callId: incoming.callId, contactId: callee.person.id }, forCallee: { callId: incoming.callId, contactId: caller.person.id } };
}

onEveryStore((it) => {
  for (const callerDialect of DIALECTS) {
    for (const calleeDialect of DIALECTS) {
      it(`conformance 14: ${callerDialect.name} calls ${calleeDialect.name}, each hears its own spelling once`, async (stage) => {
        const [caller, callee] = await startPair(stage, callerDialect, calleeDialect);
        for (const [callType, ender] of [['voice', caller], ['video', callee]]) {
          const other = ender === caller ? callee : caller;
          const { incoming, begun, callId, forCaller, forCallee } = await ring(caller, callee, callType);
          callee.accept(forCallee);
          const accepted = await caller.hear('accepted', about(callId));
          callee.connected(forCallee);
          await caller.hear('connected', about(callId));
          await callee.client.settle();
          ender.end(ender === caller ? forCaller : forCallee, 2);
          const end = await other.hear('ended', about(callId));

          assert.deepEqual([incoming.status, accepted.status, end.status, end.reason, end.endReason], ['ringing', 'accepted', 'ended', 'completed', 'completed']);
          assert.deepEqual([accepted.contactId, end.contactId], [callee.person.id, ender.person.id]);
          assert.ok(end.duration <= 2, `${end.duration} s`);
          for (const seen of [begun, incoming, accepted].filter(Boolean)) {
            assert.deepEqual([seen.callId, seen.channelName, seen.callType], [callId, incoming.channelName, callType]);
            assert.deepEqual([seen.callerId, seen.callerType, seen.callerName], [caller.person.id, caller.person.kind, caller.person.name]);
            assert.deepEqual([seen.calleeId, seen.calleeType, seen.conversationId], [callee.person.id, callee.person.kind, keyOf(caller.person, callee.person)]);
            assert.deepEqual([seen.agoraAppId, seen.uid, seen.agoraUid, seen.timestamp], [env.AGORA_APP_ID, 0, 0, incoming.timestamp]);
          }
          await ender.client.settle();
          assert.deepEqual(await caller.heard(callId), caller.expected('begun', 'accepted', 'connected', ...(other === caller ? ['ended'] : [])));
          assert.deepEqual(await callee.heard(callId), callee.expected('incoming', ...(other === callee ? ['ended'] : [])));
        }
      });
    }
  }

  for (const dialect of DIALECTS) {
    it(`2.4: ${dialect.name} hears a rejection as caller and a cancellation as callee in its own spelling, once`, async (stage) => {
      const [caller, callee] = await startPair(stage, dialect, DIALECTS[0]);
      const first = await ring(caller, callee, 'voice');
      callee.reject(first.forCallee);
      assert.equal((await caller.hear('rejected', about(first.callId))).reason, 'declined');
      assert.deepEqual(await caller.heard(first.callId), caller.expected('begun', 'rejected'));
      assert.deepEqual(await callee.heard(first.callId), callee.expected('incoming'));

      const second = await ring(callee, caller, 'video');
      callee.end(second.forCaller, 0);
      const end = await caller.hear('ended', about(second.callId));
      assert.deepEqual([end.reason, end.endReason, end.status, end.duration], ['cancelled', 'cancelled', 'cancelled', 0]);
      assert.deepEqual(await caller.heard(second.callId), caller.expected('incoming', 'ended'));
      assert.deepEqual(await callee.heard(second.callId), callee.expected('begun'));
    });
  }

  it('2.4: what one socket hears, names and order: nobody hears what he did himself', async (stage) => {
    const { caller, callee, callId } = await talking(stage);
    await callee.ask('call:connected', { callId });
    await callee.ask('call:connected', { callId });
    await caller.next('call:connected', about(callId));
    await caller.ask('call:end', { callId });
    await ended(callee, callId);
    assert.deepEqual(await heardOf(caller, callId), ['call:initiated', 'call:token', 'call:accept', 'call:accepted', 'call:connected']);
    assert.deepEqual(await heardOf(callee, callId), ['call:incoming', 'call:end', 'call:ended']);
    assert.equal(callee.all('call:incoming')[0].callId, callId);
  });

  it('10.1 row 10: acks say what the call became; the status words are those of the events', async (stage) => {
    const { user, astrologer } = stage.pair();
    const caller = await stage.connect(user);
    const offline = await initiate(caller, astrologer);
    assert.deepEqual([offline.status, offline.uid, offline.agoraAppId], ['initiated', 0, env.AGORA_APP_ID]);
    assert.deepEqual(await caller.ask('call:end', { callId: offline.callId }), { ok: true, callId: offline.callId, status: 'cancelled' });
    const callee = await stage.connect(astrologer);
    const { callId, channelName, ...rang } = await initiate(caller, astrologer);
    assert.equal(rang.status, 'ringing');
    assert.notEqual(channelName, offline.channelName);
    const answer = await callee.ask('call:accept', { callId });
    assert.deepEqual([answer.callId, answer.status, answer.channelName, answer.uid], [callId, 'accepted', channelName, 0]);
    assert.deepEqual(await callee.ask('call:connected', { callId }), { ok: true, callId, status: 'connected' });
    assert.deepEqual(await caller.ask('call:end', { callId }), { ok: true, callId, status: 'ended' });
    for (const client of [caller, callee]) {
      for (const verb of ['call:connected', 'call:end']) assert.equal((await client.ask(verb, { callId })).status, 'ended');
    }
    assert.deepEqual(await callee.ask('call:reject', { callId }), { ok: true, callId, status: 'ended' });
    const next = (await initiate(caller, astrologer)).callId;
    assert.deepEqual(await callee.ask('call:reject', { callId: next }), { ok: true, callId: next, status: 'rejected' });
  });

  it('conformance 17: a second end changes nothing: one log, the first duration stays, nobody hears it', async (stage) => {
    const { user, astrologer, key, caller, callee, callId } = await talking(stage);
    await callee.ask('call:end', { callId, duration: 3 });
    assert.equal((await ended(caller, callId)).duration, 3);
    const first = await stored(stage, user, callId);
    for (const [client, fields] of [[caller, { duration: 5 }], [callee, { duration: 4, reason: 'network_error' }], [caller, {}]]) {
      assert.equal((await client.ask('call:end', { callId, ...fields })).status, 'ended');
    }
    await callee.ask('call:reject', { callId, reason: 'late' });
    // The log of a later call comes after whatever the repeats could have written.
    const next = (await initiate(caller, astrologer)).callId;
    await caller.ask('call:end', { callId: next });
    await logOf(callee, next);
    assert.deepEqual((await logsIn(caller, key, callId)).map((m) => m.callDuration), [3]);
    assert.deepEqual(await stored(stage, user, callId), first);
    assert.equal(first.duration, 3);
    assert.deepEqual(await heardOf(caller, callId), ['call:initiated', 'call:token', 'call:accept', 'call:accepted', 'call:end', 'call:ended']);
    assert.deepEqual(await heardOf(callee, callId), ['call:incoming']);
  });

  it('10.1 row 24: a duration that is no positive number, or beyond what the server measured, is replaced by the server’s', async (stage) => {
    const { astrologer, caller, callee, callId: first, ...call } = await ringing(stage);
    let callId = first;
    const counts = [[1, 1], [2.9, 2], ['3', 3], [4.0, 4]];
    const refused = [[0], [-5], [3_600], [86_401], [1e12], ['many'], [undefined]];
    for (const [said, expected] of [...counts, ...refused]) {
      await accept({ caller, callee, callId });
      await caller.ask('call:end', { callId, ...(said === undefined ? {} : { duration: said }) });
      const { duration } = await ended(callee, callId);
      const { serverDuration, ...kept } = await stored(stage, call.user, callId);
      assert.ok(serverDuration <= 2, `${serverDuration} s were measured`);
      assert.equal(duration, expected ?? serverDuration, `${said}`);
      assert.equal(kept.duration, duration);
      assert.equal((await logOf(callee, callId)).callDuration, duration);
      callId = (await initiate(caller, astrologer)).callId;
      await callee.next('call:incoming', about(callId));
    }
  });

  it('6.4: the call log is one message of the conversation, heard once by all sockets of both, never unread, and the last message', async (stage) => {
    const { user, astrologer, key, caller, callee, callId } = await talking(stage, { fields: { callType: 'video' } });
    const [callerTwo, calleeTwo] = await Promise.all([stage.connect(user), stage.connect(astrologer)]);
    await calleeTwo.join(key);
    await callee.ask('call:end', { callId, duration: 4 });
    const sockets = [caller, callee, callerTwo, calleeTwo];
    const [log, ...others] = await Promise.all(sockets.map((client) => logOf(client, callId)));
    for (const other of others) assert.deepEqual(other, log);
    assert.deepEqual([log.content, log.messageType, log.callType, log.callStatus, log.callDuration], ['Video call completed', 'call_log', 'video', 'completed', 4]);
    assert.deepEqual([log.senderId, log.senderType, log.senderName, log.recipientId, log.conversationId], [user.id, 'user', user.name, astrologer.id, key]);
    for (const client of sockets) assert.deepEqual(await client.copies(log._id), ['dm:message_received']);

    for (const person of [user, astrologer]) {
      const conversation = (await stage.rest(person, 'GET', `/api/conversations/${key}`)).data;
      assert.equal(conversation.unreadCount, 0);
      assert.deepEqual([conversation.lastMessage.messageId, conversation.lastMessage.messageType, conversation.lastMessageText], [log._id, 'call_log', 'Video call completed']);
      assert.deepEqual([conversation.lastMessageAt, conversation.lastMessageSenderId], [log.createdAt, user.id]);
    }
    assert.deepEqual((await callee.ask('dm:history', { conversationId: key })).messages.map((m) => m._id), [log._id]);
    assert.deepEqual((await callee.ask('dm:mark_read', { conversationId: key })).messageIds, [], 'there was nothing to read');
    await caller.never('dm:messages_read');
  });

  it('6.4: a log leaves the unread count of real messages alone', async (stage) => {
    const { user, astrologer, key, caller, callee, callId } = await ringing(stage);
    await caller.send(astrologer, 'are you there?', { conversationId: key });
    await caller.ask('call:end', { callId });
    const log = await logOf(callee, callId);
    assert.deepEqual([log.content, log.callStatus, log.callDuration], ['Voice call cancelled', 'cancelled', 0]);
    assert.equal((await stage.rest(astrologer, 'GET', `/api/conversations/${key}`)).data.unreadCount, 1);
    assert.equal((await stage.rest(user, 'GET', `/api/conversations/${key}`)).data.unreadCount, 0);
  });

  it('6.3: a reason reaches the caller as it was said; the stored word is always the same', async (stage) => {
    const { user, astrologer, caller, callee, callId: first } = await ringing(stage);
    let callId = first;
    for (const [fields, reason] of [[{}, 'declined'], [{ reason: 'rejected' }, 'rejected'], [{ endReason: 'in a meeting' }, 'in a meeting'], [{ reason: 'ü'.repeat(64) }, 'ü'.repeat(64)]]) {
      await callee.ask('call:reject', { callId, ...fields });
      const told = await rejected(caller, callId);
      assert.deepEqual([told.reason, told.contactId, told.status, told.code], [reason, astrologer.id, 'rejected', undefined]);
      const call = await stored(stage, user, callId);
      assert.deepEqual([call.status, call.state, call.endReason, call.endedBy, call.endedByType], ['rejected', 'rejected', 'rejected', astrologer.id, 'astrologer']);
      assert.deepEqual([call.duration, call.serverDuration, call.answeredAt], [0, 0, undefined]);
      assert.deepEqual([(await logOf(caller, callId)).content, (await logOf(callee, callId)).callStatus], ['Voice call declined', 'declined']);
      callId = (await initiate(caller, astrologer)).callId;
      await callee.next('call:incoming', about(callId));
    }
    // The callee may also end what rings.
    await callee.ask('call:end', { callId, reason: 'declined', duration: 7 });
    assert.equal((await rejected(caller, callId)).reason, 'declined');
    assert.equal((await logOf(callee, callId)).callStatus, 'declined');
    assert.equal((await stored(stage, user, callId)).duration, 0);
  });

  it('10.1 row 8: the caller cancels: told to every socket of the callee, stored as ended and cancelled', async (stage) => {
    const { user, astrologer, caller, callee, callId } = await ringing(stage);
    const second = await stage.connect(astrologer);
    await second.next('call:incoming', about(callId));
    // What the dashboard says here, in the word of the call as it is (6.3).
    await caller.ask('call:end', { callId, reason: 'completed', duration: 9 });
    for (const client of [callee, second]) {
      const end = await ended(client, callId);
      assert.deepEqual([end.contactId, end.duration, end.reason, end.endReason, end.status], [user.id, 0, 'cancelled', 'cancelled', 'cancelled']);
    }
    const call = await stored(stage, astrologer, callId);
    assert.deepEqual([call.status, call.state, call.endReason, call.endDetail, call.endedBy], ['ended', 'cancelled', 'cancelled', 'caller_cancelled', user.id]);
    await callee.refused('CALL_NOT_RINGING', 'call:accept', { callId });
    assert.deepEqual(await heardOf(caller, callId), ['call:initiated', 'call:token']);
  });

  it('6.3: a hang-up may blame the network, and every other reason means completed', async (stage) => {
    const { user, astrologer, caller, callee, callId: first } = await ringing(stage);
    let callId = first;
    for (const [reason, endReason] of [['network_error', 'network_error'], ['completed', 'completed'], ['battery empty', 'completed']]) {
      await accept({ caller, callee, callId });
      await caller.ask('call:end', { callId, reason });
      const end = await ended(callee, callId);
      assert.deepEqual([end.reason, end.endReason, end.status], [reason, endReason, 'ended']);
      const call = await stored(stage, user, callId);
      assert.deepEqual([call.status, call.endReason], ['ended', endReason]);
      assert.equal((await logOf(callee, callId)).callStatus, 'completed');
      callId = (await initiate(caller, astrologer)).callId;
      await callee.next('call:incoming', about(callId));
    }
  });

  it('Call states: the reason of a hang-up is stored as the nearest word', async (stage) => {
    const { user, caller, callee, callId } = await talking(stage);
    await caller.ask('call:end', { callId, reason: 'battery empty' });
    await ended(callee, callId);
    assert.equal((await stored(stage, user, callId)).endDetail, 'completed');
  });

  it('7.11: who may not write may not call, and no one calls himself; nothing rings', async (stage) => {
    const { user, astrologer } = stage.pair();
    const [caller, expert, admin] = await Promise.all([stage.connect(user), stage.connect(astrologer), stage.connect(stage.admin)]);
    const ask = (client, code, person) => client.refused(code, 'call:initiate', { recipientId: person.id, recipientType: person.kind, callType: 'voice', callerId: 'admin', callerType: 'admin' });
    await ask(caller, 'FORBIDDEN', stage.person('user'));
    await ask(expert, 'FORBIDDEN', stage.person('astrologer'));
    await ask(caller, 'SELF_CONVERSATION_BLOCKED', user);
    await ask(admin, 'SELF_CONVERSATION_BLOCKED', stage.admin);
    for (const client of [caller, expert]) await client.never('call:incoming');
    const { callId } = await caller.ask('call:initiate', { calleeType: 'admin', callType: 'voice' });
    assert.equal((await admin.next('call:incoming', about(callId))).calleeId, 'admin');
    assert.equal((await stored(stage, user, callId)).consultationId, undefined);
    const consultationId = hexId();
    const linked = await initiate(expert, user, { consultationId });
    assert.equal((await stored(stage, user, linked.callId)).consultationId, consultationId);
  });
}, { env, concurrency: 8 });
