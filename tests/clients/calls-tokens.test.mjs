// What the media service needs: app id, channel, tokens; who gets them, and what the settings change. Contract: "Calls"; 2.4, 7.2; 10.1 rows 27, 28, 38.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, test } from 'node:test';
import { hexId, onEveryStore } from './support/stage.mjs';
import { read006, read007 } from './support/agora.mjs';
import { about, accept, ended, heardOf, initiate, logOf, ringing, talking } from './support/calls.mjs';
import { startRefused, startServer, stores } from './support/server.mjs';

const agora = { appId: randomBytes(16).toString('hex'), certificate: randomBytes(16).toString('hex') };
const env = { AGORA_APP_ID: agora.appId, AGORA_APP_CERTIFICATE: agora.certificate };

/** The same token rules, wherever a token is handed out. */
function check007(given, channel, seconds) {
  const { issuedAt, ...read } = read007(given.agoraToken, agora);
  assert.deepEqual(read, { channel, user: '', seconds });
  assert.ok(Math.abs(issuedAt - Date.now() / 1000) < 60, `issued at ${issuedAt}`);
  assert.ok(Math.abs(Date.parse(given.expiresAt) / 1000 - issuedAt - seconds) <= 1, `${given.expiresAt} is not ${seconds} s after ${issuedAt}`);
  assert.deepEqual([given.channelName, given.agoraAppId, given.uid], [channel, agora.appId, 0]);
}

