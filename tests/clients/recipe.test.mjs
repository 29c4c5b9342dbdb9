// The recipe of docs/protocol.md#reconnecting, run as it is printed there, over a line that is cut again and again: everything arrives, once.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { io } from 'socket.io-client';
import { onEveryStore } from './support/stage.mjs';

const page = readFileSync(new URL('../../docs/protocol.md', import.meta.url), 'utf8');
const recipe = page.slice(page.indexOf('\n## Reconnecting')).match(/```js\n([\s\S]*?)```/)[1];

/** Cuts without a goodbye, as a tunnel does. */
function cut(socket) {
  const transport = socket.io.engine?.transport;
  if (transport?.ws?.terminate) transport.ws.terminate();
  else transport?.onError?.('cut');
}

onEveryStore((it) => {
  for (const transport of ['websocket', 'polling']) {
    it(`the printed recipe misses nothing and shows nothing twice over ${transport} that is cut`, async (stage) => {
      const { user, astrologer, key } = stage.pair();
      const sender = await stage.connect(astrologer);
      const socket = io(stage.server.url, {
        transports: [transport], auth: { token: user.token }, reconnectionDelay: 20, reconnectionDelayMax: 60, forceNew: true,
      });
      const shown = [];
      let retry;
      const retryLater = () => setTimeout(() => socket.connected && retry(), 50);
      const run = new Function('socket', 'show', 'openKeys', 'retryLater', `${recipe}\nreturn catchUpAll;`);
      retry = run(socket, (m) => shown.push(m._id), [key], retryLater);
      let cuts = 0;
      socket.on('disconnect', () => (cuts += 1));
      const sent = [];
      try {
        await sender.send(user, 'first').then(({ message }) => sent.push(message._id));
        for (let n = 0; n < 60; n += 1) {
          if (n % 12 === 5) cut(socket);
          const { message } = await sender.send(user, `message ${n}`);
          sent.push(message._id);
          await sleep(25);
        }
        for (let waited = 0; shown.length < sent.length && waited < 8_000; waited += 50) await sleep(50);
        assert.ok(cuts >= 3, `the line was cut ${cuts} times only`);
        assert.deepEqual([...shown].sort(), [...sent].sort(), 'every message once');
      } finally {
        socket.disconnect();
      }
    });
  }
});
