// The list of conversations, with what is unread.

import { useState } from 'preact/hooks';
import type { Thread } from '../model/chats';
import { KINDS, nameOf, type Kind } from '../model/people';
import type { Side } from '../model/side';
import { Avatar, Dialog, IconButton, shortDate } from './parts';

export function ThreadList({ side }: { side: Side }) {
  const [isBeginning, setBeginning] = useState(false);
  const threads = side.chats.threads.value;
  const strangers = side.chats.strangers();
  return (
    <nav class="threads" aria-label="Conversations">
      <div class="threads-head">
        <h2>Conversations</h2>
        <IconButton icon="plus" label="New conversation" onClick={() => setBeginning(true)} disabled={!side.line.me.value} />
      </div>
      <ul>
        {threads.map((thread) => (
          <Item key={thread.key} side={side} thread={thread} />
        ))}
        {strangers.map((person) => (
          <li key={`${person.type}:${person.id}`}>
            <button type="button" class="thread stranger" onClick={() => void side.chats.openWith(person)}>
              <Avatar person={person} />
              <span class="thread-text">
                <span class="thread-name">{nameOf(person)}</span>
                <span class="thread-last">Say hello</span>
              </span>
            </button>
          </li>
        ))}
      </ul>
      {isBeginning && <NewConversation side={side} onClose={() => setBeginning(false)} />}
    </nav>
  );
}

function Item({ side, thread }: { side: Side; thread: Thread }) {
  const last = thread.last.value;
  const unread = thread.unread.value;
  return (
    <li>
      <button type="button" class="thread" aria-current={side.chats.open.value === thread ? 'true' : undefined} onClick={() => void side.chats.show(thread)}>
        <Avatar person={thread.other} />
        <span class="thread-text">
          <span class="thread-name">{nameOf(thread.other)}</span>
          {last && <time dateTime={last.at}>{shortDate(last.at)}</time>}
          <span class={`thread-last ${thread.isTyping.value ? 'typing' : ''}`}>
            {thread.isTyping.value ? 'typing…' : last ? `${last.isMine ? 'You: ' : ''}${last.text}` : 'No messages yet'}
          </span>
          {unread > 0 && (
            <span class="badge" aria-label={`${unread} unread`}>
              {unread > 99 ? '99+' : unread}
            </span>
          )}
        </span>
      </button>
    </li>
  );
}

function NewConversation({ side, onClose }: { side: Side; onClose: () => void }) {
  const mine = side.line.me.value?.type;
  const kinds = KINDS.filter((kind) => kind !== mine);
  const [kind, setKind] = useState<Kind>(kinds[0]!);
  const [id, setId] = useState('');
  return (
    <Dialog title="New conversation" onClose={onClose}>
      <form
        onSubmit={async (event) => {
          event.preventDefault();
          onClose();
          await side.chats.openWith({ type: kind, id: kind === 'admin' ? 'admin' : id.trim() });
        }}
      >
        <label>
          With whom
          <span class="select boxed">
            <select value={kind} onChange={(event) => setKind(event.currentTarget.value as Kind)}>
              {kinds.map((one) => (
                <option key={one} value={one}>
                  {one === 'user' ? 'A user' : one === 'astrologer' ? 'An astrologer' : 'The admin'}
                </option>
              ))}
            </select>
          </span>
        </label>
        {kind !== 'admin' && (
          <label>
            Id
            <input value={id} required maxLength={64} pattern="[A-Za-z0-9_\-]+" autocomplete="off" placeholder="u42" onInput={(event) => setId(event.currentTarget.value)} />
          </label>
        )}
        <p class="hint">The first message opens it.</p>
        <div class="row end">
          <button type="button" class="quiet" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="primary">
            Begin
          </button>
        </div>
      </form>
    </Dialog>
  );
}