// The suites have nothing in common but the file, so they run side by side.
describe('tokens', { concurrency: 8 }, () => {
  onEveryStore((it) => {
    it('10.1 row 28: every token is for the call’s own channel, any uid, one hour, and Agora’s package accepts it', async (stage) => {
      const { caller, callee, channelName, callId, incoming } = await ringing(stage);
      const answer = await callee.ask('call:accept', { callId });
      const [initiated, first, accepted, acceptedToo] = await Promise.all(['call:initiated', 'call:token', 'call:accept', 'call:accepted'].map((name) => caller.next(name, about(callId))));
      const renewed = await caller.ask('call:token', { callId });
      const renewedEvent = await caller.next('call:token', about(callId));
      for (const given of [initiated, first, incoming, answer, accepted, acceptedToo, renewed, renewedEvent]) check007(given, channelName, 3_600);
      assert.equal(renewedEvent.status, 'accepted');
      // The other side may renew too, and it is told to the asking socket alone.
      check007(await callee.ask('call:token', { callId }), channelName, 3_600);
      assert.deepEqual(await heardOf(caller, callId), ['call:initiated', 'call:token', 'call:accept', 'call:accepted', 'call:token']);
      assert.deepEqual(await heardOf(callee, callId), ['call:incoming', 'call:token']);
    });

    it('Calls: one call:token makes one token, the same as event and in the ack', async (stage) => {
      const { caller, callId } = await talking(stage);
      const before = caller.all('call:token').length;
      const renewed = await caller.ask('call:token', { callId });
      assert.equal(caller.all('call:token')[before].agoraToken, renewed.agoraToken);
    });

    it('conformance 24: no token for a foreign call, an unknown one, a channel of one’s choice, or a call that is over', async (stage) => {
      const { user, astrologer, caller, callId, channelName } = await talking(stage);
      const [stranger, admin, second] = await Promise.all([stage.connect(stage.person('user')), stage.connect(stage.admin), stage.connect(user)]);
      for (const client of [stranger, admin]) {
        await client.refused('CALL_NOT_FOUND', 'call:token', { callId, channelName });
        await client.refused('CALL_NOT_FOUND', 'call:token', { callId: hexId(), channelName });
        await client.refused('INVALID_PAYLOAD', 'call:token', { channelName });
        await client.refused('INVALID_ID', 'call:token', { callId: channelName });
        await client.never('call:token', about(callId));
      }
      check007(await second.ask('call:token', { callId, channelName: 'somebody-elses-channel' }), channelName, 3_600);
      await caller.ask('call:end', { callId });
      await caller.refused('CALL_OVER', 'call:token', { callId });
      // Nor may the caller choose the channel.
      const own = await initiate(caller, astrologer, { channelName: 'my-channel', conversationId: 'mine', callerId: astrologer.id, callerType: 'astrologer' });
      check007(own, own.channelName, 3_600);
      assert.equal(caller.all('call:initiated', about(own.callId))[0].callerId, user.id);
    });

    it('10.1 row 38: callerPhone comes from the caller’s token alone, and only with call:incoming', async (stage) => {
      const astrologer = stage.person('astrologer');
      const callee = await stage.connect(astrologer);
      for (const [claims, phone] of [[{ phone: '+911234567890' }, '+911234567890'], [{}, undefined]]) {
        const caller = await stage.connect(stage.person('user', { claims: { ...claims, profilePicture: 'https://cdn.example.com/me.jpg' } }));
        const { callId } = await initiate(caller, astrologer, { callerPhone: '+910000000000', phone: '+910000000000' });
        const incoming = await callee.next('call:incoming', about(callId));
        assert.equal(incoming.callerPhone, phone);
        assert.equal(incoming.callerAvatar, 'https://cdn.example.com/me.jpg');
        await accept({ caller, callee, callId });
        await caller.ask('call:end', { callId });
        for (const client of [caller, callee]) {
          const leaks = client.heard.filter((e) => e.event !== 'call:incoming' && JSON.stringify(e.payload).includes('+91'));
          assert.deepEqual(leaks, [], 'the number is in no other event');
        }
      }
    });
  }, { env });

  onEveryStore((it) => {
    it('Calls: without Agora credentials calls ring, are answered and logged, and the three Agora fields are missing everywhere', async (stage) => {
      const { user, astrologer, key, caller, callee, callId, incoming } = await ringing(stage);
      const answers = [incoming, await callee.ask('call:accept', { callId }), await caller.ask('call:token', { callId })];
      for (const name of ['call:initiated', 'call:token', 'call:accept', 'call:accepted']) answers.push(await caller.next(name, about(callId)));
      answers.push((await stage.rest(user, 'POST', `/api/calls/${callId}/token`)).data);
      await caller.ask('call:end', { callId });
      await logOf(callee, callId);
      answers.push((await stage.rest(user, 'POST', '/api/calls/initiate', { calleeId: astrologer.id, calleeType: 'astrologer', callType: 'voice' })).data);
      for (const given of answers) {
        assert.deepEqual(['agoraToken', 'agoraAppId', 'expiresAt'].filter((name) => name in given), []);
        assert.equal(given.uid, 0);
      }
      const { messages } = await caller.ask('dm:history', { conversationId: key });
      assert.deepEqual(messages.map((m) => m.content), ['Voice call completed']);
    });
  });

  onEveryStore((it) => {
    it('Settings: AGORA_TOKEN_VERSION=006 and AGORA_TOKEN_SECONDS change version and lifetime of every token', async (stage) => {
      const { user, caller, callee, channelName, callId, incoming } = await ringing(stage);
      const answers = [incoming, await callee.ask('call:accept', { callId }), await caller.ask('call:token', { callId })];
      answers.push((await stage.rest(user, 'POST', `/api/calls/${callId}/token`)).data);
      for (const given of answers) {
        assert.ok(given.agoraToken.startsWith(`006${agora.appId}`), given.agoraToken);
        const { endsAt } = read006(given.agoraToken, { ...agora, channel: channelName });
        assert.ok(Math.abs(endsAt - Date.now() / 1000 - 120) < 60, `the token ends at ${endsAt}`);
        assert.ok(Math.abs(Date.parse(given.expiresAt) / 1000 - endsAt) <= 1, `${given.expiresAt} is not ${endsAt}`);
      }
    });

    it('10.1 row 38: CALLER_PHONE=off keeps the number from everybody', async (stage) => {
      const astrologer = stage.person('astrologer');
      const callee = await stage.connect(astrologer);
      const caller = await stage.connect(stage.person('user', { claims: { phone: '+911234567890' } }));
      const { callId } = await initiate(caller, astrologer);
      assert.equal((await callee.next('call:incoming', about(callId))).callerPhone, undefined);
    });

    it('Settings: CALL_LOGS=off ends calls without a message', async (stage) => {
      const { user, key, caller, callee, callId } = await talking(stage);
      await caller.ask('call:end', { callId });
      await ended(callee, callId);
      await callee.send(user, 'a message after the call', { conversationId: key });
      const { messages } = await callee.ask('dm:history', { conversationId: key });
      assert.deepEqual(messages.map((m) => m.messageType), ['text']);
      await callee.never('dm:message_received', (m) => m.messageType === 'call_log');
    });
  }, { env: { ...env, AGORA_TOKEN_VERSION: '006', AGORA_TOKEN_SECONDS: '120', CALLER_PHONE: 'off', CALL_LOGS: 'off' } });

  // Settings are read before any store is opened: one store says it for all.
  const [store] = stores();
  for (const [what, settings, name] of [
    ['an app id that is too short', { AGORA_APP_ID: 'abc' }, 'AGORA_APP_ID'],
    ['an app id that is no hex', { AGORA_APP_ID: 'x'.repeat(32) }, 'AGORA_APP_ID'],
    ['a certificate that is no hex', { AGORA_APP_CERTIFICATE: 'z'.repeat(32) }, 'AGORA_APP_CERTIFICATE'],
    ['an unknown token version', { AGORA_TOKEN_VERSION: '005' }, 'AGORA_TOKEN_VERSION'],
    ['a token for longer than a day', { AGORA_TOKEN_SECONDS: '86401' }, 'AGORA_TOKEN_SECONDS'],
  ]) {
    test(`Settings: ${what} keeps the server from starting, and it says which setting is wrong, not its value`, async () => {
      const { code, said } = await startRefused(store, { ...env, ...settings });
      assert.ok(Number.isInteger(code) && code !== 0, `exit code ${code}`);
      assert.match(said, new RegExp(name));
      assert.doesNotMatch(said, /panicked/);
      if (name === 'AGORA_APP_CERTIFICATE') assert.ok(!said.includes(settings[name]), 'a secret must not be shown');
    });
  }

  test('Settings: the longest lifetime is a day', async () => {
    const server = await startServer(store, { ...env, AGORA_TOKEN_SECONDS: '86400' });
    await server.stop();
  });
});
