// Several sockets, several calls, and clients that get it wrong. Contract: "Calls"; 6.3, 7.1, 7.8, 7.9; 10.1 rows 7, 9, 17, 25.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { onEveryStore } from './support/stage.mjs';
import { about, accept, both, ended, heardOf, initiate, logOf, rejected, ringing, stored, talking, vanish } from './support/calls.mjs';
import { stores } from './support/server.mjs';

/** Accept races on all stores together; raise it to look for rare losers. */
const RACES = Math.ceil(Number(process.env.CALL_RACES ?? 300) / stores().length);
const LANES = 6;

const agent = (name) => ({ headers: { 'User-Agent': name } });
const FIREFOX = agent('Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0');
const CHROME = agent('Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/126.0.0.0 Safari/537.36');
const DART = agent('Dart/3.0 (dart:io)');

/** One call that two sockets of the callee answer in the same instant; returns which of the two lost. */
async function race(stage, { user, astrologer, caller, sockets, samePage, handicap }) {
  const { callId } = await initiate(caller, astrologer);
  await Promise.all(sockets.map((socket) => socket.next('call:incoming', about(callId))));
  // A socket's requests are handled one after the other: what goes before holds the first one back, more or less, so that either may win.
  for (let i = 0; i < handicap; i += 1) sockets[0].socket.emit('get_stats');
  const answers = await Promise.all(sockets.map((socket) => socket.emitAck('call:accept', { callId })));
  assert.equal(answers.filter((answer) => answer.ok).length, 1, `exactly one answers: ${JSON.stringify(answers)}`);
  const lost = answers.findIndex((answer) => !answer.ok);
  const [winner, loser] = [sockets[1 - lost], sockets[lost]];
  assert.equal(answers[lost].code, 'ANSWERED_ELSEWHERE');
  for (const name of ['error', 'call:error']) assert.equal((await loser.next(name)).code, 'ANSWERED_ELSEWHERE');
  const end = await ended(loser, callId);
  assert.deepEqual([end.reason, end.contactId, end.duration], ['answered_elsewhere', user.id, 0]);
  await both(caller, 'call:accept', 'call:accepted', callId);
  assert.equal((await stored(stage, user, callId)).status, 'answered');

  // From the one that answered a reject hangs up; from any other it would change nothing.
  assert.equal((await winner.ask('call:reject', { callId })).status, 'ended');
  await ended(caller, callId);
  assert.deepEqual(await heardOf(winner, callId), ['call:incoming']);
  assert.deepEqual(await heardOf(caller, callId), ['call:initiated', 'call:token', 'call:accept', 'call:accepted', 'call:end', 'call:ended']);
  const ends = (await heardOf(loser, callId)).filter((name) => name.startsWith('call:end'));
  // Another client is told that it is over and then why its own attempt failed; a second socket of the page only the latter.
  assert.ok(ends.length === 2 || (!samePage && ends.length === 4), `${ends}`);
  return lost;
}

