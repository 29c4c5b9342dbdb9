// The same calls by HTTP. Contract: "Calls by REST"; 5.1, 7.11; 10.1 rows 24, 27.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { hexId, keyOf, onEveryStore } from './support/stage.mjs';
import { read007 } from './support/agora.mjs';
import { about, accept, ended, initiate, logOf, rejected, ringing, talking, to } from './support/calls.mjs';
import { callFaults, textFaults, tokenFaults } from './support/shapes.mjs';

const agora = { appId: randomBytes(16).toString('hex'), certificate: randomBytes(16).toString('hex') };
const env = { AGORA_APP_ID: agora.appId, AGORA_APP_CERTIFICATE: agora.certificate };

const ids = (calls) => calls.map((call) => call.callId);

/** A request about calls that must succeed; what comes back must be right in every field. */
async function ask(stage, person, method, path, body, { status = 200, media = false } = {}) {
  const answer = await stage.rest(person, method, path, body);
  assert.equal(answer.status, status, JSON.stringify(answer.body));
  assert.deepEqual([answer.data].flat().flatMap((call) => callFaults(call, { media })), []);
  assert.deepEqual(textFaults(JSON.stringify(answer.body)), []);
  return answer;
}
const show = async (stage, person, callId) => (await ask(stage, person, 'GET', `/api/calls/${callId}`)).data;
const begin = async (stage, person, body, path = '/api/calls/initiate') => (await ask(stage, person, 'POST', path, body, { status: 201, media: true })).data;

/** A request that must fail with this status and code. */
async function refuse(stage, person, method, path, body, status, code) {
  const answer = await stage.rest(person, method, path, body);
  assert.deepEqual([answer.status, answer.body.code], [status, code], `${person?.kind} ${method} ${path} ${JSON.stringify(body)}`);
  return answer.body;
}

