// Typing indicators: passed on at most every two seconds, stopped by themselves after five. Never stored.

import { otherIn, personal, room } from "./people.mjs";
import { TYPING_EXPIRY_MS, TYPING_THROTTLE_MS } from "./settings.mjs";
import { Refusal, objectOf, text } from "./failure.mjs";

/** One for each socket: in which conversations it types. */
export class Typing {
  #socket;
  #me;
  #active = new Map();

  constructor(socket, me) {
    this.#socket = socket;
    this.#me = me;
  }

  start(raw) {
    const key = this.#named(raw);
    const now = Date.now();
    const before = this.#active.get(key);
    if (before) {
      before.expiry.refresh();
      if (now - before.told < TYPING_THROTTLE_MS) return {};
      before.told = now;
    } else if (otherIn(key, this.#me)) {
      this.#active.set(key, { told: now, expiry: setTimeout(() => this.#end(key), TYPING_EXPIRY_MS) });
    } else {
      return {};
    }
    this.#tell(key, "dm:typing_start", "dm:user_typing");
    return {};
  }

  stop(raw) {
    this.#end(this.#named(raw));
    return {};
  }

  /** A message was sent, or the socket left. */
  sent(key) {
    if (this.#active.size > 0) this.#end(key);
  }

  close() {
    for (const key of [...this.#active.keys()]) this.#end(key);
  }

  #named(raw) {
    const key = text(objectOf(raw), "conversationId");
    if (!key) throw new Refusal("INVALID_PAYLOAD", "conversationId is missing");
    return key;
  }

  #end(key) {
    const active = this.#active.get(key);
    if (!active) return;
    clearTimeout(active.expiry);
    this.#active.delete(key);
    this.#tell(key, "dm:typing_stop", "dm:user_stopped_typing");
  }

  #tell(conversationId, ...names) {
    const { id: userId, type: userType, name: userName } = this.#me;
    const others = this.#socket.to(room(conversationId)).except(personal(this.#me));
    for (const name of names) others.emit(name, { conversationId, userId, userType, userName });
  }
}
