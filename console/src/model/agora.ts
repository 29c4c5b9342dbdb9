// What a media token of Agora says. It is read, not checked: only its issuer and Agora have the secret.

import { bytesOfBase64 } from './people';

export interface MediaToken {
  version: string;
  appId: string;
  /** Missing where the token holds a checksum only, which `isFor` compares. */
  channel?: string;
  isFor: boolean;
  uid?: string;
  expiresAt: Date;
}

const RTC = 1;
const JOIN = 1;

/** Reads little-endian fields one after the other. */
class Reader {
  #at = 0;
  constructor(private readonly view: DataView) {}
  u16(): number {
    return this.view.getUint16((this.#at += 2) - 2, true);
  }
  u32(): number {
    return this.view.getUint32((this.#at += 4) - 4, true);
  }
  bytes(): Uint8Array<ArrayBuffer> {
    const length = this.u16();
    const start = this.view.byteOffset + this.#at;
    this.#at += length;
    if (this.#at > this.view.byteLength) throw new RangeError('the token ends too early');
    return new Uint8Array(this.view.buffer as ArrayBuffer, start, length);
  }
  text(): string {
    return new TextDecoder().decode(this.bytes());
  }
  map(): Map<number, number> {
    return new Map(Array.from({ length: this.u16() }, () => [this.u16(), this.u32()]));
  }
}

const reader = (bytes: Uint8Array) => new Reader(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength));
const date = (seconds: number) => new Date(seconds * 1000);

/** The contents of a token for `channel`; `undefined` if it is none that is known. */
export async function readToken(token: string, channel: string): Promise<MediaToken | undefined> {
  try {
    if (token.startsWith('007')) return await read007(token.slice(3), channel);
    if (token.startsWith('006')) return read006(token.slice(3), channel);
  } catch {
    // Falls through: it is no token.
  }
  return undefined;
}

async function read007(text: string, channel: string): Promise<MediaToken> {
  const inflated = new Blob([bytesOfBase64(text)]).stream().pipeThrough(new DecompressionStream('deflate'));
  const fields = reader(new Uint8Array(await new Response(inflated).arrayBuffer()));
  fields.bytes(); // the signature
  const [appId, issuedAt, lifetime] = [fields.text(), fields.u32(), fields.u32()];
  fields.u32(); // the salt
  const services = fields.u16();
  if (services < 1 || fields.u16() !== RTC) throw new TypeError('not a token for a channel');
  const join = fields.map().get(JOIN) ?? lifetime;
  const [named, uid] = [fields.text(), fields.text()];
  const ends = Math.min(lifetime, join || lifetime);
  return { version: '007', appId, channel: named, isFor: named === channel, uid: uid || 'any', expiresAt: date(issuedAt + ends) };
}

function read006(text: string, channel: string): MediaToken {
  const fields = reader(bytesOfBase64(text.slice(32)));
  fields.bytes(); // the signature
  const checksum = fields.u32();
  fields.u32(); // the checksum of the user
  const message = reader(fields.bytes());
  message.u32(); // the salt
  const ends = message.u32();
  const join = message.map().get(JOIN) ?? ends;
  return { version: '006', appId: text.slice(0, 32), isFor: checksum === crc32(channel), expiresAt: date(Math.min(ends, join || ends)) };
}

function crc32(text: string): number {
  let crc = 0xffffffff;
  for (const byte of new TextEncoder().encode(text)) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return (crc ^ 0xffffffff) >>> 0;
}
