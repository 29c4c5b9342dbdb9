// The conversations of one side: what was said in them, what is on its way, and catching up after a lost line.

import { signal } from '@preact/signals';
import type { Line, Payload } from './line';
import { later, merged, messageOf, senderOf, summary, type Message, type Status } from './messages';
import { canonicalKey, isSame, nameOf, type Kind, type Person } from './people';
import { rest, type Failure } from './rest';

const PAGE = 30;
const TYPING_EVERY_MS = 2_000;
const SEND_AGAIN_MS = 3_000;

export interface Last {
  text: string;
  at: string;
  isMine: boolean;
}

/** A conversation with one other person. */
export class Thread {
  readonly messages = signal<Message[]>([]);
  readonly last = signal<Last | null>(null);
  readonly unread = signal(0);
  readonly hasOlder = signal(false);
  readonly isLoading = signal(false);
  readonly isTyping = signal(false);
  readonly draft = signal('');
  readonly replyTo = signal<Message | null>(null);
  /** The newest message with no gap before it. */
  cursor: string | undefined;
  /** The server's clock when this was last complete. */
  completeAt: string | undefined;
  isLoaded = false;

  readonly #other;

  constructor(
    readonly key: string,
    other: Person,
  ) {
    this.#other = signal(other);
  }

  get other(): Person {
    return this.#other.value;
  }

  /** A conversation need not know names; messages mostly do. */
  learn(name: string | undefined): void {
    if (name && name !== this.#other.peek().name) this.#other.value = { ...this.#other.peek(), name };
  }
}

export class Chats {
  readonly threads = signal<Thread[]>([]);
  readonly open = signal<Thread | null>(null);
  readonly problem = signal<Failure | null>(null);
  /** Conversations that are caught up on this connection: only there live messages move the cursor. */
  #current = new Set<string>();
  /** Receipts of messages that have not been seen yet. */
  #early = new Map<string, Status>();
  #outbox: Array<{ thread: Thread; message: Message }> = [];
  #isSending = false;
  #typedAt = 0;
  /** The server's clock when this connection began. */
  #serverTime: string | undefined;
  #token = '';
  #known: Person[] = [];

