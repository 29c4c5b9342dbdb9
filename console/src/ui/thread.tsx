// A conversation: messages with ticks, answering, deleting, images, older pages on scrolling up.

import { Fragment } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { typingText, type Thread } from '../model/chats';
import { summary, type Message, type Status } from '../model/messages';
import { nameOf } from '../model/people';
import type { Side } from '../model/side';
import { Icon, type IconName } from './icons';
import { clock, Dialog, IconButton, lasting } from './parts';

/** Messages of one person within this time stand together. */
const TOGETHER_MS = 3 * 60_000;
const NEAR_PX = 80;

export function ThreadView({ side, thread }: { side: Side; thread: Thread }) {
  const [isLeaving, setLeaving] = useState<Message | null>(null);
  const call = side.calls.call.value;
  const cannotCall = side.line.state.value !== 'up' || (call !== null && call.stage !== 'over');
  return (
    <div class="thread-view">
      <header class="thread-bar">
        <IconButton icon="back" label="Close conversation" onClick={() => side.chats.close()} />
        <div class="thread-title">
          <h2>{nameOf(thread.other)}</h2>
          <p class="faint">{thread.isTyping.value ? <span class="typing">typing…</span> : thread.other.type}</p>
        </div>
        <IconButton icon="phone" label="Voice call" disabled={cannotCall} onClick={() => void side.calls.start(thread.other, 'voice')} />
        <IconButton icon="video" label="Video call" disabled={cannotCall} onClick={() => void side.calls.start(thread.other, 'video')} />
      </header>
      <Messages side={side} thread={thread} onDelete={setLeaving} />
      <Composer side={side} thread={thread} />
      {isLeaving && <DeleteDialog side={side} thread={thread} message={isLeaving} onClose={() => setLeaving(null)} />}
    </div>
  );
}

function Messages({ side, thread, onDelete }: { side: Side; thread: Thread; onDelete: (message: Message) => void }) {
  const list = useRef<HTMLDivElement>(null);
  const messages = thread.messages.value;
  const isTyping = thread.isTyping.value;
  // What was seen before the list changed, to keep it in view.
  const before = useRef({ height: 0, top: 0, first: '', atEnd: true });

  useLayoutEffect(() => {
    const box = list.current!;
    const { height, first, atEnd } = before.current;
    const newest = messages.at(-1);
    const isAddedAbove = first !== '' && messages[0]?._id !== first && messages.some((message) => message._id === first);
    if (isAddedAbove) box.scrollTop += box.scrollHeight - height;
    else if (atEnd || newest?.status === 'pending') box.scrollTop = box.scrollHeight;
    note();
  }, [messages, isTyping]);

  const note = () => {
    const box = list.current!;
    const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_PX;
    before.current = { height: box.scrollHeight, top: box.scrollTop, first: messages[0]?._id ?? '', atEnd };
  };
  const onScroll = () => {
    note();
    if (list.current!.scrollTop < NEAR_PX) void side.chats.loadOlder(thread);
  };
  // What has grown (an image that came) must not hide the end.
  const onLoad = () => {
    if (before.current.atEnd) list.current!.scrollTop = list.current!.scrollHeight;
  };

  return (
    <div class="messages" role="log" aria-label="Messages" tabIndex={0} ref={list} onScroll={onScroll} onLoadCapture={onLoad}>
      <ol>
        {thread.hasOlder.value && (
          <li class="older">
            <button type="button" class="quiet small" onClick={() => void side.chats.loadOlder(thread)}>
              {thread.isLoading.value ? 'Loading…' : 'Older messages'}
            </button>
          </li>
        )}
        {messages.length === 0 && !thread.isLoading.value && <li class="empty">Nothing has been said yet.</li>}
        {messages.map((message, index) => {
          const previous = messages[index - 1];
          const isNewDay = !previous || new Date(previous.createdAt).toDateString() !== new Date(message.createdAt).toDateString();
          const isTogether = !isNewDay && previous!.messageType !== 'call_log' && previous!.senderId === message.senderId && previous!.senderType === message.senderType && Date.parse(message.createdAt) - Date.parse(previous!.createdAt) < TOGETHER_MS;
          return (
            <Fragment key={message.clientMessageId ?? message._id}>
              {isNewDay && <li class="day">{day(message.createdAt)}</li>}
              {message.messageType === 'call_log' ? <CallLog side={side} message={message} /> : <Bubble side={side} thread={thread} message={message} isTogether={isTogether} onDelete={onDelete} />}
            </Fragment>
          );
        })}
        {isTyping && (
          <li class="bubble-row theirs">
            <span class="bubble dots" aria-label={typingText(thread)}>
              <i />
              <i />
              <i />
            </span>
          </li>
        )}
      </ol>
    </div>
  );
}

