// Small things that several parts of the page use.

import type { ComponentChildren } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { initials, type Person } from '../model/people';
import type { Failure } from '../model/rest';
import { Icon, type IconName } from './icons';

export function Avatar({ person, size = 'normal' }: { person: Person; size?: 'normal' | 'large' }) {
  return (
    <span class={`avatar ${size}`} data-kind={person.type} aria-hidden="true">
      {initials(person)}
    </span>
  );
}

export function IconButton(props: { icon: IconName; label: string; onClick: () => void; class?: string; disabled?: boolean; pressed?: boolean }) {
  return (
    <button type="button" class={`icon-button ${props.class ?? ''}`} aria-label={props.label} title={props.label} aria-pressed={props.pressed} disabled={props.disabled} onClick={props.onClick}>
      <Icon name={props.icon} />
    </button>
  );
}

/** Something went wrong: said once, and closed by whoever has read it. */
export function Problem({ failure, onClose }: { failure: Failure | null; onClose: () => void }) {
  if (!failure) return null;
  return (
    <div class="problem" role="alert">
      <Icon name="warn" />
      <p>
        <code>{failure.code}</code> {failure.message}
        {failure.retryAfterMs ? ` Again in ${Math.ceil(failure.retryAfterMs / 1000)} s.` : ''}
      </p>
      <IconButton icon="close" label="Dismiss" onClick={onClose} />
    </div>
  );
}

/** The time, every second while it is looked at. */
export function useNow(isWanted = true): number {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    if (!isWanted) return;
    setNow(Date.now());
    const timer = setInterval(() => setNow(Date.now()), 500);
    return () => clearInterval(timer);
  }, [isWanted]);
  return now;
}

/** A dialog over one side: the other one stays usable. Escape closes it, Tab stays inside, and the focus goes back to where it was. */
export function Dialog({ title, onClose, children }: { title: string; onClose: () => void; children: ComponentChildren }) {
  const box = useRef<HTMLDivElement>(null);
  // Before it is painted: a key pressed at once, Escape above all, is already the dialog's.
  useLayoutEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    focusable(box.current)[0]?.focus();
    return () => before?.focus();
  }, []);
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === 'Escape') {
      event.stopPropagation();
      onClose();
    }
    if (event.key !== 'Tab') return;
    const all = focusable(box.current);
    const [first, last] = [all[0], all.at(-1)];
    const from = event.shiftKey ? first : last;
    // A click beside the buttons leaves the focus on the box itself.
    if (document.activeElement !== from && document.activeElement !== box.current) return;
    event.preventDefault();
    (event.shiftKey ? last : first)?.focus();
  };
  return (
    <div class="veil" onClick={(event) => event.target === event.currentTarget && onClose()}>
      <div class="dialog" role="dialog" aria-label={title} tabIndex={-1} ref={box} onKeyDown={onKeyDown}>
        <h2>{title}</h2>
        {children}
      </div>
    </div>
  );
}

function focusable(box: HTMLElement | null): HTMLElement[] {
  return [...(box?.querySelectorAll<HTMLElement>('input, textarea, select, button:not(:disabled), a[href]') ?? [])];
}

export function clock(at: string | number | Date): string {
  return new Date(at).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
}

export function lasting(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const two = (n: number) => String(n).padStart(2, '0');
  const hours = Math.floor(seconds / 3600);
  return `${hours ? `${hours}:${two(Math.floor(seconds / 60) % 60)}` : Math.floor(seconds / 60)}:${two(seconds % 60)}`;
}

/** Today's by the time, others by the day. */
export function shortDate(at: string): string {
  const date = new Date(at);
  return date.toDateString() === new Date().toDateString() ? clock(date) : date.toLocaleDateString([], { day: 'numeric', month: 'short' });
}

/** Puts a text on the clipboard, which pages that are not encrypted may only do the old way. */
export async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement('textarea');
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    return done;
  }
}