const define = (it) => {
  it(`conformance 15: two sockets accept at once, ${RACES} times: one wins, the other is told`, async (stage, t) => {
    const lost = [0, 0];
    let left = RACES;
    await Promise.all(Array.from({ length: LANES }, async (_, lane) => {
      const { user, astrologer } = stage.pair();
      const samePage = lane % 2 === 0;
      const [caller, one, two] = await Promise.all([stage.connect(user), stage.connect(astrologer, FIREFOX), stage.connect(astrologer, samePage ? FIREFOX : CHROME)]);
      for (let round = 0; left > 0; round += 1) {
        left -= 1;
        lost[await race(stage, { user, astrologer, caller, sockets: round % 2 ? [one, two] : [two, one], samePage, handicap: round % 5 })] += 1;
      }
    }));
    assert.equal(lost[0] + lost[1], RACES);
    t.diagnostic(`who asked first lost ${lost[0]} times, who asked second ${lost[1]} times`);
  });

  it('conformance 16: a late reject from a socket that did not answer changes nothing; from the one that answered it hangs up', async (stage) => {
    const { user, astrologer, caller, callee, callId } = await ringing(stage);
    const late = await stage.connect(astrologer);
    await accept({ caller, callee, callId });
    assert.equal((await late.ask('call:reject', { callId, reason: 'declined' })).status, 'accepted');
    await late.ask('call:connected', { callId });
    assert.equal((await late.ask('call:reject', { callId, reason: 'declined' })).status, 'connected');
    assert.deepEqual([(await stored(stage, user, callId)).status, await heardOf(callee, callId)], ['ongoing', ['call:incoming']]);
    for (const name of ['call:end', 'call:ended', 'call:reject', 'call:rejected']) await caller.never(name);
    assert.equal((await callee.ask('call:reject', { callId, reason: 'rejected' })).status, 'ended');
    const end = await ended(caller, callId);
    assert.deepEqual([end.reason, end.endReason, end.status], ['rejected', 'completed', 'ended']);
    assert.equal((await logOf(caller, callId)).callStatus, 'completed');
  });

  it('conformance 22: who connects while it rings is rung, every socket of his, and the call turns from initiated to ringing', async (stage) => {
    const { user, astrologer } = stage.pair();
    const caller = await stage.connect(user);
    const { callId, status, channelName } = await initiate(caller, astrologer, { callType: 'video' });
    assert.deepEqual([status, (await stored(stage, user, callId)).state], ['initiated', 'initiated']);
    for (const options of [{}, { version: 2, transport: 'polling' }, DART]) {
      const callee = await stage.connect(astrologer, options);
      const incoming = await callee.next('call:incoming');
      assert.deepEqual([incoming.callId, incoming.callType, incoming.channelName], [callId, 'video', channelName]);
      assert.deepEqual(await heardOf(callee, callId), ['call:incoming']);
    }
    const call = await stored(stage, user, callId);
    assert.equal(call.status, 'ringing');
    assert.ok(call.ringingAt >= call.initiatedAt);
    const again = await stage.connect(user);
    await again.never('call:incoming');
    const callee = await stage.connect(astrologer);
    await callee.ask('call:accept', { callId });
    await (await stage.connect(astrologer)).never('call:incoming');
  });

  it('Call states: the first client that connects turns the call to ringing, and is told so in call:incoming', async (stage) => {
    const { user, astrologer } = stage.pair();
    const { callId, status } = await initiate(await stage.connect(user), astrologer);
    assert.equal(status, 'initiated');
    assert.equal((await (await stage.connect(astrologer)).next('call:incoming', about(callId))).status, 'ringing');
  });

  it('conformance 23: answered elsewhere is told to other clients, not to a second socket of the same page', async (stage) => {
    const { astrologer, caller, callee, callId } = await ringing(stage, { calleeOptions: FIREFOX });
    const [samePage, otherBrowser, app] = await Promise.all([FIREFOX, CHROME, DART].map((options) => stage.connect(astrologer, options)));
    await accept({ caller, callee, callId });
    for (const client of [otherBrowser, app]) {
      const end = await ended(client, callId);
      assert.deepEqual([end.reason, end.status, end.duration], ['answered_elsewhere', 'accepted', 0]);
    }
    for (const client of [callee, samePage]) assert.deepEqual(await heardOf(client, callId), ['call:incoming']);
    for (const client of [otherBrowser, app]) assert.deepEqual((await heardOf(client, callId)).sort(), ['call:end', 'call:ended', 'call:incoming']);
    // The socket that was spared may still ask, and is then told, whatever its address (10.1 row 7).
    await samePage.refused('ANSWERED_ELSEWHERE', 'call:accept', { callId });
    assert.equal((await ended(samePage, callId)).reason, 'answered_elsewhere');
    assert.deepEqual(await heardOf(caller, callId), ['call:initiated', 'call:token', 'call:accept', 'call:accepted']);
  });

  it('10.1 row 25: two phones with the same app are two clients, though address and agent are the same', async (stage) => {
    const { astrologer, caller, callee, callId } = await ringing(stage, { calleeOptions: DART });
    const second = await stage.connect(astrologer, DART);
    await accept({ caller, callee, callId });
    assert.equal((await ended(second, callId)).reason, 'answered_elsewhere');
    assert.deepEqual(await heardOf(callee, callId), ['call:incoming']);
  });

  it('6.3: after a reject the callee’s other sockets stop ringing, the same page’s too', async (stage) => {
    const { astrologer, caller, callee, callId } = await ringing(stage, { calleeOptions: FIREFOX });
    const others = await Promise.all([FIREFOX, DART].map((options) => stage.connect(astrologer, options)));
    await callee.ask('call:reject', { callId, reason: 'busy right now' });
    for (const client of others) {
      const end = await ended(client, callId);
      assert.deepEqual([end.reason, end.status, end.endReason, end.duration], ['rejected', 'rejected', 'rejected', 0]);
    }
    assert.deepEqual(await heardOf(callee, callId), ['call:incoming']);
    assert.equal((await rejected(caller, callId)).reason, 'busy right now');
  });

  it('7.3: the caller’s other sockets hear how it went on, but not what only the asking one needs', async (stage) => {
    const { user, caller, callee, callId } = await ringing(stage);
    const second = await stage.connect(user);
    await accept({ caller, callee, callId });
    await callee.ask('call:connected', { callId });
    await callee.ask('call:end', { callId });
    await ended(second, callId);
    assert.deepEqual(await heardOf(second, callId), ['call:accept', 'call:accepted', 'call:connected', 'call:end', 'call:ended']);
  });

  it('conformance 21: a callee who talks to somebody else is busy: the caller is told at once, nothing rings', async (stage) => {
    const first = await talking(stage);
    const { astrologer, callee } = first;
    const other = stage.person('user');
    const caller = await stage.connect(other);
    const answer = await initiate(caller, astrologer);
    assert.deepEqual([answer.status, answer.reason, answer.code], ['rejected', 'busy', 'CALLEE_BUSY']);
    const told = await rejected(caller, answer.callId);
    assert.deepEqual([told.reason, told.code, told.contactId], ['busy', 'CALLEE_BUSY', astrologer.id]);
    assert.deepEqual((await heardOf(caller, answer.callId)).slice(0, 2), ['call:initiated', 'call:token']);
    assert.equal((await heardOf(caller, answer.callId)).length, 4);
    assert.equal((await logOf(caller, answer.callId)).callStatus, 'missed');
    assert.deepEqual(await heardOf(callee, answer.callId), []);
    const call = await stored(stage, other, answer.callId);
    assert.deepEqual([call.status, call.endReason, call.endDetail, call.duration], ['rejected', 'rejected', 'busy', 0]);
    await callee.ask('call:end', { callId: first.callId });
    assert.equal((await initiate(caller, astrologer)).status, 'ringing');
  });

  it('conformance 21: neither a callee who is only rung, nor one who has no socket, nor the admin is busy', async (stage) => {
    const { key, caller, callee, callId, astrologer } = await ringing(stage);
    const [second, third, fourth] = await Promise.all(['user', 'user', 'astrologer'].map((kind) => stage.connect(stage.person(kind))));
    const other = await initiate(second, astrologer);
    assert.equal(other.status, 'ringing');
    await callee.next('call:incoming', about(other.callId));
    await accept({ caller, callee, callId });
    await vanish(callee, caller, key);
    assert.equal((await initiate(third, astrologer)).status, 'initiated');

    const admin = await stage.connect(stage.admin);
    for (const client of [third, fourth]) {
      const { callId: id, status } = await initiate(client, stage.admin);
      assert.equal(status, 'ringing');
      await admin.next('call:incoming', about(id));
      await admin.ask('call:accept', { callId: id });
    }
  });

  it('6.3: glare: both ring each other, one answer makes one call, the other call goes its own way', async (stage) => {
    const { user, astrologer } = stage.pair();
    const [one, two] = await Promise.all([stage.connect(user), stage.connect(astrologer)]);
    const [out, back] = await Promise.all([initiate(one, astrologer), initiate(two, user)]);
    await Promise.all([two.next('call:incoming', about(out.callId)), one.next('call:incoming', about(back.callId))]);
    assert.notEqual(out.channelName, back.channelName);
    await accept({ caller: one, callee: two, callId: out.callId });
    await two.ask('call:end', { callId: back.callId });
    assert.equal((await ended(one, back.callId)).reason, 'cancelled');
    assert.deepEqual([(await stored(stage, user, out.callId)).state, (await stored(stage, user, back.callId)).state], ['accepted', 'cancelled']);
    await one.ask('call:end', { callId: out.callId });
    assert.equal((await ended(two, out.callId)).status, 'ended');
  });

  it('Calls: accepting again is ok from the socket that answered, and from a new one once that has gone; the caller hears it once', async (stage) => {
    const { key, astrologer, caller, callee, callId } = await talking(stage);
    const first = await callee.ask('call:accept', { callId });
    assert.deepEqual([first.status, first.callId], ['accepted', callId]);
    await vanish(callee, caller, key);
    const again = await stage.connect(astrologer);
    assert.equal((await again.ask('call:accept', { callId })).status, 'accepted');
    assert.deepEqual(await heardOf(again, callId), []);
    assert.deepEqual(await heardOf(caller, callId), ['call:initiated', 'call:token', 'call:accept', 'call:accepted']);
  });

  it('Calls: the caller neither accepts nor rejects; accepting what is over is refused and ends the ringing there', async (stage) => {
    const { user, caller, callee, callId } = await ringing(stage);
    await caller.refused('FORBIDDEN', 'call:accept', { callId });
    await caller.refused('FORBIDDEN', 'call:reject', { callId });
    assert.equal((await stored(stage, user, callId)).status, 'ringing');
    await accept({ caller, callee, callId });
    await caller.ask('call:end', { callId, reason: 'lunch' });
    await ended(callee, callId);
    await callee.refused('CALL_NOT_RINGING', 'call:accept', { callId });
    assert.equal((await ended(callee, callId)).status, 'ended');
    assert.deepEqual([(await stored(stage, user, callId)).status, (await heardOf(caller, callId)).length], ['ended', 4]);
  });
};

describe('several', { concurrency: 2 }, () => {
  onEveryStore(define, { concurrency: 8 });

  onEveryStore((it) => {
    it('Settings: CALL_BUSY=off rings also those who talk', async (stage) => {
      const { astrologer, callee } = await talking(stage);
      const caller = await stage.connect(stage.person('user'));
      const { callId, status } = await initiate(caller, astrologer);
      assert.equal(status, 'ringing');
      await callee.next('call:incoming', about(callId));
    });
  }, { env: { CALL_BUSY: 'off' } });
});
