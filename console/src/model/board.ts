// What the server says of itself, sample by sample. It counts from its start; here these counts become rates.

import { signal } from '@preact/signals';
import type { Kind, Person } from './people';
import { rest, type Answer, type Credential, type Failure } from './rest';

const EVERY_MS = 2_000;
const KEPT = 150;

export interface Board {
  at: string | number;
  uptimeSeconds: number;
  connections: { total: number; websocket: number; polling: number; byType: Record<Kind, number> };
  messages: { accepted: number; refused: number };
  deliveries: number;
  calls: { ringing: number; active: number };
  writeQueue: { depth: number };
  store: { engine: string; healthy: boolean; commitMs?: { p50?: number | null; p99?: number | null } };
  limits: { hits: number };
  bus: { configured: boolean; healthy: boolean };
}

/** One moment: what is, and how fast what is counted goes up. `null` where it is not known. */
export interface Sample {
  at: number;
  websocket: number;
  polling: number;
  users: number;
  astrologers: number;
  admins: number;
  accepted: number | null;
  refused: number | null;
  deliveries: number | null;
  ringing: number;
  active: number;
  queue: number;
  p50: number | null;
  p99: number | null;
  hits: number | null;
}

export interface SessionRow {
  socketId: string;
  userId: string;
  userType: Kind;
  transport: string;
  connectedAt: string;
  address: string;
}

export class Watcher {
  readonly board = signal<Board | null>(null);
  readonly samples = signal<Sample[]>([]);
  readonly failure = signal<Failure | null>(null);
  readonly credential = signal<Credential | null>(null);
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isRunning = false;

  /** Uses these from now on; what was seen with others is forgotten. */
  signIn(credential: Credential | null): void {
    this.credential.value = credential;
    this.board.value = null;
    this.samples.value = [];
    this.failure.value = null;
    if (this.#isRunning) this.start();
  }

  start(): void {
    this.stop();
    this.#isRunning = true;
    void this.#look();
  }

  stop(): void {
    this.#isRunning = false;
    clearTimeout(this.#timer);
  }

  async #look(): Promise<void> {
    const credential = this.credential.value;
    if (!credential) return;
    const answer = await rest<Board>('GET', '/api/admin/board', credential);
    if (credential !== this.credential.value || !this.#isRunning) return;
    if (answer.ok) {
      this.#take(answer.data);
    } else {
      this.failure.value = answer;
      // A wrong key is not asked again and again: the server counts those.
      if (answer.code.startsWith('auth.') || answer.code === 'FORBIDDEN' || answer.code === 'NOT_FOUND') {
        this.credential.value = null;
        return;
      }
    }
    this.#timer = setTimeout(() => void this.#look(), Math.max(EVERY_MS, answer.ok ? 0 : (answer.retryAfterMs ?? 0)));
  }

  #take(board: Board): void {
    const before = this.board.value;
    const at = time(board);
    const seconds = before ? (at - time(before)) / 1000 : 0;
    // A count that went down was begun anew: the server was restarted.
    const rate = (count: (board: Board) => number) => {
      const gained = before && seconds > 0 ? count(board) - count(before) : -1;
      return gained < 0 ? null : gained / seconds;
    };
    const sample: Sample = {
      at,
      websocket: board.connections.websocket,
      polling: board.connections.polling,
      users: board.connections.byType.user,
      astrologers: board.connections.byType.astrologer,
      admins: board.connections.byType.admin,
      accepted: rate((one) => one.messages.accepted),
      refused: rate((one) => one.messages.refused),
      deliveries: rate((one) => one.deliveries),
      ringing: board.calls.ringing,
      active: board.calls.active,
      queue: board.writeQueue.depth,
      p50: board.store.commitMs?.p50 ?? null,
      p99: board.store.commitMs?.p99 ?? null,
      hits: rate((one) => one.limits.hits),
    };
    this.failure.value = null;
    this.board.value = board;
    this.samples.value = [...this.samples.value, sample].slice(-KEPT);
  }

  sessions(person: Person): Promise<Answer<SessionRow[]>> {
    return rest('GET', `/api/admin/sessions?type=${person.type}&id=${encodeURIComponent(person.id)}`, this.credential.value ?? undefined);
  }

  revoke(person: Person): Promise<Answer<{ closedSockets: number }>> {
    return rest('POST', '/api/admin/sessions/revoke', this.credential.value ?? undefined, { userId: person.id, type: person.type });
  }
}

function time(board: Board): number {
  return typeof board.at === 'number' ? board.at : Date.parse(board.at);
}
