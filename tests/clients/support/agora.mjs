// Tokens read and verified by Agora's own npm package; its readers are not exported, so they are taken from inside.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const { AccessToken2 } = require('agora-token/src/AccessToken2');
const { AccessToken } = require('agora-token/src/AccessToken');

/** A publisher may join, and send sound, picture and data. */
const PUBLISHER = [1, 2, 3, 4];

/** Reads a 007 token; fails unless it is one of this app, signed with this certificate. */
export function read007(token, { appId, certificate }) {
  const read = new AccessToken2();
  assert.ok(read.from_string(token), `no 007 token: ${token}`);
  assert.ok(read.verifySignature(certificate), 'Agora does not accept the signature');
  assert.ok(!read.verifySignature(certificate.replace(/./g, '0')), 'any certificate would do');
  assert.equal(read.appId.toString(), appId);
  assert.equal(read.services.length, 1);
  const [rtc] = read.services;
  assert.equal(rtc.service_type(), 1, 'for media');
  assert.deepEqual(rtc.__privileges, Object.fromEntries(PUBLISHER.map((privilege) => [privilege, read.expire])));
  return { channel: rtc.__channel_name.toString(), user: rtc.__uid.toString(), issuedAt: read.issueTs, seconds: read.expire };
}

/** Reads a 006 token for this channel and any user. The format has one text for its contents, so building it again must give the same. */
export function read006(token, { appId, certificate, channel }) {
  const read = new AccessToken(appId, certificate, channel, 0);
  assert.ok(read.fromString(token), `no 006 token: ${token}`);
  assert.equal(read.build(), token, 'Agora would have signed something else');
  const [end] = Object.values(read.messages);
  assert.deepEqual({ ...read.messages }, Object.fromEntries(PUBLISHER.map((privilege) => [privilege, end])));
  return { endsAt: end };
}
