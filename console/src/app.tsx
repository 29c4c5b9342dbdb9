// The page: its two parts, and what stands above both.

import { effect, signal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { begin, left, right } from './model/side';
import { nextTheme, theme } from './theme';
import { Icon } from './ui/icons';
import { IconButton } from './ui/parts';
import { LogView } from './ui/log';
import { SideView } from './ui/side';
import { Watch } from './ui/watch';

type View = 'try' | 'watch';

const view = signal<View>(location.hash === '#watch' ? 'watch' : 'try');
addEventListener('hashchange', () => (view.value = location.hash === '#watch' ? 'watch' : 'try'));

// What is unread is seen in the tab of the browser too.
effect(() => {
  const unread = [left, right].flatMap((side) => side.chats.threads.value).reduce((sum, thread) => sum + thread.unread.value, 0);
  document.title = unread ? `(${unread}) Samvad console` : 'Samvad console';
});

export function App() {
  useEffect(() => void begin(), []);
  return (
    <>
      <header class="top">
        <a class="brand" href="#try">
          <Logo />
          <span>Samvad</span>
        </a>
        <nav class="tabs" aria-label="Parts of the console">
          <a href="#try" aria-current={view.value === 'try' ? 'page' : undefined}>
            <Icon name="chat" size={16} /> Try it
          </a>
          <a href="#watch" aria-current={view.value === 'watch' ? 'page' : undefined}>
            <Icon name="pulse" size={16} /> Watch it
          </a>
        </nav>
        <IconButton icon={theme.value === 'auto' ? 'auto' : theme.value === 'light' ? 'sun' : 'moon'} label={`Colours: ${theme.value}`} onClick={nextTheme} />
      </header>
      {view.value === 'watch' ? (
        <Watch />
      ) : (
        <main class="try" aria-label="Try it">
          <h1 class="only-heard">Try it</h1>
          <div class="sides">
            <SideView side={left} />
            <SideView side={right} />
          </div>
          <LogView />
        </main>
      )}
    </>
  );
}

function Logo() {
  return (
    <svg class="logo" width="26" height="26" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="9" />
      <path class="one" d="M9 19.500v-7A3.500 3.500 0 0 1 12.500 9h5" />
      <path class="two" d="M23 12.500v7a3.500 3.500 0 0 1-3.500 3.500h-5" />
      <circle cx="16" cy="16" r="2.400" />
    </svg>
  );
}
