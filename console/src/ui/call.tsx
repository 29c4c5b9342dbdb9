// The call of one side: the dialog while it rings here, and the bar while it is under way.

import { useEffect, useState } from 'preact/hooks';
import { readToken, type MediaToken } from '../model/agora';
import type { Call } from '../model/calls';
import { nameOf } from '../model/people';
import type { Side } from '../model/side';
import { Icon } from './icons';
import { Avatar, clock, IconButton, lasting, useNow } from './parts';

/** It covers this side only: the caller may be on the other one, and must be able to hang up. So it takes no focus, but is announced. */
export function IncomingCall({ side }: { side: Side }) {
  const call = side.calls.call.value;
  const isRinging = call?.stage === 'incoming';
  const now = useNow(isRinging);
  const title = isRinging ? `Incoming ${call.type} call from ${nameOf(call.other)}` : '';
  return (
    <>
      <p class="only-heard" role="status" aria-live="assertive">
        {title}
      </p>
      {isRinging && side.calls.hidden.value !== call.id && (
        <div class="veil">
          <div
            class="incoming"
            role="alertdialog"
            aria-label={title}
            onKeyDown={(event) => {
              if (event.key === 'Escape') side.calls.hidden.value = call.id;
            }}
          >
            <IconButton icon="close" label="Hide, and let it ring" class="corner" onClick={() => (side.calls.hidden.value = call.id)} />
            <span class="ringing">
              <Avatar person={call.other} size="large" />
            </span>
            <h2>{nameOf(call.other)}</h2>
            <p class="faint">
              Incoming {call.type} call · <time>{lasting(now - call.since)}</time>
            </p>
            <div class="row">
              <button type="button" class="danger" onClick={() => void side.calls.reject()}>
                <Icon name="hangUp" /> Reject
              </button>
              <button type="button" class="accept" onClick={() => void side.calls.accept()}>
                <Icon name={call.type === 'video' ? 'video' : 'phone'} /> Accept
              </button>
            </div>
          </div>
        </div>
      )}
    </>
  );
}

export function CallBar({ side }: { side: Side }) {
  const call = side.calls.call.value;
  const missed = side.calls.missed.value;
  return (
    <>
      {missed.length > 0 && (
        <div class="call-bar missed" role="status">
          <Icon name="phone" />
          <p>
            {missed.length === 1 ? `Missed ${missed[0]!.type} call from ${nameOf(missed[0]!.other)}` : `${missed.length} missed calls`} · {clock(missed.at(-1)!.since)}
          </p>
          <IconButton icon="close" label="Dismiss missed calls" onClick={() => side.calls.forgetMissed()} />
        </div>
      )}
      {call && !call.wasMissed && (call.stage !== 'incoming' || side.calls.hidden.value === call.id) && <Current side={side} call={call} />}
    </>
  );
}

function Current({ side, call }: { side: Side; call: Call }) {
  const isLive = call.stage !== 'over';
  const now = useNow(isLive);
  const isAnswered = call.stage === 'accepted' || call.stage === 'connected';
  const name = nameOf(call.other);
  const texts: Record<Call['stage'], string> = {
    starting: `Calling ${name}`,
    ringing: `Calling ${name}`,
    incoming: `${name} is calling`,
    accepted: `In a ${call.type} call with ${name}`,
    connected: `In a ${call.type} call with ${name}`,
    over: call.outcome ?? 'Call ended',
  };
  return (
    <div class="call-bar" data-stage={call.stage} role="group" aria-label="Call">
      <span class="call-icon">
        <Icon name={call.type === 'video' ? 'video' : 'phone'} />
      </span>
      <p role="status">
        <b>{texts[call.stage]}</b>
        <span class="faint">
          {isLive && <time> · {lasting(now - call.since)}</time>}
          {!isLive && call.duration !== undefined && <span> · {lasting(call.duration * 1000)}</span>}
          {call.stage === 'connected' && ' · media reported'}
        </span>
      </p>
      <span class="row">
        {call.stage === 'accepted' && (
          <button type="button" class="quiet small" title="What an app says once sound flows (call:connected)" onClick={() => void side.calls.reportMedia()}>
            Report media
          </button>
        )}
        {call.stage === 'incoming' && (
          <>
            <button type="button" class="danger small" onClick={() => void side.calls.reject()}>
              Reject
            </button>
            <button type="button" class="accept small" onClick={() => void side.calls.accept()}>
              Accept
            </button>
          </>
        )}
        {(call.stage === 'ringing' || isAnswered) && (
          <button type="button" class="danger small" onClick={() => void side.calls.end()}>
            <Icon name="hangUp" /> {isAnswered ? 'End' : 'Cancel'}
          </button>
        )}
        {!isLive && <IconButton icon="close" label="Dismiss" onClick={() => side.calls.dismiss()} />}
      </span>
      {isAnswered && <Media side={side} call={call} now={now} />}
    </div>
  );
}

/** What a client of Agora would be given. */
function Media({ side, call, now }: { side: Side; call: Call; now: number }) {
  const [token, setToken] = useState<MediaToken | undefined>();
  useEffect(() => {
    let isWanted = true;
    setToken(undefined);
    if (call.token && call.channel) void readToken(call.token, call.channel).then((read) => isWanted && setToken(read));
    return () => void (isWanted = false);
  }, [call.token, call.channel]);
  if (!call.token) {
    return (
      <p class="media faint">
        Channel <code>{call.channel}</code>. No media token: the server has no <code>AGORA_APP_ID</code>.
      </p>
    );
  }
  return (
    <dl class="media">
      <div>
        <dt>Channel in the token</dt>
        <dd>
          <code>{token ? (token.channel ?? call.channel) : '…'}</code>
          {token && !token.isFor && <b class="bad"> not the channel of the call</b>}
        </dd>
      </div>
      <div>
        <dt>App</dt>
        <dd>
          <code>{token?.appId.slice(0, 8)}…</code>
        </dd>
      </div>
      <div>
        <dt>Uid</dt>
        <dd>{token?.uid ?? call.uid ?? '…'}</dd>
      </div>
      <div>
        <dt>Ends</dt>
        <dd>
          {token && `${clock(token.expiresAt)}, in ${lasting(token.expiresAt.getTime() - now)}`}{' '}
          <button type="button" class="link" onClick={() => void side.calls.renewToken()}>
            Renew
          </button>
        </dd>
      </div>
    </dl>
  );
}
