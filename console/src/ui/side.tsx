// One side of "Try it": who it is, its line, its conversations and its call.

import { useState } from 'preact/hooks';
import { claimsOf, KINDS, nameOf, type Kind } from '../model/people';
import type { LineState } from '../model/line';
import { demo, type Side } from '../model/side';
import { Icon } from './icons';
import { CallBar, IncomingCall } from './call';
import { Avatar, Dialog, Problem } from './parts';
import { ThreadList } from './threads';
import { ThreadView } from './thread';

const STATES: Record<LineState, string> = {
  off: 'Not connected',
  connecting: 'Connecting',
  up: 'Connected',
  lost: 'Connection lost, trying again',
  cut: 'Line cut',
  refused: 'Refused',
};

export function SideView({ side }: { side: Side }) {
  const me = side.line.me.value;
  const state = side.line.state.value;
  const [isPasting, setPasting] = useState(false);
  const open = side.chats.open.value;
  const label = `${side.name === 'left' ? 'Left' : 'Right'} side${me ? `: ${nameOf(me)}` : ''}`;
  const isOn = state !== 'off' && state !== 'refused';
  return (
    <section class="side card" data-kind={me?.type ?? side.playing.value ?? 'none'} data-testid={side.name} aria-label={label}>
      <header class="side-head">
        {me ? <Avatar person={me} /> : <span class="avatar empty" aria-hidden="true" />}
        <div class="who">
          <Identity side={side} onPaste={() => setPasting(true)} />
          <p class="line-state" data-state={state} role="status">
            <span class="dot" />
            {STATES[state]}
            {state === 'up' && <span class="faint"> · {side.line.transport.value}</span>}
            {state === 'refused' && <code>{side.line.refusal.value}</code>}
          </p>
        </div>
        {isOn && state !== 'cut' && (
          <button type="button" class="quiet" disabled={state !== 'up'} onClick={() => side.line.cut()} title="Close the transport as a tunnel would, and stay away until mended">
            <Icon name="cut" />
            <span>Cut the line</span>
          </button>
        )}
        {state === 'cut' && (
          <button type="button" class="primary" onClick={() => side.line.mend()}>
            <Icon name="plug" />
            <span>Mend it</span>
          </button>
        )}
      </header>
      <Problem failure={side.chats.problem.value} onClose={() => (side.chats.problem.value = null)} />
      <Problem failure={side.calls.problem.value} onClose={() => (side.calls.problem.value = null)} />
      <CallBar side={side} />
      {me || isOn ? (
        <div class={`chats ${open ? 'has-open' : ''}`}>
          <ThreadList side={side} />
          {open ? <ThreadView key={open.key} side={side} thread={open} /> : <Nothing />}
        </div>
      ) : (
        <SignIn side={side} onPaste={() => setPasting(true)} />
      )}
      <IncomingCall side={side} />
      {isPasting && <PasteToken side={side} onClose={() => setPasting(false)} />}
    </section>
  );
}

function Nothing() {
  return (
    <div class="nothing">
      <Icon name="chat" size={30} />
      <p>Choose a conversation, or begin one.</p>
    </div>
  );
}

/** Who this side is. Changing it signs in as somebody else. */
function Identity({ side, onPaste }: { side: Side; onPaste: () => void }) {
  const people = demo.value ?? [];
  const playing = side.playing.value;
  const me = side.line.me.value;
  const choose = (choice: string) => {
    if (choice === 'paste') onPaste();
    else if (choice === 'out') side.signOut();
    else void side.play(choice as Kind);
  };
  const value = playing ?? (me ? 'pasted' : 'none');
  return (
    <span class="select">
      <select
        aria-label={`Who the ${side.name} side is`}
        value={value}
        onChange={(event) => {
          choose(event.currentTarget.value);
          event.currentTarget.value = value;
        }}
      >
        {value === 'none' && <option value="none">Nobody</option>}
        {value === 'pasted' && <option value="pasted">{nameOf(me!)}</option>}
        {KINDS.flatMap((kind) => people.filter((person) => person.type === kind)).map((person) => (
          <option key={person.type} value={person.type}>
            {person.name}
          </option>
        ))}
        <option value="paste">Paste a token…</option>
        {value !== 'none' && <option value="out">Sign out</option>}
      </select>
      <Icon name="chevron" size={14} />
    </span>
  );
}

function SignIn({ side, onPaste }: { side: Side; onPaste: () => void }) {
  return (
    <div class="nothing">
      <Icon name="key" size={30} />
      {side.line.state.value === 'refused' ? (
        <p>
          The server refused the token: <code>{side.line.refusal.value}</code>
        </p>
      ) : (
        <p>Sign in to talk.</p>
      )}
      <div class="row">
        {(demo.value ?? []).map((person) => (
          <button type="button" class="quiet" key={person.type} onClick={() => void side.play(person.type)}>
            {person.name}
          </button>
        ))}
        <button type="button" class={demo.value?.length ? 'quiet' : 'primary'} onClick={onPaste}>
          Paste a token
        </button>
      </div>
      {demo.value?.length === 0 && (
        <p class="hint">
          Make one beside the server: <code>samvad token --id u42 --type user --name Asha</code>
        </p>
      )}
    </div>
  );
}

function PasteToken({ side, onClose }: { side: Side; onClose: () => void }) {
  const [text, setText] = useState('');
  const claims = claimsOf(text);
  return (
    <Dialog title="Sign in with a token" onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          side.paste(text);
          onClose();
        }}
      >
        <label>
          Token of a user, astrologer or admin
          <textarea rows={5} spellcheck={false} autocomplete="off" value={text} onInput={(event) => setText(event.currentTarget.value)} />
        </label>
        <p class="hint">{claims ? `It says: ${shown(claims)}` : 'It stays in this page and is forgotten with it.'}</p>
        <div class="row end">
          <button type="button" class="quiet" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="primary" disabled={!text.trim()}>
            Sign in
          </button>
        </div>
      </form>
    </Dialog>
  );
}

function shown(claims: Record<string, unknown>): string {
  const type = claims['type'] ?? claims['userType'] ?? claims['role'] ?? (claims['astrologerId'] ? 'astrologer' : 'no type');
  const id = claims['astrologerId'] ?? claims['userId'] ?? claims['id'] ?? claims['_id'] ?? claims['sub'] ?? 'no id';
  const ends = typeof claims['exp'] === 'number' ? `, until ${new Date(claims['exp'] * 1000).toLocaleString()}` : '';
  return `${type} ${id}${ends}`;
}

