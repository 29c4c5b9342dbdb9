// The raw events of both sides: filtered, unfolded, copied as code.

import { useLayoutEffect, useRef, useState } from 'preact/hooks';
import { asCode, type Direction, type Entry, type Side } from '../model/log';
import { log } from '../model/side';
import { Icon } from './icons';
import { copy, IconButton } from './parts';

const ARROWS: Record<Direction, [string, string]> = {
  sent: ['→', 'sent'],
  heard: ['←', 'heard'],
  ack: ['↩', 'answer'],
};

export function LogView() {
  const [isOpen, setOpen] = useState(true);
  const [words, setWords] = useState('');
  const [side, setSide] = useState<Side | 'both'>('both');
  const [direction, setDirection] = useState<Direction | 'all'>('all');
  const entries = log.entries.value;
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = isOpen
    ? entries.filter((entry) => {
        if (side !== 'both' && entry.side !== side) return false;
        if (direction !== 'all' && entry.direction !== direction) return false;
        const text = wanted.length ? `${entry.event} ${entry.who} ${JSON.stringify(entry.payload)}`.toLowerCase() : '';
        return wanted.every((word) => text.includes(word));
      })
    : [];
  return (
    <section class={`log card ${isOpen ? '' : 'folded'}`} aria-label="Events">
      <header class="log-head">
        <button type="button" class="fold" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
          <Icon name="chevron" size={15} />
          <h2>Events</h2>
          <span class="faint">{entries.length}</span>
        </button>
        {isOpen && (
          <>
            <input type="search" aria-label="Filter events" placeholder="Filter: dm:send_message, a word, an id" value={words} onInput={(event) => setWords(event.currentTarget.value)} />
            <span class="select boxed small">
              <select aria-label="Side" value={side} onChange={(event) => setSide(event.currentTarget.value as Side | 'both')}>
                <option value="both">Both sides</option>
                <option value="left">Left</option>
                <option value="right">Right</option>
              </select>
            </span>
            <span class="select boxed small">
              <select aria-label="Direction" value={direction} onChange={(event) => setDirection(event.currentTarget.value as Direction | 'all')}>
                <option value="all">All directions</option>
                <option value="sent">Sent →</option>
                <option value="heard">Heard ←</option>
                <option value="ack">Answers ↩</option>
              </select>
            </span>
            <IconButton icon={log.isPaused.value ? 'play' : 'pause'} label={log.isPaused.value ? 'Go on' : 'Pause'} pressed={log.isPaused.value} onClick={() => (log.isPaused.value = !log.isPaused.value)} />
            <IconButton icon="trash" label="Clear events" onClick={() => log.clear()} />
          </>
        )}
      </header>
      {isOpen && <Rows entries={shown} />}
    </section>
  );
}

function Rows({ entries }: { entries: Entry[] }) {
  const list = useRef<HTMLUListElement>(null);
  const atEnd = useRef(true);
  useLayoutEffect(() => {
    if (atEnd.current) list.current!.scrollTop = list.current!.scrollHeight;
  }, [entries]);
  const onScroll = () => {
    const box = list.current!;
    atEnd.current = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  };
  return (
    <ul class="log-rows" ref={list} onScroll={onScroll} tabIndex={0} aria-label="Events, oldest first">
      {entries.length === 0 && <li class="empty">No events yet, or none that fit the filter.</li>}
      {entries.map((entry) => (
        <Row key={entry.n} entry={entry} />
      ))}
    </ul>
  );
}

function Row({ entry }: { entry: Entry }) {
  const [isOpen, setOpen] = useState(false);
  const [isCopied, setCopied] = useState(false);
  const [arrow, word] = ARROWS[entry.direction];
  const line = entry.payload === undefined ? '' : JSON.stringify(entry.payload);
  const onCopy = async () => {
    setCopied(await copy(asCode(entry)));
    setTimeout(() => setCopied(false), 1500);
  };
  const isFailure = entry.direction === 'ack' && (entry.payload as { ok?: boolean } | undefined)?.ok === false;
  return (
    <li class={`log-row ${isFailure || entry.event.endsWith('error') ? 'failure' : ''}`} data-direction={entry.direction} data-side={entry.side}>
      <div class="log-line">
        <button type="button" class="log-open" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
          <time>{time(entry.at)}</time>
          <span class="log-side">{entry.side === 'left' ? 'L' : 'R'}</span>
          <span class="log-arrow" role="img" aria-label={word}>
            {arrow}
          </span>
          <span class="log-event">{entry.event}</span>
          <span class="log-payload">{line}</span>
        </button>
        <button type="button" class="log-copy link" onClick={() => void onCopy()}>
          {isCopied ? 'Copied' : 'Copy as code'}
        </button>
      </div>
      {isOpen && <pre tabIndex={0}>{JSON.stringify(entry.payload, null, 2)}</pre>}
    </li>
  );
}

function time(at: Date): string {
  const two = (n: number, digits = 2) => String(n).padStart(digits, '0');
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${two(at.getMilliseconds(), 3)}`;
}
