// One connection to the server: who it is, whether it stands, what goes over it.

import { signal } from '@preact/signals';
import { io, type Socket } from 'socket.io-client';
import type { Log, Side } from './log';
import { nameOf, type Person } from './people';
import type { Failure } from './rest';

export type LineState = 'off' | 'connecting' | 'up' | 'lost' | 'cut' | 'refused';
// Events are as many as the server has; what is read of them is read where they are used.
export type Payload = Record<string, any>;
export type Ack = ({ ok: true } & Payload) | Failure;

const ACK_TIMEOUT_MS = 10_000;
const RETRY_MS = 5_000;

export class Line {
  readonly state = signal<LineState>('off');
  /** Why it was refused: one of the server's codes. */
  readonly refusal = signal('');
  readonly transport = signal('');
  readonly me = signal<Person | null>(null);
  #socket: Socket | null = null;
  #listeners = new Map<string, Array<(payload: Payload) => void>>();
  #retry: ReturnType<typeof setTimeout> | undefined;

  constructor(
    readonly side: Side,
    private readonly log: Log,
  ) {}

  /** Hears an event, on this and every later connection. */
  on(event: string, listener: (payload: Payload) => void): void {
    this.#listeners.set(event, [...(this.#listeners.get(event) ?? []), listener]);
  }

  connect(token: string): void {
    this.hangUp();
    this.state.value = 'connecting';
    this.refusal.value = '';
    const socket = io({
      auth: { token },
      forceNew: true,
      transports: ['websocket', 'polling'],
      tryAllTransports: true,
      reconnectionDelay: 300,
      reconnectionDelayMax: 3_000,
    });
    this.#socket = socket;
    socket.onAny((event: string, payload: Payload) => {
      if (event === 'connected') this.#begin(socket, payload);
      this.#note('heard', event, payload);
      this.#listeners.get(event)?.forEach((listener) => listener(payload ?? {}));
    });
    socket.on('disconnect', () => {
      if (this.state.value !== 'cut') this.state.value = 'lost';
    });
    socket.on('connect_error', (error) => this.#failed(socket, error.message));
    socket.io.on('reconnect_attempt', () => {
      if (this.state.value === 'lost') this.state.value = 'connecting';
    });
  }

  #begin(socket: Socket, payload: Payload): void {
    this.me.value = { id: payload['user'].id, type: payload['user'].type, name: payload['user'].name };
    this.state.value = 'up';
    const engine = socket.io.engine;
    this.transport.value = engine.transport.name;
    engine.on('upgrade', (transport) => (this.transport.value = transport.name));
  }

  #failed(socket: Socket, message: string): void {
    if (message.startsWith('auth.')) {
      this.state.value = 'refused';
      this.refusal.value = message;
    } else if (!socket.active) {
      // Refused for now only (UNAVAILABLE, RATE_LIMITED): the library does not try again by itself then.
      this.state.value = 'lost';
      this.#retry = setTimeout(() => socket.connect(), RETRY_MS);
    } else if (this.state.value !== 'cut') {
      this.state.value = 'lost';
    }
  }

  /** Says goodbye: nothing is given back afterwards. */
  hangUp(): void {
    clearTimeout(this.#retry);
    this.#socket?.offAny();
    this.#socket?.disconnect();
    this.#socket = null;
    this.state.value = 'off';
    this.me.value = null;
  }

  /** Closes the transport under the session, as a tunnel does to a phone, until it is mended. */
  cut(): void {
    const socket = this.#socket;
    if (!socket) return;
    this.state.value = 'cut';
    socket.io.reconnection(false);
    socket.io.engine?.close();
  }

  mend(): void {
    const socket = this.#socket;
    if (!socket) return;
    this.state.value = 'connecting';
    socket.io.reconnection(true);
    socket.connect();
  }

  /** Emits an event and waits for its answer. Without a connection it fails at once: whoever asks decides what is asked again. */
  async ask(event: string, payload: Payload): Promise<Ack> {
    const socket = this.#socket;
    if (!socket?.connected || this.state.value !== 'up') return { ok: false, code: 'OFFLINE', message: 'There is no connection' };
    this.#note('sent', event, payload);
    try {
      const answer: Ack = await socket.timeout(ACK_TIMEOUT_MS).emitWithAck(event, payload);
      this.#note('ack', event, answer);
      return answer;
    } catch {
      return { ok: false, code: 'NO_ANSWER', message: 'No answer came' };
    }
  }

  /** Emits an event whose answer nobody waits for; lost when there is no connection. */
  tell(event: string, payload: Payload): void {
    if (this.state.value !== 'up') return;
    this.#note('sent', event, payload);
    this.#socket?.volatile.emit(event, payload);
  }

  #note(direction: 'sent' | 'heard' | 'ack', event: string, payload: unknown): void {
    this.log.note(this.side, this.me.value ? nameOf(this.me.value) : this.side, direction, event, payload);
  }
}
