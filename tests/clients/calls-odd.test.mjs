// What clients call things, and what they get wrong. Contract: "Calls"; 2.3, 7.1, 7.9; 10.1 row 17.
import assert from 'node:assert/strict';
import { hexId, onEveryStore } from './support/stage.mjs';
import { about, accept, both, ended, heardOf, initiate, rejected, ringing, stored, talking, to } from './support/calls.mjs';

const DART = { headers: { 'User-Agent': 'Dart/3.0 (dart:io)' } };
const VERBS = ['call:accept', 'call:reject', 'call:connected', 'call:end', 'call:token'];

onEveryStore((it) => {
  it('conformance 18: a bare call with a reason rejects what rings, and hangs up what the same socket answered', async (stage) => {
    const { user, astrologer, caller, callee, callId } = await ringing(stage, { calleeOptions: DART });
    callee.socket.emit('call', { callId, contactId: user.id, reason: 'declined' });
    assert.equal((await rejected(caller, callId)).reason, 'declined');
    const { callId: next } = await initiate(caller, astrologer);
    await accept({ caller, callee, callId: next });
    callee.socket.emit('call', { callId: next, contactId: user.id, reason: 'rejected' });
    assert.equal((await ended(caller, next)).reason, 'rejected');
  });

  it('conformance 18: a bare call with a duration ends', async (stage) => {
    const { user, caller, callee, callId } = await talking(stage, { calleeOptions: DART });
    callee.socket.emit('call', { callId, contactId: user.id, duration: 3 });
    const end = await ended(caller, callId);
    assert.deepEqual([end.duration, end.reason, end.status], [3, 'completed', 'ended']);
  });

  it('conformance 18: bare calls with neither, flushed one after the other, accept and then connect', async (stage) => {
    const { user, caller, callee, callId } = await ringing(stage, { calleeOptions: DART });
    for (let i = 0; i < 2; i += 1) callee.socket.emit('call', { callId, contactId: user.id });
    await both(caller, 'call:accept', 'call:accepted', callId);
    await caller.next('call:connected', about(callId));
    assert.equal((await stored(stage, user, callId)).status, 'ongoing');
    assert.deepEqual(await heardOf(callee, callId), ['call:incoming']);
  });

  it('conformance 18: a bare call about what is over answers with the end, to that socket alone', async (stage) => {
    const { user, astrologer, caller, callee, callId } = await ringing(stage, { calleeOptions: DART });
    await caller.ask('call:end', { callId });
    await ended(callee, callId);
    const second = await stage.connect(astrologer, DART);
    assert.equal((await second.ask('call', { callId, contactId: user.id })).ok, true);
    const end = await ended(second, callId);
    assert.deepEqual([end.status, end.contactId, end.duration], ['cancelled', user.id, 0]);
    assert.deepEqual(await heardOf(second, callId), ['call:end', 'call:ended']);
    assert.deepEqual(await heardOf(callee, callId), ['call:incoming', 'call:end', 'call:ended']);
    assert.equal((await stored(stage, user, callId)).state, 'cancelled');
  });

  it('conformance 18: a bare call of a stranger, or about an unknown call, is ignored and acknowledged', async (stage) => {
    const { user, caller, callee, callId } = await ringing(stage);
    const stranger = await stage.connect(stage.person('astrologer'), DART);
    for (const fields of [{}, { reason: 'declined' }, { duration: 3 }]) {
      for (const id of [callId, hexId()]) assert.equal((await stranger.ask('call', { callId: id, contactId: user.id, ...fields })).ok, true);
    }
    assert.deepEqual(stranger.heard.map((e) => e.event), ['connected']);
    assert.deepEqual(await heardOf(caller, callId), ['call:initiated', 'call:token']);
    assert.deepEqual(await heardOf(callee, callId), ['call:incoming']);
  });

  it('Calls: connected from the callee answers what rings; from the caller it does not', async (stage) => {
    const { user, caller, callee, callId } = await ringing(stage);
    await caller.emitAck('call:connected', { callId });
    assert.equal((await stored(stage, user, callId)).status, 'ringing');
    assert.deepEqual(await heardOf(callee, callId), ['call:incoming']);
    await callee.ask('call:connected', { callId });
    const accepted = await both(caller, 'call:accept', 'call:accepted', callId);
    assert.equal(accepted.status, 'accepted');
    assert.ok(['answered', 'ongoing'].includes((await stored(stage, user, callId)).status));
    await callee.ask('call:reject', { callId });
    assert.equal((await ended(caller, callId)).status, 'ended');
  });

  it('7.1: the past forms are taken from clients too, and the id may be called _id or id', async (stage) => {
    const { user, astrologer, caller, callee, callId } = await ringing(stage);
    assert.equal((await callee.ask('call:accepted', { _id: callId })).status, 'accepted');
    await both(caller, 'call:accept', 'call:accepted', callId);
    assert.equal((await callee.ask('call:connected', { id: callId })).status, 'connected');
    assert.equal((await caller.ask('call:token', { _id: callId })).callId, callId);
    assert.equal((await caller.ask('call:ended', { id: callId, callId: null })).status, 'ended');
    await ended(callee, callId);
    const { callId: next } = await initiate(caller, astrologer);
    assert.equal((await callee.ask('call:rejected', { callId: next, endReason: 'later' })).status, 'rejected');
    assert.equal((await rejected(caller, next)).reason, 'later');
    const { callId: third } = await initiate(caller, astrologer);
    await callee.ask('call', { id: third, contactId: user.id });
    await both(caller, 'call:accept', 'call:accepted', third);
  });

  it('7.1: audio is voice; the callee has two names, which may agree; an admin needs no id', async (stage) => {
    const { user, astrologer } = stage.pair();
    const [caller, callee] = await Promise.all([stage.connect(user), stage.connect(astrologer)]);
    const recipient = { recipientId: astrologer.id, recipientType: 'astrologer' };
    for (const [fields, callType] of [[{ ...recipient, callType: 'audio' }, 'voice'], [{ ...to(astrologer), ...recipient, callType: 'video' }, 'video']]) {
      const { callId } = await caller.ask('call:initiate', fields);
      assert.equal((await callee.next('call:incoming', about(callId))).callType, callType);
    }
    for (const fields of [{ recipientType: 'admin' }, { calleeType: 'admin', calleeId: null }]) {
      const { callId } = await caller.ask('call:initiate', { ...fields, callType: 'voice' });
      assert.equal((await stored(stage, user, callId)).calleeId, 'admin');
    }
  });

  it('Calls: a wrong call:initiate is refused with its code and rings nobody', async (stage) => {
    const { user, astrologer } = stage.pair();
    const [caller, callee] = await Promise.all([stage.connect(user), stage.connect(astrologer)]);
    const good = { ...to(astrologer), callType: 'voice' };
    for (const [code, fields] of [
      ['INVALID_PAYLOAD', { ...good, callType: undefined }],
      ['INVALID_PAYLOAD', { ...good, callType: 'hologram' }],
      ['INVALID_PAYLOAD', { ...good, callType: 7 }],
      ['INVALID_PAYLOAD', { callType: 'voice' }],
      ['INVALID_PAYLOAD', { ...good, calleeId: undefined }],
      ['INVALID_PAYLOAD', { ...good, calleeType: undefined }],
      ['INVALID_PAYLOAD', { ...good, calleeType: 'robot' }],
      ['INVALID_PAYLOAD', { ...good, calleeId: 12 }],
      ['INVALID_PAYLOAD', { ...good, calleeId: { $ne: null } }],
      ['INVALID_PAYLOAD', { ...good, recipientId: hexId() }],
      ['INVALID_PAYLOAD', { ...good, recipientType: 'user' }],
      ['INVALID_PAYLOAD', { ...good, consultationId: 5 }],
      ['INVALID_ID', { ...good, consultationId: 'not-hex' }],
      ['INVALID_ID', { ...good, calleeId: 'a.b' }],
      ['INVALID_ID', { ...good, calleeId: 'x'.repeat(65) }],
    ]) await caller.refused(code, 'call:initiate', fields);
    await callee.never('call:incoming');
    assert.deepEqual((await stage.rest(user, 'GET', '/api/calls/active')).data, []);
    assert.equal((await initiate(caller, astrologer)).status, 'ringing');
  });

  for (const event of ['call:initiate', ...VERBS, 'call']) {
    it(`7.1: ${event} with a payload that cannot be read is refused, as error and call:error, and the socket lives on`, async (stage) => {
      const client = await stage.connect(stage.person('user'));
      const unreadable = [[], ['text'], [42], [true], [null], [[{ callId: hexId() }]], [Buffer.from([1, 2])]];
      const wrong = event === 'call:initiate' ? [] : [[{}], [{ callId: '' }], [{ callId: 5 }], [{ callId: { $ne: null } }], [{ callId: [] }]];
      for (const args of [...unreadable, ...wrong]) await client.refused('INVALID_PAYLOAD', event, ...args);
      if (event !== 'call:initiate') for (const callId of ['x', 'z'.repeat(24), hexId().slice(1), `${hexId()}0`, '../../etc']) await client.refused('INVALID_ID', event, { callId });
      // The same without an ack.
      const before = client.heard.length;
      client.socket.emit(event, 'text');
      await client.settle();
      assert.deepEqual(client.heard.slice(before).map((e) => e.event), ['error', 'call:error']);
      assert.ok(client.socket.connected);
    });
  }

  it('7.1: a reason is text of at most 64 characters; a duration of a wrong kind is no reason to keep a call', async (stage) => {
    const { user, caller, callee, callId } = await talking(stage);
    for (const event of ['call:end', 'call:reject']) {
      for (const reason of ['x'.repeat(65), 7, { a: 1 }]) await callee.refused('INVALID_PAYLOAD', event, { callId, reason });
    }
    assert.equal((await stored(stage, user, callId)).status, 'answered');
    await caller.ask('call:end', { callId, duration: -1 });
    await ended(callee, callId);
  });

  it('Calls: strangers, and admins who take no part, get CALL_NOT_FOUND, as for a call that never was', async (stage) => {
    const { user, caller, callee, callId } = await talking(stage);
    const sameId = await stage.connect(stage.person('astrologer', { id: user.id }));
    const [stranger, admin] = await Promise.all([stage.connect(stage.person('astrologer')), stage.connect(stage.admin)]);
    for (const client of [stranger, admin, sameId]) {
      for (const event of VERBS) {
        const [foreign, unknown] = [await client.refused('CALL_NOT_FOUND', event, { callId }), await client.refused('CALL_NOT_FOUND', event, { callId: hexId() })];
        assert.equal(foreign.message.replaceAll(callId, ''), unknown.message.replace(/[0-9a-f]{24}/g, ''));
      }
    }
    assert.equal((await stored(stage, user, callId)).status, 'answered');
    assert.equal((await heardOf(caller, callId)).length, 4);
    assert.deepEqual(await heardOf(callee, callId), ['call:incoming']);
  });
}, { concurrency: 8 });
