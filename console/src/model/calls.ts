// The call of one side: ringing, answered, over. Sound and picture are Agora's and not here.

import { signal } from '@preact/signals';
import type { Ack, Line, Payload } from './line';
import { isSame, type Kind, type Person } from './people';
import { rest, type Failure } from './rest';

export type CallType = 'voice' | 'video';
export type Stage = 'starting' | 'ringing' | 'incoming' | 'accepted' | 'connected' | 'over';

export interface Call {
  id: string;
  isOutgoing: boolean;
  type: CallType;
  other: Person;
  stage: Stage;
  /** When it began to ring here, or was answered. */
  since: number;
  channel?: string;
  token?: string;
  appId?: string;
  uid?: number;
  /** How it ended, for people. */
  outcome?: string;
  wasMissed?: boolean;
  duration?: number;
}

const FORGET_MS = 8_000;

export class Calls {
  readonly call = signal<Call | null>(null);
  readonly missed = signal<Call[]>([]);
  readonly problem = signal<Failure | null>(null);
  /** The call whose dialog was put away while it rings on. */
  readonly hidden = signal('');
  #token = '';
  #forget: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly line: Line) {
    line.on('call:incoming', (payload) => this.#incoming(payload));
    line.on('call:accept', (payload) => this.#step(payload, { stage: 'accepted', since: Date.now(), ...media(payload) }));
    line.on('call:connected', (payload) => this.#step(payload, { stage: 'connected' }));
    line.on('call:reject', (payload) => this.#over(payload, payload['reason'] === 'busy' ? 'Busy' : 'Declined'));
    line.on('call:missed', (payload) => this.#missed(payload));
    line.on('call:end', (payload) => {
      if (payload['reason'] !== 'missed') this.#over(payload, ended(payload));
    });
    line.on('connected', () => void this.#lookUp());
    line.on('resync', () => void this.#lookUp());
  }

  reset(token: string): void {
    this.#token = token;
    this.call.value = null;
    this.missed.value = [];
    this.problem.value = null;
  }

  #isLive(call = this.call.value): call is Call {
    return call !== null && call.stage !== 'over';
  }

  async start(other: Person, type: CallType): Promise<void> {
    if (this.#isLive()) return;
    clearTimeout(this.#forget);
    this.call.value = { id: '', isOutgoing: true, type, other, stage: 'starting', since: Date.now() };
    const answer = await this.line.ask('call:initiate', { calleeId: other.id, calleeType: other.type, callType: type });
    if (!answer.ok) {
      this.call.value = null;
      this.problem.value = answer;
    } else if (this.call.value?.stage === 'starting') {
      this.call.value = { ...this.call.value, id: answer['callId'], stage: 'ringing', ...media(answer) };
      if (answer['reason'] === 'busy') this.#over(answer, 'Busy');
    }
  }

  accept(): Promise<void> {
    return this.#act('call:accept', (answer) => this.#step(answer, { stage: 'accepted', since: Date.now(), ...media(answer) }));
  }

  reject(): Promise<void> {
    return this.#act('call:reject', (answer) => this.#over(answer, 'Declined'));
  }

  end(): Promise<void> {
    return this.#act('call:end', (answer) => this.#over(answer, this.call.value?.stage === 'ringing' ? 'Cancelled' : 'Call ended'));
  }

  /** What an app says once sound flows. */
  reportMedia(): Promise<void> {
    return this.#act('call:connected', (answer) => this.#step(answer, { stage: 'connected' }));
  }

  async renewToken(): Promise<void> {
    return this.#act('call:token', (answer) => this.#step(answer, media(answer)));
  }

  dismiss(): void {
    if (!this.#isLive()) this.call.value = null;
  }

  forgetMissed(): void {
    this.missed.value = [];
  }

  async #act(event: string, done: (answer: Payload) => void): Promise<void> {
    const call = this.call.value;
    if (!call?.id) return;
    const answer: Ack = await this.line.ask(event, { callId: call.id });
    if (answer.ok) done({ ...answer, callId: call.id });
    else if (answer.code !== 'ANSWERED_ELSEWHERE' && answer.code !== 'CALL_NOT_RINGING') this.problem.value = answer;
  }

  #incoming(payload: Payload): void {
    // A second one rings on; it is shown when this one is over.
    if (this.#isLive() && this.call.value?.id !== payload['callId']) return;
    clearTimeout(this.#forget);
    this.call.value = {
      id: payload['callId'],
      isOutgoing: false,
      type: payload['callType'],
      other: { id: payload['callerId'], type: payload['callerType'], name: payload['callerName'] },
      stage: 'incoming',
      since: Date.parse(payload['timestamp']) || Date.now(),
      ...media(payload),
    };
  }

  #step(payload: Payload, change: Partial<Call>): void {
    const call = this.call.value;
    if (!this.#isLive(call) || call.id !== payload['callId']) return;
    // Heard again after a reconnect: it is no step back.
    if (change.stage === 'accepted' && call.stage === 'connected') return;
    const isFirst = change.stage !== call.stage;
    this.call.value = { ...call, ...change, since: isFirst && change.since ? change.since : call.since };
  }

  #missed(payload: Payload): void {
    const call = this.call.value;
    if (call?.id === payload['callId'] && this.#isLive(call)) {
      if (!call.isOutgoing) this.missed.value = [...this.missed.value, call];
      this.#over(payload, call.isOutgoing ? 'No answer' : 'Missed call');
    } else {
      void this.#lookUpMissed(payload['callId']);
    }
  }

  /** Told on connecting of a call that rang while nobody was there. */
  async #lookUpMissed(id: string): Promise<void> {
    const answer = await rest<Payload>('GET', `/api/calls/${id}`, { token: this.#token });
    if (!answer.ok || this.missed.value.some((call) => call.id === id)) return;
    const call = this.#fromView(answer.data);
    if (call && !call.isOutgoing) this.missed.value = [...this.missed.value, call];
  }

  #over(payload: Payload, outcome: string): void {
    const call = this.call.value;
    if (!this.#isLive(call) || call.id !== payload['callId']) return;
    const wasAnswered = call.stage === 'accepted' || call.stage === 'connected';
    const duration = payload['duration'] ?? (wasAnswered ? Math.round((Date.now() - call.since) / 1000) : undefined);
    this.call.value = { ...call, stage: 'over', outcome, wasMissed: outcome === 'Missed call', duration: wasAnswered ? duration : undefined };
    clearTimeout(this.#forget);
    this.#forget = setTimeout(() => this.dismiss(), FORGET_MS);
    void this.#lookUp();
  }

  /** What the store says of calls that are not over: the truth after a lost line. */
  async #lookUp(): Promise<void> {
    const token = this.#token;
    const active = await rest<Payload[]>('GET', '/api/calls/active', { token });
    if (!active.ok || token !== this.#token) return;
    const call = this.call.value;
    if (this.#isLive(call) && call.id) {
      const mine = active.data.find((one) => one['callId'] === call.id);
      if (mine) {
        const state = mine['state'];
        if (state === 'accepted' || state === 'connected') this.#step({ callId: call.id }, { stage: state, since: Date.parse(mine['answeredAt']) });
        return;
      }
      const view = await rest<Payload>('GET', `/api/calls/${call.id}`, { token });
      if (view.ok && view.data['endedAt']) this.#over({ ...view.data, callId: call.id }, ended({ reason: view.data['endReason'] }));
    } else if (!call) {
      const found = active.data.map((one) => this.#fromView(one)).find((one) => one?.stage !== 'over');
      // Ringing ones are offered by the server itself, as `call:incoming`.
      if (found && found.stage !== 'incoming') this.call.value = found;
    }
  }

  #fromView(view: Payload): Call | undefined {
    const me = this.line.me.value;
    if (!me) return undefined;
    const side = (name: string): Person => ({ id: view[`${name}Id`], type: view[`${name}Type`] as Kind, name: view[`${name}Name`] });
    const isOutgoing = isSame(side('caller'), me);
    const stages: Record<string, Stage> = { accepted: 'accepted', connected: 'connected', initiated: isOutgoing ? 'ringing' : 'incoming', ringing: isOutgoing ? 'ringing' : 'incoming' };
    return {
      id: view['callId'],
      isOutgoing,
      type: view['callType'],
      other: side(isOutgoing ? 'callee' : 'caller'),
      stage: stages[view['state']] ?? 'over',
      since: Date.parse(view['answeredAt'] ?? view['initiatedAt']),
      channel: view['channelName'],
    };
  }
}

function media(payload: Payload): Partial<Call> {
  return { channel: payload['channelName'], token: payload['agoraToken'], appId: payload['agoraAppId'], uid: payload['uid'] };
}

function ended(payload: Payload): string {
  switch (payload['endReason'] ?? payload['reason']) {
    case 'cancelled':
      return 'Cancelled by the caller';
    case 'no_answer':
    case 'missed':
      return 'No answer';
    case 'rejected':
    case 'declined':
      return 'Declined';
    case 'answered_elsewhere':
      return 'Answered elsewhere';
    case 'network_error':
      return 'Line lost';
    default:
      return payload['reason'] === 'answered_elsewhere' ? 'Answered elsewhere' : 'Call ended';
  }
}