onEveryStore((it) => {
  it('5.1: a call begun by REST rings the callee’s sockets, and lives without a socket of the caller', async (stage) => {
    const { user, astrologer, key } = stage.pair();
    const callee = await stage.connect(astrologer);
    const consultationId = hexId();
    const call = await begin(stage, user, { ...to(astrologer), callType: 'video', consultationId, conversationId: key, channelName: 'mine' });
    const incoming = await callee.next('call:incoming', about(call.callId));
    assert.deepEqual([incoming.channelName, incoming.callType, incoming.callerId, incoming.callerName], [call.channelName, 'video', user.id, user.name]);
    assert.deepEqual([call.status, call.state, call.consultationId, call.conversationId], ['ringing', 'ringing', consultationId, key]);
    assert.deepEqual([call.callerId, call.calleeId, call.calleeType, call.uid, call.agoraAppId], [user.id, astrologer.id, 'astrologer', 0, agora.appId]);
    assert.deepEqual([call.duration, call.serverDuration, call.answeredAt, call.endedAt, call.endReason], [0, 0, undefined, undefined, undefined]);
    assert.equal(read007(call.agoraToken, agora).channel, call.channelName);
    await callee.ask('call:accept', { callId: call.callId });
    const answered = await show(stage, user, call.callId);
    assert.deepEqual([answered.status, answered.state], ['answered', 'accepted']);
    assert.ok(answered.answeredAt >= answered.ringingAt && answered.ringingAt >= answered.initiatedAt);
    await callee.ask('call:connected', { callId: call.callId });
    const ongoing = await show(stage, user, call.callId);
    assert.deepEqual([ongoing.status, ongoing.state], ['ongoing', 'connected']);
    assert.ok(ongoing.connectedAt >= ongoing.answeredAt);
    const over = (await ask(stage, user, 'POST', `/api/calls/${call.callId}/end`, { duration: 2, reason: 'done' })).data;
    assert.deepEqual([over.status, over.state, over.duration, over.endReason, over.endedBy, over.endedByType], ['ended', 'ended', 2, 'completed', user.id, 'user']);
    const end = await ended(callee, call.callId);
    assert.deepEqual([end.duration, end.reason, end.contactId], [2, 'done', user.id]);
    assert.deepEqual(await show(stage, astrologer, call.callId), over);
  });

  it('5.1: with nobody there it is initiated; the callee who connects is rung; the answer reaches a socket the caller opens later', async (stage) => {
    const { user, astrologer } = stage.pair();
    const call = await begin(stage, user, { recipientId: astrologer.id, recipientType: 'astrologer', callType: 'audio' });
    assert.deepEqual([call.status, call.callType, call.ringingAt], ['initiated', 'voice', undefined]);
    const [callee, caller] = await Promise.all([stage.connect(astrologer), stage.connect(user)]);
    await callee.next('call:incoming', about(call.callId));
    await accept({ caller, callee, callId: call.callId });
    await caller.never('call:initiated');
  });

  it('conformance 21: a busy callee is no failure of the request: the call is there, rejected', async (stage) => {
    const { astrologer } = await talking(stage);
    const call = await begin(stage, stage.person('user'), { ...to(astrologer), callType: 'voice' });
    assert.deepEqual([call.status, call.endReason, call.endDetail], ['rejected', 'rejected', 'busy']);
  });

  it('7.11: initiating by REST keeps to the same rules, with the same codes', async (stage) => {
    const { user, astrologer } = stage.pair();
    const good = { ...to(astrologer), callType: 'voice' };
    for (const [person, body, status, code] of [
      [user, { ...to(stage.person('user')), callType: 'voice' }, 403, 'FORBIDDEN'],
      [astrologer, { ...to(stage.person('astrologer')), callType: 'voice' }, 403, 'FORBIDDEN'],
      [user, { ...to(user), callType: 'voice' }, 400, 'SELF_CONVERSATION_BLOCKED'],
      [user, {}, 400, 'INVALID_PAYLOAD'],
      [user, '[]', 400, 'INVALID_PAYLOAD'],
      [user, '{', 400, 'INVALID_PAYLOAD'],
      [user, { ...good, callType: 'hologram' }, 400, 'INVALID_PAYLOAD'],
      [user, { ...good, recipientId: hexId() }, 400, 'INVALID_PAYLOAD'],
      [user, { ...good, calleeId: 'a.b' }, 400, 'INVALID_ID'],
      [user, { ...good, consultationId: 'x' }, 400, 'INVALID_ID'],
      [undefined, good, 401, 'auth.missing'],
    ]) await refuse(stage, person, 'POST', '/api/calls/initiate', body, status, code);
    assert.deepEqual((await ask(stage, user, 'GET', '/api/calls/history')).data, []);
  });

  it('5.1: admins have a route where the astrologer’s id is enough; nobody else may use it', async (stage) => {
    const astrologer = stage.person('astrologer');
    const callee = await stage.connect(astrologer);
    const path = '/api/admin/calls/initiate';
    for (const body of [{ astrologerId: astrologer.id }, { calleeId: astrologer.id, calleeType: 'astrologer' }, { recipientId: astrologer.id, recipientType: 'astrologer' }]) {
      const call = await begin(stage, stage.admin, { ...body, callType: 'voice' }, path);
      const incoming = await callee.next('call:incoming', about(call.callId));
      assert.deepEqual([incoming.callerId, incoming.callerType, incoming.calleeType, incoming.conversationId], ['admin', 'admin', 'astrologer', keyOf(stage.admin, astrologer)]);
    }
    const user = stage.person('user');
    await begin(stage, stage.admin, { ...to(user), callType: 'voice' }, path);
    for (const person of [user, astrologer]) await refuse(stage, person, 'POST', path, { astrologerId: hexId(), callType: 'voice' }, 403, 'FORBIDDEN');
    await refuse(stage, stage.admin, 'POST', path, { callType: 'voice' }, 400, 'INVALID_PAYLOAD');
  });

  it('7.1: astrologerId is a third name of the callee on the admin route: if it disagrees with another, nobody is rung', async (stage) => {
    const astrologer = stage.person('astrologer');
    const body = { astrologerId: astrologer.id, calleeId: hexId(), calleeType: 'astrologer', callType: 'voice' };
    await refuse(stage, stage.admin, 'POST', '/api/admin/calls/initiate', body, 400, 'INVALID_PAYLOAD');
    assert.deepEqual((await ask(stage, astrologer, 'GET', '/api/calls/active')).data, []);
  });

  it('10.1 row 27: an admin token is for the call that is named, or for a fresh channel of the server, never for a name of the client', async (stage) => {
    const path = '/api/calls/admin/token';
    const token = async (body) => {
      const { status, data } = await stage.rest(stage.admin, 'POST', path, body);
      assert.equal(status, 200);
      assert.deepEqual(tokenFaults(data), []);
      assert.equal(read007(data.agoraToken, agora).channel, data.channelName);
      return data.channelName;
    };
    const astrologer = stage.person('astrologer');
    const call = await begin(stage, stage.admin, { astrologerId: astrologer.id, callType: 'voice' }, '/api/admin/calls/initiate');
    assert.equal(await token({ callId: call.callId, channelName: 'mine' }), call.channelName);
    const fresh = [await token({}), await token({ channelName: call.channelName }), await token({ astrologerId: astrologer.id, callType: 'voice' })];
    assert.equal(new Set([call.channelName, ...fresh]).size, 4, `${fresh}`);
    const { user } = stage.pair();
    for (const person of [user, astrologer]) await refuse(stage, person, 'POST', path, { callId: call.callId }, 403, 'FORBIDDEN');
    await refuse(stage, stage.admin, 'POST', path, { callId: hexId() }, 404, 'CALL_NOT_FOUND');
    await refuse(stage, stage.admin, 'POST', path, { callId: 'x' }, 400, 'INVALID_ID');
  });

  it('conformance 24: a party renews the token while the call is not over, others do not', async (stage) => {
    const { user, astrologer, caller, callId, channelName } = await ringing(stage);
    for (const person of [user, astrologer]) {
      const { status, data } = await stage.rest(person, 'POST', `/api/calls/${callId}/token`, { channelName: 'mine' });
      assert.equal(status, 200);
      assert.deepEqual(tokenFaults(data), []);
      assert.deepEqual([data.channelName, read007(data.agoraToken, agora).channel], [channelName, channelName]);
    }
    await refuse(stage, stage.person('user'), 'POST', `/api/calls/${callId}/token`, undefined, 404, 'CALL_NOT_FOUND');
    await refuse(stage, stage.admin, 'POST', `/api/calls/${callId}/token`, undefined, 404, 'CALL_NOT_FOUND');
    await caller.ask('call:end', { callId });
    const over = await stage.rest(user, 'POST', `/api/calls/${callId}/token`);
    assert.equal(over.body.code, 'CALL_OVER');
    assert.ok(over.status >= 400 && over.status < 500, `${over.status}`);
  });

  it('Calls by REST: ending follows the socket’s rules: cancel, reject, hang up, and nothing twice', async (stage) => {
    const { user, astrologer, caller, callee, callId } = await ringing(stage);
    const end = async (person, id, body = {}) => (await ask(stage, person, 'POST', `/api/calls/${id}/end`, body)).data;
    const cancelled = await end(user, callId, { duration: 9 });
    assert.deepEqual([cancelled.status, cancelled.state, cancelled.endReason, cancelled.duration], ['ended', 'cancelled', 'cancelled', 0]);
    assert.equal((await ended(callee, callId)).reason, 'cancelled');
    assert.deepEqual(await end(astrologer, callId, { duration: 9, reason: 'late' }), cancelled);
    const { callId: second } = await initiate(caller, astrologer);
    const rejection = await end(astrologer, second, { reason: 'declined' });
    assert.deepEqual([rejection.status, rejection.endReason, rejection.endedBy], ['rejected', 'rejected', astrologer.id]);
    assert.equal((await rejected(caller, second)).reason, 'declined');
    const { callId: third } = await initiate(caller, astrologer);
    await accept({ caller, callee, callId: third });
    const done = await end(astrologer, third);
    assert.deepEqual([done.status, done.endReason, done.duration], ['ended', 'completed', done.serverDuration]);
    assert.equal((await ended(caller, third)).contactId, astrologer.id);
    assert.equal((await logOf(callee, third)).callStatus, 'completed');
  });

  it('Calls by REST: strangers get the same 404 as for a call that never was; an admin may look but not act', async (stage) => {
    const { user, callId } = await ringing(stage);
    const stranger = stage.person('astrologer');
    for (const [method, suffix, body] of [['GET', ''], ['POST', '/end', {}], ['POST', '/token'], ['POST', '/feedback', { rating: 5 }]]) {
      const [foreign, unknown] = [callId, hexId()].map((id) => refuse(stage, stranger, method, `/api/calls/${id}${suffix}`, body, 404, 'CALL_NOT_FOUND'));
      assert.deepEqual(await foreign, await unknown);
      await refuse(stage, stranger, method, `/api/calls/not-hex${suffix}`, body, 400, 'INVALID_ID');
      await refuse(stage, undefined, method, `/api/calls/${callId}${suffix}`, body, 401, 'auth.missing');
      if (method === 'POST') await refuse(stage, stage.admin, method, `/api/calls/${callId}${suffix}`, body, 404, 'CALL_NOT_FOUND');
    }
    assert.equal((await show(stage, stage.admin, callId)).state, 'ringing');
    assert.equal((await show(stage, user, callId)).state, 'ringing');
  });

  it('Calls by REST: history is one’s own calls, newest first, by page and by cursor, filtered by kind and status', async (stage) => {
    const { user, astrologer } = stage.pair();
    const [caller, callee] = await Promise.all([stage.connect(user), stage.connect(astrologer)]);
    const made = [];
    const call = async (callType, finish) => {
      const { callId } = await initiate(caller, astrologer, { callType });
      await finish(callId);
      made.unshift(callId);
    };
    const cancel = (callId) => caller.ask('call:end', { callId });
    const reject = (callId) => callee.ask('call:reject', { callId });
    const complete = async (callId) => {
      await accept({ caller, callee, callId });
      await caller.ask('call:end', { callId });
    };
    for (const [kind, finish] of [['voice', cancel], ['video', reject], ['voice', complete], ['video', complete], ['voice', reject], ['voice', complete], ['video', cancel]]) await call(kind, finish);
    const page = async (query, person = user) => (await ask(stage, person, 'GET', `/api/calls/history?${query}`)).body;

    for (const person of [user, astrologer]) assert.deepEqual(ids((await page('', person)).data), made);
    const whole = await page('');
    assert.deepEqual(whole.pagination, { page: 1, limit: 50, total: 7, pages: 1, hasMore: false });
    assert.deepEqual(whole.data[0], await show(stage, user, made[0]));
    for (const [n, from, to_, hasMore] of [[1, 0, 3, true], [2, 3, 6, true], [3, 6, 7, false], [4, 7, 7, false]]) {
      const { data, pagination } = await page(`page=${n}&limit=3`);
      assert.deepEqual(ids(data), made.slice(from, to_), `page ${n}`);
      assert.deepEqual(pagination, { page: n, limit: 3, total: 7, pages: 3, hasMore });
    }
    const older = await page(`before=${made[2]}&limit=3`);
    assert.deepEqual([ids(older.data), older.pagination.hasMore], [made.slice(3, 6), true]);
    assert.equal((await page(`before=${made[3]}&limit=3`)).pagination.hasMore, false);
    assert.equal((await page('limit=1000')).pagination.limit, 100);

    assert.deepEqual(ids((await page('callType=video')).data), [made[0], made[3], made[5]]);
    const rejections = await page('status=rejected');
    assert.deepEqual([ids(rejections.data), rejections.pagination.total], [[made[2], made[5]], 2]);
    assert.deepEqual(ids((await page('callType=voice&status=rejected')).data), [made[2]]);
    assert.deepEqual(ids((await page('status=ended&limit=2')).data), [made[0], made[1]], 'cancelled ones are stored as ended');
    assert.deepEqual(ids((await page(`status=rejected&before=${made[2]}`)).data), [made[5]]);
    for (const [query, status, code] of [
      ['page=0', 400, 'INVALID_PAYLOAD'], ['limit=x', 400, 'INVALID_PAYLOAD'], ['callType=hologram', 400, 'INVALID_PAYLOAD'], ['status=lost', 400, 'INVALID_PAYLOAD'],
      ['before=x', 400, 'INVALID_ID'], [`before=${hexId()}`, 404, 'CALL_NOT_FOUND'],
    ]) await refuse(stage, user, 'GET', `/api/calls/history?${query}`, undefined, status, code);
    assert.deepEqual((await page('', stage.person('user'))).data, []);
    await refuse(stage, undefined, 'GET', '/api/calls/history', undefined, 401, 'auth.missing');
  });

  it('Calls by REST: active are one’s own calls that are not over', async (stage) => {
    const { user, astrologer, caller, callee, callId } = await ringing(stage);
    const active = async (person) => ids((await ask(stage, person, 'GET', '/api/calls/active')).data);
    for (const person of [user, astrologer]) assert.deepEqual(await active(person), [callId]);
    await accept({ caller, callee, callId });
    const { callId: second } = await initiate(caller, stage.admin);
    assert.deepEqual((await active(user)).sort(), [callId, second].sort());
    assert.deepEqual(await active(astrologer), [callId]);
    assert.ok((await active(stage.admin)).includes(second));
    await callee.ask('call:end', { callId });
    assert.deepEqual(await active(user), [second]);
    await caller.ask('call:end', { callId: second });
    for (const person of [user, astrologer]) assert.deepEqual(await active(person), []);
  });

  it('Calls by REST: feedback once per call, by a party, when it is over', async (stage) => {
    const { user, astrologer, caller, callId } = await talking(stage);
    const path = `/api/calls/${callId}/feedback`;
    const early = await stage.rest(user, 'POST', path, { rating: 5 });
    assert.ok(early.status >= 400 && early.status < 500, `${early.status}: the call is not over`);
    await caller.ask('call:end', { callId });
    const bad = [{}, { rating: 0 }, { rating: 6 }, { rating: 4.5 }, { rating: 'good' }, { comment: 'no rating' }, { rating: 5, comment: 7 }];
    for (const body of bad) await refuse(stage, user, 'POST', path, body, 400, 'INVALID_PAYLOAD');
    const long = await stage.rest(user, 'POST', path, { rating: 5, comment: 'x'.repeat(1_001) });
    assert.ok([400, 413].includes(long.status), `${long.status}`);
    assert.equal((await show(stage, user, callId)).rating, undefined);
    const comment = 'ü'.repeat(1_000);
    const { data } = await ask(stage, user, 'POST', path, { rating: 4, comment });
    assert.deepEqual([data.callId, data.rating, data.feedback], [callId, 4, comment]);
    for (const person of [user, astrologer]) await refuse(stage, person, 'POST', path, { rating: 1 }, 409, 'CONFLICT');
    const shown = await show(stage, astrologer, callId);
    assert.deepEqual([shown.rating, shown.feedback], [4, comment]);
  });
}, { env, concurrency: 8 });
