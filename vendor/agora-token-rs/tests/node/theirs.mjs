// Agora's Node package, and what this check needs from inside it: the package publishes builders, its readers are not exported.

import { createRequire } from 'node:module';
import { inflateSync } from 'node:zlib';

const require = createRequire(import.meta.url);

export const agora = require('agora-token');
export const inside007 = require('agora-token/src/AccessToken2');
export const inside006 = {
  AccessToken: require('agora-token/src/AccessToken').AccessToken,
  RtcTokenBuilder: require('agora-token/src/RtcTokenBuilder').RtcTokenBuilder,
  RtmTokenBuilder: require('agora-token/src/RtmTokenBuilder').RtmTokenBuilder,
};

export const appId = '970CA35de60c44645bbae8a215061b33';
// A published test value, not a secret.
export const appCertificate = '5CFd2fd1755d40ecb72977518be15d3b';
export const otherCertificate = '5cfd2fd1755d40ecb72977518be15d3b';

// The package reads strings as Buffers; the checks want text.
export const text = (value) => value.toString();

export const body = (token) => inflateSync(Buffer.from(token.slice(3), 'base64')).toString('hex');
