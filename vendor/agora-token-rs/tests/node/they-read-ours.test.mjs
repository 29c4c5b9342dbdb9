// Tokens from the Rust crate, read and verified by Agora's own package.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as ours from './ours.mjs';
import { appCertificate, appId, inside006, inside007, otherCertificate, text } from './theirs.mjs';

const issuedAt = 1_700_000_000;
const basics = { appId, appCertificate, issuedAt, lifetimeSeconds: 3600 };
const everything = { 1: 3600, 2: 3600, 3: 3600, 4: 3600 };

function theyRead(token) {
  const parsed = new inside007.AccessToken2();
  assert.ok(parsed.from_string(token), 'their package cannot read the token');
  assert.ok(parsed.verifySignature(appCertificate), 'their package does not accept the signature');
  assert.ok(!parsed.verifySignature(otherCertificate), 'their package accepts any certificate');
  assert.equal(text(parsed.appId), appId);
  assert.equal(parsed.issueTs, issuedAt);
  assert.equal(parsed.expire, 3600);
  return parsed.services.map((service) => ({
    type: service.service_type(),
    privileges: { ...service.__privileges },
    ...(service.__channel_name !== undefined && { channel: text(service.__channel_name), account: text(service.__uid) }),
    ...(service.__user_id !== undefined && { userId: text(service.__user_id) }),
  }));
}

const rtcCases = [
  ['a publisher with a uid', { channel: 'call_42', uid: 2882341273, role: 'publisher' }, '2882341273', everything],
  ['a subscriber with the largest uid', { channel: 'live', uid: 4294967295, role: 'subscriber' }, '4294967295', { 1: 3600 }],
  ['uid 0, which is anyone', { channel: 'live', uid: 0, role: 'subscriber' }, '', { 1: 3600 }],
  ['an account', { channel: 'a b!#$%&()+', account: 'user+tag@example.com', role: 'publisher' }, 'user+tag@example.com', everything],
  ['the account "0"', { channel: 'c', account: '0', role: 'subscriber' }, '0', { 1: 3600 }],
  ['names beyond ASCII', { channel: 'комната-7', account: 'ユーザー😀', role: 'publisher' }, 'ユーザー😀', everything],
  [
    'a lifetime for each privilege',
    { channel: 'c', uid: 7, role: 'publisher', privilegeSeconds: { 1: 3000, 2: 2400, 3: 1800, 4: 1200 } },
    '7',
    { 1: 3000, 2: 2400, 3: 1800, 4: 1200 },
  ],
];

for (const [name, rtc, account, privileges] of rtcCases) {
  test(`007 for rtc: ${name}`, () => {
    const services = theyRead(ours.build({ version: '007', ...basics, rtc }));
    assert.deepEqual(services, [{ type: 1, privileges, channel: rtc.channel, account }]);
  });
}

test('007 for rtm', () => {
  const services = theyRead(ours.build({ version: '007', ...basics, rtm: { userId: 'alice', loginSeconds: 900 } }));
  assert.deepEqual(services, [{ type: 2, privileges: { 1: 900 }, userId: 'alice' }]);
});

test('007 for rtc and rtm together', () => {
  const request = { version: '007', ...basics, rtc: { channel: 'c', uid: 7, role: 'publisher' }, rtm: { userId: '7' } };
  assert.deepEqual(theyRead(ours.build(request)), [
    { type: 1, privileges: everything, channel: 'c', account: '7' },
    { type: 2, privileges: { 1: 3600 }, userId: '7' },
  ]);
});

// Their 006 reader verifies nothing, but the text is fixed by the format: building the same again has to give the same.
function theyRebuild006(token, channel, user) {
  const read = new inside006.AccessToken(appId, appCertificate, channel, user);
  assert.ok(read.fromString(token), 'their package cannot read the token');
  assert.equal(read.ts, issuedAt + 86_400);
  assert.equal(read.build(), token);
  return { ...read.messages };
}

test('006 for rtc', () => {
  const end = issuedAt + 3600;
  for (const [user, theirUser] of [[{ uid: 2882341273 }, 2882341273], [{ uid: 0 }, 0], [{ account: '0' }, '0'], [{ account: 'alice' }, 'alice']]) {
    const token = ours.build({ version: '006', ...basics, rtc: { channel: 'room', role: 'publisher', ...user } });
    assert.deepEqual(theyRebuild006(token, 'room', theirUser), { 1: end, 2: end, 3: end, 4: end });
  }
});

test('006 for rtm', () => {
  const token = ours.build({ version: '006', ...basics, rtm: { userId: 'alice' } });
  assert.deepEqual(theyRebuild006(token, 'alice', 0), { 1000: issuedAt + 3600 });
});

test('an absolute time instead of a lifetime is refused', () => {
  const request = { version: '007', ...basics, lifetimeSeconds: issuedAt + 3600, rtm: { userId: 'alice' } };
  assert.throws(() => ours.build(request), /lifetime is too long/);
});