function Bubble({ side, thread, message, isTogether, onDelete }: { side: Side; thread: Thread; message: Message; isTogether: boolean; onDelete: (message: Message) => void }) {
  const isMine = side.chats.isMine(message);
  const answered = message.replyTo ? thread.messages.value.find((one) => one._id === message.replyTo) : undefined;
  const isStored = message.status !== 'pending' && message.status !== 'failed';
  return (
    <li class={`bubble-row ${isMine ? 'mine' : 'theirs'} ${isTogether ? 'together' : ''}`} data-message={message._id}>
      <div class={`bubble ${message.isDeleted ? 'deleted' : ''} ${message.status === 'failed' ? 'failed' : ''}`}>
        {message.replyTo && !message.isDeleted && (
          <blockquote>
            <b>{answered ? (side.chats.isMine(answered) ? 'You' : nameOf(thread.other)) : 'An earlier message'}</b>
            {answered && <span>{summary(answered)}</span>}
          </blockquote>
        )}
        {message.mediaUrl && !message.isDeleted && <Picture url={message.mediaUrl} text={message.content} />}
        {message.isDeleted ? <p>Message deleted</p> : message.content && <p>{message.content}</p>}
        <span class="meta">
          <time dateTime={message.createdAt}>{clock(message.createdAt)}</time>
          {isMine && !message.isDeleted && <Tick status={message.status} />}
        </span>
      </div>
      {isStored && !message.isDeleted && (
        <span class="tools">
          <IconButton icon="reply" label="Reply" onClick={() => (thread.replyTo.value = message)} />
          <IconButton icon="trash" label="Delete" onClick={() => onDelete(message)} />
        </span>
      )}
      {message.status === 'failed' && (
        <p class="failure">
          {message.failure}{' '}
          <button type="button" class="link" onClick={() => side.chats.sendAgain(thread, message)}>
            Send again
          </button>
        </p>
      )}
    </li>
  );
}

const TICKS: Record<Status, [IconName, string]> = {
  pending: ['clock', 'On its way'],
  failed: ['warn', 'Not sent'],
  sent: ['check', 'Sent'],
  delivered: ['checks', 'Delivered'],
  read: ['checks', 'Read'],
};

function Tick({ status }: { status: Status }) {
  const [icon, label] = TICKS[status];
  return (
    <span class="tick" data-status={status} role="img" aria-label={label} title={label}>
      <Icon name={icon} size={15} />
    </span>
  );
}

function Picture({ url, text }: { url: string; text: string }) {
  const [isBroken, setBroken] = useState(false);
  if (isBroken) {
    return (
      <a class="picture broken" href={url} target="_blank" rel="noreferrer noopener">
        <Icon name="image" /> Image cannot be shown
      </a>
    );
  }
  return (
    <a class="picture" href={url} target="_blank" rel="noreferrer noopener">
      <img src={url} alt={text || 'Image'} referrerPolicy="no-referrer" onError={() => setBroken(true)} />
    </a>
  );
}

function CallLog({ side, message }: { side: Side; message: Message }) {
  const isMissed = message.callStatus === 'missed' && !side.chats.isMine(message);
  return (
    <li class={`call-log ${isMissed ? 'missed' : ''}`} data-call-status={message.callStatus}>
      <Icon name={message.callType === 'video' ? 'video' : 'phone'} size={15} />
      <span>{message.content}</span>
      {message.callStatus === 'completed' && <span class="faint">{lasting((message.callDuration ?? 0) * 1000)}</span>}
      <time class="faint" dateTime={message.createdAt}>
        {clock(message.createdAt)}
      </time>
    </li>
  );
}

