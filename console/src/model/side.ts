// One of the two sides of the page: somebody with a line, conversations and calls.

import { signal } from '@preact/signals';
import { Calls } from './calls';
import { Chats } from './chats';
import { Line } from './line';
import { Log, type Side as SideName } from './log';
import type { DemoPerson, Kind } from './people';
import { rest } from './rest';

export const log = new Log();

/** Who may be played without a token; empty unless the server offers it. */
export const demo = signal<DemoPerson[] | null>(null);

/** Asks for demo people, with fresh tokens. */
export async function loadDemo(): Promise<DemoPerson[]> {
  const answer = await rest<DemoPerson[]>('GET', '/api/demo');
  demo.value = answer.ok ? answer.data : [];
  return demo.value;
}

export class Side {
  readonly line: Line;
  readonly chats: Chats;
  readonly calls: Calls;
  /** The demo person this is, or nobody. */
  readonly playing = signal<Kind | null>(null);

  constructor(readonly name: SideName) {
    this.line = new Line(name, log);
    this.chats = new Chats(this.line);
    this.calls = new Calls(this.line);
  }

  signIn(token: string): void {
    this.chats.reset(token, demo.value ?? []);
    this.calls.reset(token);
    this.line.connect(token);
  }

  /** Signs in as a demo person, with a token made for it now. */
  async play(kind: Kind): Promise<void> {
    const people = await loadDemo();
    const person = people.find((one) => one.type === kind);
    if (!person) return;
    this.playing.value = kind;
    remember(this.name, kind);
    this.signIn(person.token);
  }

  /** Signs in with a token somebody pasted. It is kept nowhere but in this page. */
  paste(token: string): void {
    this.playing.value = null;
    this.signIn(token.trim().replace(/^Bearer\s+/i, ''));
  }

  signOut(): void {
    this.playing.value = null;
    this.line.hangUp();
    this.chats.reset('', []);
    this.calls.reset('');
  }
}

export const left = new Side('left');
export const right = new Side('right');

function remember(side: SideName, kind: Kind): void {
  try {
    sessionStorage.setItem(`samvad.${side}`, kind);
  } catch {
    // A browser that keeps nothing begins anew each time.
  }
}

function remembered(side: SideName): Kind | undefined {
  try {
    return (sessionStorage.getItem(`samvad.${side}`) as Kind | null) ?? undefined;
  } catch {
    return undefined;
  }
}

/** What the page begins with: a user and an astrologer, if the server offers demo people. */
export async function begin(): Promise<void> {
  const people = await loadDemo();
  if (people.length === 0) return;
  await left.play(remembered('left') ?? 'user');
  await right.play(remembered('right') ?? 'astrologer');
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) return;
    left.chats.seen();
    right.chats.seen();
  });
}
