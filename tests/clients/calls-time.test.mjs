// What time does to calls: nobody answers, the server dies, people vanish and come back. Contract: "Calls"; 6.3; 10.1 rows 8, 26.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { onEveryStore } from './support/stage.mjs';
import { about, accept, ended, heardOf, initiate, logOf, logsIn, logsSoon, missed, rejected, ringing, stored, talking, to, vanish } from './support/calls.mjs';

const RING_MS = 2_000;
/** Long enough for a server to die and come back meanwhile, on a slow machine too. */
const RESTART_RING_MS = 12_000;
/** Over while the server is away. */
const CRASH_RING_MS = 4_000;
/** How late the server may notice a deadline: it looks at all of them at least this often. */
const SWEEP_MS = 5_000;
const GONE_MS = 20_000;

const callerHears = ['call:initiated', 'call:token', 'call:missed', 'call:end'];
const calleeHears = ['call:incoming', 'call:missed', 'call:end'];
const until = (moment) => new Promise((resolve) => setTimeout(resolve, moment - Date.now()));

function checkMissed(call) {
  assert.deepEqual([call.status, call.state, call.endReason, call.endDetail], ['missed', 'missed', 'no_answer', 'timeout']);
  assert.deepEqual([call.duration, call.serverDuration, call.answeredAt, call.endedBy], [0, 0, undefined, undefined]);
  const rang = Date.parse(call.endedAt) - Date.parse(call.initiatedAt);
  assert.ok(rang >= RING_MS && rang <= RING_MS + SWEEP_MS, `it rang for ${rang} ms`);
}

/** Four calls that ring, with clients that come back by themselves, and the moment the last of them will be over. */
async function fourCalls(stage, ringMs) {
  const options = { callerOptions: { reconnect: true }, calleeOptions: { reconnect: true } };
  const calls = await Promise.all(Array.from({ length: 4 }, () => ringing(stage, options)));
  const begun = await Promise.all(calls.map(async ({ user, callId }) => Date.parse((await stored(stage, user, callId)).initiatedAt)));
  return { calls, deadline: Math.max(...begun) + ringMs };
}

/** All were missed: told to both sides, kept, and with one log each. */
async function allMissed(stage, calls, deadline) {
  await Promise.all(calls.flatMap(({ caller, callee, callId }) => [caller, callee].map((client) => missed(client, callId, 15_000))));
  assert.ok(Date.now() <= deadline + SWEEP_MS + 500, `told ${Date.now() - deadline} ms after the deadline`);
  for (const { user, key, caller, callee, callId } of calls) {
    const call = await stored(stage, user, callId);
    assert.deepEqual([call.status, call.endReason], ['missed', 'no_answer']);
    for (const client of [caller, callee]) assert.deepEqual(client.all('call:ended', about(callId)), []);
    await callee.refused('CALL_NOT_RINGING', 'call:accept', { callId });
    assert.deepEqual((await logsSoon(caller, key, callId)).map((m) => m.callStatus), ['missed']);
  }
  for (const { key, caller, callId } of calls) assert.equal((await logsIn(caller, key, callId)).length, 1, 'still one');
}

const backAgain = (calls) => Promise.all(calls.flatMap(({ caller, callee }) => [caller, callee].map((client) => client.next('connected', () => true, 20_000))));