  constructor(private readonly line: Line) {
    for (const event of ['dm:message_received', 'dm:new_message', 'dm:message_sent']) line.on(event, (payload) => this.#live(messageOf(payload)));
    line.on('dm:messages_delivered', (payload) => this.#mark(payload['messageIds'], 'delivered'));
    line.on('dm:messages_read', (payload) => {
      this.#mark(payload['messageIds'], 'read');
      if (this.#isMe({ id: payload['readBy'], type: payload['readByType'] })) void this.refresh();
    });
    line.on('dm:message_deleted', (payload) => this.#deleted(payload));
    line.on('dm:typing_start', (payload) => this.#typing(payload, true));
    line.on('dm:typing_stop', (payload) => this.#typing(payload, false));
    line.on('connected', (payload) => {
      this.#serverTime = payload['serverTime'];
      void this.#connected();
    });
    line.on('resync', () => void this.#connected());
    line.state.subscribe((state) => {
      if (state === 'up') return;
      this.#current.clear();
      this.threads.peek().forEach((thread) => (thread.isTyping.value = false));
    });
  }

  /** Begins anew as somebody. `known` are people one may want to write to. */
  reset(token: string, known: Person[]): void {
    this.#token = token;
    this.#known = known;
    this.#outbox = [];
    this.#early.clear();
    this.#current.clear();
    this.threads.value = [];
    this.open.value = null;
    this.problem.value = null;
  }

  #isMe(person: Person): boolean {
    return this.line.me.value !== null && isSame(person, this.line.me.value);
  }

  isMine(message: Message): boolean {
    return this.#isMe(senderOf(message));
  }

  /** Whom one could write to first: people of the other kinds without a conversation yet. */
  strangers(): Person[] {
    const me = this.line.me.value;
    if (!me) return [];
    return this.#known.filter((person) => canonicalKey(me, person) && !this.threads.value.some((thread) => isSame(thread.other, person)));
  }

  async #connected(): Promise<void> {
    await this.refresh();
    const thread = this.open.value;
    if (thread) await this.#catchUp(thread);
    void this.#flush();
  }

  /** Reads the list of conversations again. */
  async refresh(): Promise<void> {
    const token = this.#token;
    const answer = await rest<Payload[]>('GET', '/api/conversations?limit=100', { token });
    if (token !== this.#token) return;
    if (!answer.ok) {
      if (answer.code !== 'NO_ANSWER') this.problem.value = answer;
      return;
    }
    for (const one of answer.data) {
      const other = (one['participants'] as Person[]).find((person) => !this.#isMe(person));
      if (!other) continue;
      const thread = this.#thread(one['conversationKey'], other);
      thread.unread.value = thread === this.open.value ? 0 : one['unreadCount'];
      const last = one['lastMessage'];
      if (last?.timestamp) this.#showLast(thread, { text: summary({ ...last, isDeleted: false }), at: last.timestamp, isMine: this.#isMe({ id: last.senderId, type: last.senderType }) });
      else thread.last.value = null;
    }
    this.#sort();
  }

  #thread(key: string, other: Person): Thread {
    const found = this.threads.value.find((thread) => thread.key === key);
    if (found) return found;
    const known = this.#known.find((person) => isSame(person, other));
    const thread = new Thread(key, { ...other, name: other.name ?? known?.name });
    this.threads.value = [...this.threads.value, thread];
    return thread;
  }

  #showLast(thread: Thread, last: Last): void {
    thread.last.value = last;
  }

  #sort(): void {
    const at = (thread: Thread) => thread.last.peek()?.at ?? '';
    this.threads.value = [...this.threads.value].sort((a, b) => (at(a) < at(b) ? 1 : at(a) > at(b) ? -1 : 0));
  }

  /** Opens the conversation with somebody; the first message begins it. */
  async openWith(other: Person): Promise<boolean> {
    const key = this.line.me.value && canonicalKey(this.line.me.value, other);
    if (!key) {
      this.problem.value = { ok: false, code: 'FORBIDDEN', message: `${this.line.me.value?.type ?? 'nobody'} and ${other.type} have no conversations` };
      return false;
    }
    await this.show(this.#thread(key, other));
    return true;
  }

  async show(thread: Thread): Promise<void> {
    if (this.open.value === thread) return;
    this.close();
    this.open.value = thread;
    await this.#catchUp(thread);
  }

  /** Leaves the open conversation: what is said there now counts as unread. */
  close(): void {
    const thread = this.open.value;
    if (!thread) return;
    this.open.value = null;
    this.#current.delete(thread.key);
    this.line.tell('dm:leave_conversation', { conversationId: thread.key });
  }

  /** Join what is open, then ask for what is newer than the cursor. Source: docs/protocol.md#reconnecting. */
  async #catchUp(thread: Thread): Promise<void> {
    thread.isLoading.value = true;
    const joined = await this.line.ask('dm:join_conversation', { conversationId: thread.key });
    const done = joined.ok && (thread.isLoaded ? await this.#sync(thread) : await this.#firstPage(thread));
    thread.isLoading.value = false;
    if (!joined.ok && joined.code !== 'OFFLINE' && joined.code !== 'NO_ANSWER') this.problem.value = joined;
    if (!done || this.open.value !== thread) return;
    this.#current.add(thread.key);
    this.#read(thread);
  }

  async #firstPage(thread: Thread): Promise<boolean> {
    const begun = this.#serverTime;
    const page = await this.line.ask('dm:history', { conversationId: thread.key, limit: PAGE });
    if (!page.ok) return false;
    (page['messages'] as Message[]).forEach((message) => this.#take(thread, message));
    thread.cursor = page['messages'].at(-1)?._id;
    thread.hasOlder.value = page['hasMore'];
    thread.unread.value = page['unreadCount'];
    thread.completeAt = begun;
    thread.isLoaded = true;
    return true;
  }

  async #sync(thread: Thread): Promise<boolean> {
    const since = thread.completeAt;
    for (let hasMore = true; hasMore; ) {
      const page = await this.line.ask('dm:sync', { conversationId: thread.key, limit: 200, ...(thread.cursor && { after: thread.cursor }), ...(since && { since }) });
      if (!page.ok) {
        if (page.code !== 'MESSAGE_NOT_FOUND') return false;
        thread.cursor = undefined;
        return this.#firstPage(thread);
      }
      (page['messages'] as Message[]).forEach((message) => this.#take(thread, message));
      for (const change of page['changes'] ?? []) {
        if (change.isDeleted) this.#strike(thread, change.messageId);
        else this.#mark([change.messageId], change.status);
      }
      thread.cursor = page['cursor'] ?? thread.cursor;
      thread.completeAt = page['serverTime'];
      hasMore = page['hasMore'];
    }
    return true;
  }

  async loadOlder(thread: Thread): Promise<void> {
    const oldest = thread.messages.value.find((message) => message.status !== 'pending' && message.status !== 'failed');
    if (!oldest || !thread.hasOlder.value || thread.isLoading.value) return;
    thread.isLoading.value = true;
    const page = await this.line.ask('dm:history', { conversationId: thread.key, before: oldest._id, limit: PAGE, markRead: false });
    if (page.ok) {
      (page['messages'] as Message[]).forEach((message) => this.#take(thread, message));
      thread.hasOlder.value = page['hasMore'];
    }
    thread.isLoading.value = false;
  }

  /** Shows a message once, whoever told it. */
  #take(thread: Thread, message: Message): boolean {
    const isNew = !thread.messages.value.some((known) => known._id === message._id);
    if (!this.isMine(message)) thread.learn(message.senderName);
    const early = this.#early.get(message._id);
    this.#early.delete(message._id);
    thread.messages.value = merged(thread.messages.value, early ? { ...message, status: later(message.status, early) } : message);
    return isNew;
  }

  #live(message: Message): void {
    const me = this.line.me.value;
    if (!me) return;
    const [sender, recipient] = [senderOf(message), { id: message.recipientId, type: message.recipientType }];
    const isMine = isSame(sender, me);
    // An admin who looks on hears what others say to each other; that is not shown here.
    if (!isMine && !isSame(recipient, me)) return;
    const thread = this.#thread(message.conversationKey, isMine ? recipient : sender);
    const isNew = this.#take(thread, message);
    if (this.#current.has(thread.key)) thread.cursor = message._id;
    if (!isMine) thread.isTyping.value = false;
    if ((thread.last.value?.at ?? '') <= message.createdAt) this.#showLast(thread, { text: summary(message), at: message.createdAt, isMine });
    this.#sort();
    if (!isNew || isMine || message.messageType === 'call_log') return;
    if (thread === this.open.value && !document.hidden) this.#read(thread);
    else thread.unread.value += 1;
  }

  #read(thread: Thread): void {
    thread.unread.value = 0;
    const hasUnread = thread.messages.value.some((message) => !this.isMine(message) && message.messageType !== 'call_log' && message.status !== 'read');
    if (hasUnread) void this.line.ask('dm:mark_read', { conversationId: thread.key });
  }

  /** The page is looked at again. */
  seen(): void {
    if (this.open.value) this.#read(this.open.value);
  }

  #mark(ids: string[], status: Status): void {
    const wanted = new Set(ids);
    for (const thread of this.threads.value) {
      if (!thread.messages.value.some((message) => wanted.has(message._id))) continue;
      thread.messages.value = thread.messages.value.map((message) => {
        if (!wanted.delete(message._id)) return message;
        return { ...message, status: later(message.status, status) };
      });
    }
    wanted.forEach((id) => this.#early.set(id, status));
  }

  #typing(payload: Payload, isTyping: boolean): void {
    const thread = this.threads.value.find((one) => one.key === payload['conversationId']);
    if (thread && isSame({ id: payload['userId'], type: payload['userType'] }, thread.other)) {
      thread.learn(payload['userName']);
      thread.isTyping.value = isTyping;
    }
  }

  typed(thread: Thread, text: string): void {
    thread.draft.value = text;
    if (text === '') {
      if (this.#typedAt) this.line.tell('dm:typing_stop', { conversationId: thread.key });
      this.#typedAt = 0;
    } else if (Date.now() - this.#typedAt >= TYPING_EVERY_MS) {
      this.#typedAt = Date.now();
      this.line.tell('dm:typing_start', { conversationId: thread.key });
    }
  }

  send(thread: Thread, said: { content: string; mediaUrl?: string }): void {
    const me = this.line.me.value;
    if (!me) return;
    const clientMessageId = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random().toString(16).slice(2)}`;
    const message: Message = {
      _id: clientMessageId,
      clientMessageId,
      conversationKey: thread.key,
      senderId: me.id,
      senderType: me.type,
      recipientId: thread.other.id,
      recipientType: thread.other.type,
      content: said.content,
      messageType: said.mediaUrl ? 'image' : 'text',
      mediaUrl: said.mediaUrl,
      replyTo: thread.replyTo.value?._id,
      status: 'pending',
      createdAt: new Date().toISOString(),
      isDeleted: false,
    };
    thread.replyTo.value = null;
    thread.draft.value = '';
    this.#typedAt = 0;
    this.#queue(thread, message);
  }

  sendAgain(thread: Thread, message: Message): void {
    this.#queue(thread, { ...message, status: 'pending', failure: undefined });
  }

  #queue(thread: Thread, message: Message): void {
    thread.messages.value = merged(thread.messages.value.filter((one) => one._id !== message._id), message);
    this.#outbox.push({ thread, message });
    void this.#flush();
  }

  /** Sends what waits, one after the other. What got no answer stays: repeating it with the same `clientMessageId` is safe. */
  async #flush(): Promise<void> {
    if (this.#isSending) return;
    this.#isSending = true;
    const outbox = this.#outbox;
    for (let next = outbox[0]; next; next = outbox[0]) {
      const { thread, message } = next;
      const answer = await this.line.ask('dm:send_message', {
        conversationId: thread.key,
        content: message.content,
        messageType: message.messageType,
        clientMessageId: message.clientMessageId,
        ...(message.mediaUrl && { mediaUrl: message.mediaUrl }),
        ...(message.replyTo && { replyTo: message.replyTo }),
      });
      if (outbox !== this.#outbox) break;
      if (answer.ok) {
        outbox.shift();
        this.#live(messageOf(answer['message']));
      } else if (answer.code === 'OFFLINE') {
        break;
      } else if (['NO_ANSWER', 'UNAVAILABLE', 'OVERLOADED'].includes(answer.code)) {
        setTimeout(() => void this.#flush(), SEND_AGAIN_MS);
        break;
      } else {
        outbox.shift();
        this.#fail(thread, message, answer);
      }
    }
    this.#isSending = false;
  }

  #fail(thread: Thread, message: Message, failure: Failure): void {
    const wait = failure.retryAfterMs ? ` Again in ${Math.ceil(failure.retryAfterMs / 1000)} s.` : '';
    const failed: Message = { ...message, status: 'failed', failure: `${failure.code}: ${failure.message}.${wait}` };
    thread.messages.value = merged(thread.messages.value.filter((one) => one._id !== message._id), failed);
  }

  async delete(thread: Thread, message: Message, scope: 'me' | 'everyone'): Promise<void> {
    const answer = await this.line.ask('dm:delete_message', { conversationId: thread.key, messageId: message._id, scope });
    if (!answer.ok) this.problem.value = answer;
  }

  #deleted(payload: Payload): void {
    for (const thread of this.threads.value) {
      if (!thread.messages.value.some((message) => message._id === payload['messageId'])) continue;
      if (payload['scope'] === 'everyone') this.#strike(thread, payload['messageId']);
      else thread.messages.value = thread.messages.value.filter((message) => message._id !== payload['messageId']);
    }
    void this.refresh();
  }

  #strike(thread: Thread, id: string): void {
    thread.messages.value = thread.messages.value.map((message) => (message._id === id ? { ...message, isDeleted: true, content: '', mediaUrl: undefined } : message));
  }
}

/** The words for somebody who types. */
export function typingText(thread: Thread): string {
  return `${nameOf(thread.other)} is typing`;
}

export function isKind(text: string): text is Kind {
  return text === 'admin' || text === 'astrologer' || text === 'user';
}
