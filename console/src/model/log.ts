// Everything that goes over the lines of both sides, as it was on the wire.

import { signal } from '@preact/signals';

export type Side = 'left' | 'right';
export type Direction = 'sent' | 'heard' | 'ack';

export interface Entry {
  n: number;
  at: Date;
  side: Side;
  who: string;
  direction: Direction;
  event: string;
  payload: unknown;
}

const MOST = 500;

export class Log {
  readonly entries = signal<Entry[]>([]);
  readonly isPaused = signal(false);
  #count = 0;

  note(side: Side, who: string, direction: Direction, event: string, payload: unknown): void {
    if (this.isPaused.value) return;
    // Copied: what is shown must stay what it was.
    const copy = payload === undefined ? undefined : structuredClone(payload);
    const entry = { n: ++this.#count, at: new Date(), side, who, direction, event, payload: copy };
    this.entries.value = [...this.entries.value.slice(-(MOST - 1)), entry];
  }

  clear(): void {
    this.entries.value = [];
  }
}

/** What an app would write to send or hear this. */
export function asCode(entry: Entry): string {
  const name = JSON.stringify(entry.event);
  const payload = JSON.stringify(entry.payload, null, 2);
  if (entry.direction === 'sent') {
    return payload === undefined ? `const answer = await socket.emitWithAck(${name}, {});` : `const answer = await socket.emitWithAck(${name}, ${payload});`;
  }
  const example = payload === undefined ? '' : `\n  // ${payload.replaceAll('\n', '\n  // ')}`;
  if (entry.direction === 'ack') return `const answer = await socket.emitWithAck(${name}, { /* … */ });${example.replaceAll('\n  ', '\n')}`;
  return `socket.on(${name}, (payload) => {${example}\n});`;
}