// Everything here waits, and on different servers, so all of it waits at once.
describe('time', { concurrency: 16 }, () => {
  onEveryStore((it) => {
    it('6.3: nobody answers: missed on time, every socket of both sides told, one log, and accepting is too late', async (stage) => {
      const { user, astrologer, key, caller, callee, callId } = await ringing(stage);
      const [callerTwo, calleeTwo] = await Promise.all([stage.connect(user), stage.connect(astrologer)]);
      await Promise.all([caller, callee, callerTwo, calleeTwo].map((client) => missed(client, callId)));
      checkMissed(await stored(stage, user, callId));
      const log = await logOf(caller, callId);
      assert.deepEqual([log.content, log.callStatus, log.callDuration, log.senderId], ['Voice call missed', 'missed', 0, user.id]);
      assert.equal((await logOf(callee, callId))._id, log._id);
      // No call:ended here: an app that knows both would see two outcomes.
      assert.deepEqual((await heardOf(caller, callId)).sort(), [...callerHears].sort());
      assert.deepEqual((await heardOf(callerTwo, callId)).sort(), ['call:end', 'call:missed']);
      for (const client of [callee, calleeTwo]) assert.deepEqual((await heardOf(client, callId)).sort(), [...calleeHears].sort());

      await callee.refused('CALL_NOT_RINGING', 'call:accept', { callId });
      await ended(callee, callId);
      for (const client of [caller, callee]) assert.equal((await client.ask('call:end', { callId, duration: 5 })).status, 'missed');
      checkMissed(await stored(stage, astrologer, callId));
      assert.equal((await logsIn(caller, key, callId)).length, 1);
      assert.equal((await stage.rest(astrologer, 'GET', `/api/conversations/${key}`)).data.unreadCount, 0);
    });

    it('Calls: a call answered in time is never missed', async (stage) => {
      const { user, caller, callee, callId } = await talking(stage);
      // A second call of the same age rings out: by then the first would have, too.
      const other = await ringing(stage);
      await missed(other.caller, other.callId);
      assert.equal((await stored(stage, user, callId)).status, 'answered');
      for (const client of [caller, callee]) for (const name of ['call:missed', 'call:end']) await client.never(name);
    });

    it('Told later: a callee without a socket is not rung but told on connecting that he missed it, once', async (stage) => {
      const { user, astrologer, key } = stage.pair();
      const caller = await stage.connect(user);
      const { callId, status } = await initiate(caller, astrologer);
      assert.equal(status, 'initiated');
      await missed(caller, callId);
      checkMissed(await stored(stage, user, callId));
      const callee = await stage.connect(astrologer);
      await missed(callee, callId);
      assert.deepEqual((await heardOf(callee, callId)).sort(), ['call:end', 'call:missed']);
      assert.equal((await logsSoon(callee, key, callId)).length, 1);
      const again = await stage.connect(astrologer);
      assert.deepEqual(await heardOf(again, callId), []);
    });

    it('Told later: a caller who rang by REST hears on connecting that nobody answered', async (stage) => {
      const { user, astrologer } = stage.pair();
      const callee = await stage.connect(astrologer);
      const { callId } = (await stage.rest(user, 'POST', '/api/calls/initiate', { ...to(astrologer), callType: 'voice' })).data;
      await callee.next('call:incoming', about(callId));
      await missed(callee, callId);
      await missed(await stage.connect(user), callId);
    });
  }, { env: { RING_TIMEOUT_SECONDS: `${RING_MS / 1000}` }, concurrency: 8 });

  onEveryStore((it) => {
    it('conformance 19: kill -9 while calls ring, restart in time: rung again, missed at the deadline; an answered call goes on', async (stage) => {
      const answered = await talking(stage, { callerOptions: { reconnect: true }, calleeOptions: { reconnect: true } });
      const { calls, deadline } = await fourCalls(stage, RESTART_RING_MS);
      await stage.server.restart({ crash: true });
      await backAgain([...calls, answered]);
      await Promise.all(calls.map(({ callee, callId }) => callee.next('call:incoming', about(callId))));
      await allMissed(stage, calls, deadline);
      const { caller, callee, callId } = answered;
      await callee.ask('call:connected', { callId });
      await caller.ask('call:end', { callId });
      assert.equal((await ended(callee, callId)).status, 'ended');
      assert.equal((await stored(stage, answered.user, callId)).endReason, 'completed');
    });
  }, { env: { RING_TIMEOUT_SECONDS: `${RESTART_RING_MS / 1000}` } });

  onEveryStore((it) => {
    it('conformance 19: kill -9 while calls ring, restart after the deadline: missed at once, and accepting first does not help', async (stage) => {
      const lateForIt = await ringing(stage);
      const { calls, deadline } = await fourCalls(stage, CRASH_RING_MS);
      await stage.server.restart({ crash: true, whileDown: () => until(deadline + 200) });
      const restarted = Date.now();
      const late = await stage.connect(lateForIt.astrologer);
      await late.refused('CALL_NOT_RINGING', 'call:accept', { callId: lateForIt.callId });
      await missed(late, lateForIt.callId);
      await backAgain(calls);
      await allMissed(stage, calls, restarted);
      await late.never('call:incoming');
    });

    it('Call log: kill -9 in the moment calls end: what was ended is told to the other side and has one log, afterwards', async (stage) => {
      const calls = await Promise.all(Array.from({ length: 8 }, () => talking(stage, { calleeOptions: { reconnect: true } })));
      const acks = calls.map(({ caller, callId }) => new Promise((resolve) => caller.socket.emit('call:end', { callId }, resolve)));
      await Promise.race(acks);
      await stage.server.restart({ crash: true });
      await Promise.all(calls.map(({ callee }) => callee.next('connected', () => true, 20_000)));
      let over = 0;
      for (const { user, key, callee, callId } of calls) {
        const { status } = await stored(stage, user, callId);
        assert.ok(['answered', 'ended'].includes(status), status);
        if (status !== 'ended') continue;
        over += 1;
        assert.equal((await ended(callee, callId)).status, 'ended');
        assert.deepEqual((await logsSoon(callee, key, callId)).map((m) => m.callStatus), ['completed']);
      }
      assert.ok(over >= 1, 'the one that was acknowledged is over');
    });
  }, { env: { RING_TIMEOUT_SECONDS: `${CRASH_RING_MS / 1000}` }, concurrency: 1 });

  onEveryStore((it) => {
    it('6.3 (slow, 20 s): a caller who vanishes ends the ringing; a blink, a REST caller and an answered call do not', async (stage) => {
      const [blinking, live, gone] = await Promise.all([ringing(stage, { callerOptions: { reconnect: true } }), talking(stage), ringing(stage)]);
      // A line that breaks, and is back at once: before the others go, so that its 20 s are over first.
      blinking.caller.socket.io.engine.close();
      await blinking.caller.next('connected');
      live.caller.close();
      const byRest = stage.pair();
      const rung = await stage.connect(byRest.astrologer);
      const restId = (await stage.rest(byRest.user, 'POST', '/api/calls/initiate', { ...to(byRest.astrologer), callType: 'voice' })).data.callId;
      await rung.next('call:incoming', about(restId));

      gone.caller.close();
      const from = Date.now();
      const [end, too] = await Promise.all(['call:end', 'call:ended'].map((name) => gone.callee.next(name, about(gone.callId), GONE_MS + 8_000)));
      const after = Date.now() - from;
      assert.ok(after >= GONE_MS - 500 && after <= GONE_MS + 6_000, `it ended ${after} ms after the caller had gone`);
      assert.deepEqual(end, too);
      assert.deepEqual([end.reason, end.endReason, end.status, end.duration, end.contactId], ['network_error', 'network_error', 'ended', 0, gone.user.id]);
      const call = await stored(stage, gone.astrologer, gone.callId);
      assert.deepEqual([call.status, call.state, call.endReason, call.endDetail], ['ended', 'ended', 'network_error', 'caller_gone']);
      assert.equal((await logOf(gone.callee, gone.callId)).callStatus, 'missed');
      await gone.callee.refused('CALL_NOT_RINGING', 'call:accept', { callId: gone.callId });
      const back = await stage.connect(gone.user);
      assert.equal((await ended(back, gone.callId)).reason, 'network_error');

      assert.equal((await stored(stage, blinking.user, blinking.callId)).state, 'ringing');
      await accept(blinking);
      assert.equal((await stored(stage, byRest.user, restId)).state, 'ringing');
      await rung.ask('call:accept', { callId: restId });
      assert.equal((await stored(stage, live.user, live.callId)).state, 'accepted');
      assert.deepEqual(await heardOf(live.callee, live.callId), ['call:incoming']);
    });

    it('Told later: a caller who was away hears on connecting that he was rejected', async (stage) => {
      const { user, key, caller, callee, callId } = await ringing(stage);
      await vanish(caller, callee, key);
      await callee.ask('call:reject', { callId, reason: 'not now' });
      const back = await stage.connect(user);
      assert.equal((await rejected(back, callId)).reason, 'not now');
      assert.deepEqual((await heardOf(back, callId)).sort(), ['call:reject', 'call:rejected']);
    });

    it('Told later: a callee who was rung and went away hears on connecting that the caller gave up, and is not rung again', async (stage) => {
      const { user, astrologer, key, caller, callee, callId } = await ringing(stage);
      await vanish(callee, caller, key);
      await caller.ask('call:end', { callId });
      const back = await stage.connect(astrologer);
      const end = await ended(back, callId);
      assert.deepEqual([end.status, end.endReason, end.contactId], ['cancelled', 'cancelled', user.id]);
      assert.deepEqual((await heardOf(back, callId)).sort(), ['call:end', 'call:ended']);
    });

    it('Calls: a callee who was never rung is not rung by a call that was given up before he came', async (stage) => {
      const { user, astrologer } = stage.pair();
      const caller = await stage.connect(user);
      const { callId } = await initiate(caller, astrologer);
      await caller.ask('call:end', { callId });
      await logOf(caller, callId);
      const callee = await stage.connect(astrologer);
      await callee.never('call:incoming');
      await callee.refused('CALL_NOT_RINGING', 'call:accept', { callId });
    });

    it('Told later: a party who was away when the other hung up hears it on connecting, whichever side it is', async (stage) => {
      for (const away of ['user', 'astrologer']) {
        const { key, caller, callee, callId, ...people } = await talking(stage);
        const [gone, stays] = away === 'user' ? [caller, callee] : [callee, caller];
        await vanish(gone, stays, key);
        await stays.ask('call:end', { callId, reason: 'completed' });
        const back = await stage.connect(people[away]);
        const end = await ended(back, callId);
        assert.deepEqual([end.status, end.reason, end.contactId], ['ended', 'completed', stays.person.id]);
        const again = await stage.connect(people[away]);
        assert.deepEqual(await heardOf(again, callId), [], 'once is enough');
      }
    });
  }, { concurrency: 8 });
});
