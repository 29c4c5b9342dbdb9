// Tokens as the marketplace issues them: HS256, made by hand so that wrong ones can be made too.
import { createHmac } from 'node:crypto';

const encode = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

/** Seconds since the epoch, `offset` seconds from now. */
export const secondsFromNow = (offset) => Math.floor(Date.now() / 1000) + offset;

/** A token with these claims; `exp` is an hour away unless the claims say otherwise (`undefined` leaves it out). */
export function sign(secret, claims, { alg = 'HS256' } = {}) {
  const hash = { HS256: 'sha256', HS384: 'sha384', HS512: 'sha512' }[alg];
  const body = `${encode({ alg, typ: 'JWT' })}.${encode({ iat: secondsFromNow(0), exp: secondsFromNow(3600), ...claims })}`;
  const signature = hash ? createHmac(hash, secret).update(body).digest('base64url') : '';
  return `${body}.${signature}`;
}