function Composer({ side, thread }: { side: Side; thread: Thread }) {
  const area = useRef<HTMLTextAreaElement>(null);
  const [isAddingImage, setAddingImage] = useState(false);
  const replyTo = thread.replyTo.value;
  const text = thread.draft.value;
  useEffect(() => area.current?.focus({ preventScroll: true }), [replyTo]);
  useLayoutEffect(() => {
    // As high as what is written, up to a limit of the style sheet.
    const box = area.current!;
    box.style.height = 'auto';
    box.style.height = `${box.scrollHeight}px`;
  }, [text]);
  const send = () => {
    if (text.trim()) side.chats.send(thread, { content: text.trim() });
    area.current?.focus();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send();
    } else if (event.key === 'Escape' && replyTo) {
      thread.replyTo.value = null;
    }
  };
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      {replyTo && (
        <div class="replying">
          <Icon name="reply" size={15} />
          <span>
            <b>{side.chats.isMine(replyTo) ? 'You' : nameOf(thread.other)}</b> {summary(replyTo)}
          </span>
          <IconButton icon="close" label="Do not reply" onClick={() => (thread.replyTo.value = null)} />
        </div>
      )}
      <div class="composer-row">
        <IconButton icon="image" label="Send an image" onClick={() => setAddingImage(true)} />
        <textarea
          ref={area}
          rows={1}
          maxLength={4000}
          aria-label={`Message to ${nameOf(thread.other)}`}
          placeholder="Write a message"
          value={text}
          onInput={(event) => side.chats.typed(thread, event.currentTarget.value)}
          onKeyDown={onKeyDown}
        />
        <button type="submit" class="send" aria-label="Send" title="Send" disabled={!text.trim()}>
          <Icon name="send" />
        </button>
      </div>
      {isAddingImage && <ImageDialog side={side} thread={thread} onClose={() => setAddingImage(false)} />}
    </form>
  );
}

function ImageDialog({ side, thread, onClose }: { side: Side; thread: Thread; onClose: () => void }) {
  const [url, setUrl] = useState('');
  const [text, setText] = useState('');
  const isGood = /^https:\/\/[^\s/]+/.test(url.trim());
  const send = () => {
    if (!isGood) return;
    side.chats.send(thread, { content: text.trim(), mediaUrl: url.trim() });
    onClose();
  };
  // Not a form: it stands in one.
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key !== 'Enter') return;
    event.preventDefault();
    send();
  };
  return (
    <Dialog title="Send an image" onClose={onClose}>
      <label>
        Address
        <input type="url" inputMode="url" placeholder="https://…" value={url} onInput={(event) => setUrl(event.currentTarget.value)} onKeyDown={onKeyDown} />
      </label>
      <label>
        Text
        <input value={text} maxLength={4000} placeholder="May be empty" onInput={(event) => setText(event.currentTarget.value)} onKeyDown={onKeyDown} />
      </label>
      <p class="hint">The server carries the address, not the image.</p>
      <div class="row end">
        <button type="button" class="quiet" onClick={onClose}>
          Cancel
        </button>
        <button type="button" class="primary" disabled={!isGood} onClick={send}>
          Send
        </button>
      </div>
    </Dialog>
  );
}

function DeleteDialog({ side, thread, message, onClose }: { side: Side; thread: Thread; message: Message; onClose: () => void }) {
  const mayForAll = side.chats.isMine(message) || side.line.me.value?.type === 'admin';
  const go = (scope: 'me' | 'everyone') => {
    onClose();
    void side.chats.delete(thread, message, scope);
  };
  return (
    <Dialog title="Delete this message?" onClose={onClose}>
      <p class="quoted">{summary(message)}</p>
      <div class="column">
        <button type="button" class="quiet" onClick={() => go('me')}>
          Delete for me
        </button>
        {mayForAll && (
          <button type="button" class="danger" onClick={() => go('everyone')}>
            Delete for everyone
          </button>
        )}
        <button type="button" class="quiet" onClick={onClose}>
          Cancel
        </button>
      </div>
    </Dialog>
  );
}

function day(at: string): string {
  const date = new Date(at);
  if (date.toDateString() === new Date().toDateString()) return 'Today';
  return date.toLocaleDateString([], { weekday: 'long', day: 'numeric', month: 'long' });
}
