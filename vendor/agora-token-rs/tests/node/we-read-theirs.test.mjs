// Tokens from Agora's own package, read and verified by the Rust crate.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as ours from './ours.mjs';
import { agora, appCertificate, appId, body, inside006, inside007, otherCertificate } from './theirs.mjs';

const credentials = [appId, appCertificate];
const { RtcRole, RtcTokenBuilder, RtmTokenBuilder } = agora;

// Reads their token and demands that our own writing of what we read has the same inflated body, signature included.
function weRead(token) {
  const read = ours.parse({ token, appCertificate });
  assert.equal(read.error, undefined);
  assert.equal(read.signature, 'valid');
  assert.equal(read.appId, appId);
  assert.ok(Math.abs(read.issuedAt - Date.now() / 1000) < 60, 'issued about now');
  assert.equal(body(read.signedAgain), body(token));
  assert.notEqual(ours.parse({ token, appCertificate: otherCertificate }).signature, 'valid');
  return read;
}

const rtc = (channel, account, privileges) => ({ type: 1, channel, account, privileges });
const rtm = (userId, seconds) => ({ type: 2, userId, privileges: { 1: seconds } });
const all = (seconds) => ({ 1: seconds, 2: seconds, 3: seconds, 4: seconds });

const builderCases = {
  'rtc publisher by uid': [
    () => RtcTokenBuilder.buildTokenWithUid(...credentials, 'room', 2882341273, RtcRole.PUBLISHER, 3600, 1800),
    [rtc('room', '2882341273', all(1800))],
  ],
  'rtc subscriber by uid 0': [
    () => RtcTokenBuilder.buildTokenWithUid(...credentials, 'room', 0, RtcRole.SUBSCRIBER, 3600, 3600),
    [rtc('room', '', { 1: 3600 })],
  ],
  'rtc without privilege lifetime': [
    () => RtcTokenBuilder.buildTokenWithUid(...credentials, 'room', 7, RtcRole.PUBLISHER, 3600),
    [rtc('room', '7', all(0))],
  ],
  'rtc by account beyond ASCII': [
    () => RtcTokenBuilder.buildTokenWithUserAccount(...credentials, 'комната-7', 'ユーザー😀', RtcRole.SUBSCRIBER, 3600, 3600),
    [rtc('комната-7', 'ユーザー😀', { 1: 3600 })],
  ],
  'rtc by uid with each privilege': [
    () => RtcTokenBuilder.buildTokenWithUidAndPrivilege(...credentials, 'room', 7, 3600, 3000, 2400, 1800, 1200),
    [rtc('room', '7', { 1: 3000, 2: 2400, 3: 1800, 4: 1200 })],
  ],
  'rtc by account with each privilege': [
    () => RtcTokenBuilder.BuildTokenWithUserAccountAndPrivilege(...credentials, 'room', 'alice', 3600, 3000, 2400, 0, 0),
    [rtc('room', 'alice', { 1: 3000, 2: 2400, 3: 0, 4: 0 })],
  ],
  'rtc with rtm': [
    () => RtcTokenBuilder.buildTokenWithRtm(...credentials, 'room', 'alice', RtcRole.PUBLISHER, 3600, 1800),
    [rtc('room', 'alice', all(1800)), rtm('alice', 3600)],
  ],
  rtm: [() => RtmTokenBuilder.buildToken(...credentials, 'alice', 3600), [rtm('alice', 3600)]],
};

for (const [name, [build, services]] of Object.entries(builderCases)) {
  test(`007 from their builder: ${name}`, () => {
    const read = weRead(build());
    assert.equal(read.lifetimeSeconds, 3600);
    assert.deepEqual(read.services, services);
  });
}

// Of these services only the types are compared by name; the body written again covers every field.
const otherBuilders = {
  'chat user': [() => agora.ChatTokenBuilder.buildUserToken(...credentials, 'alice', 600), [5]],
  'chat app': [() => agora.ChatTokenBuilder.buildAppToken(...credentials, 600), [5]],
  'education room user': [() => agora.EducationTokenBuilder.buildRoomUserToken(...credentials, 'room', 'alice', 1, 600), [2, 5, 7]],
  'education app': [() => agora.EducationTokenBuilder.buildAppToken(...credentials, 600), [7]],
  fpa: [() => agora.FpaTokenBuilder.buildToken(...credentials), [4]],
};

for (const [name, [build, types]] of Object.entries(otherBuilders)) {
  test(`007 from their builder: ${name}`, () => {
    assert.deepEqual(weRead(build()).services.map((service) => service.type), types);
  });
}

test('007 with services added out of order', () => {
  const token = new inside007.AccessToken2(appId, appCertificate, 0, 600);
  token.add_service(new inside007.ServiceStreaming('stream', 'bob'));
  token.add_service(new inside007.ServiceRtm('alice'));
  token.add_service(new inside007.ServiceRtc('second', 2));
  token.add_service(new inside007.ServiceRtc('third', 3));
  const read = weRead(token.build());
  assert.deepEqual(read.services.map((service) => service.channel ?? service.userId ?? service.type), ['second', 'third', 'alice', 3]);
});

test('006 from their builders', () => {
  const ends = Math.floor(Date.now() / 1000) + 3600;
  const { RtcTokenBuilder: Rtc, RtmTokenBuilder: Rtm } = inside006;
  const four = { 1: ends, 2: ends, 3: ends, 4: ends };
  for (const [token, names, privileges] of [
    [Rtc.buildTokenWithUid(...credentials, 'room', 2882341273, 1, ends), { channel: 'room', uid: 2882341273 }, four],
    [Rtc.buildTokenWithUid(...credentials, 'room', 0, 2, ends), { channel: 'room', uid: 0 }, { 1: ends }],
    [Rtc.buildTokenWithAccount(...credentials, 'room', 'alice', 1, ends), { channel: 'room', account: 'alice' }, four],
    [Rtm.buildToken(...credentials, 'alice', 1, ends), { channel: 'alice', uid: 0 }, { 1000: ends }],
  ]) {
    const read = ours.parse({ token, appCertificate, ...names });
    assert.equal(read.signature, 'valid');
    assert.equal(read.appId, appId);
    assert.deepEqual(read.privileges, privileges);
    assert.notEqual(ours.parse({ token, appCertificate, ...names, channel: 'other' }).signature, 'valid');
    assert.notEqual(ours.parse({ token, appCertificate: otherCertificate, ...names }).signature, 'valid');
  }
});

test('a token that is cut cannot be read', () => {
  const token = RtmTokenBuilder.buildToken(...credentials, 'alice', 3600);
  assert.match(ours.parse({ token: token.slice(0, -4), appCertificate }).error, /malformed/);
});
