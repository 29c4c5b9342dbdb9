// What operators may change, seen from outside. Contract: 10.1 rows 2, 12, 36; 7.4, 7.5.
import assert from 'node:assert/strict';
import { onEveryStore } from './support/stage.mjs';

const env = {
  ALLOW_QUERY_TOKEN: 'on',
  CORS_ORIGINS: 'https://app.example.com,https://admin.example.com',
  DELETE_WINDOW: '700ms',
  ECHO_TO_FLUTTER_SENDER: 'on',
  LEGACY_HISTORY_RESPONSE: 'on',
};

onEveryStore((it) => {
  it('10.1 row 2: ALLOW_QUERY_TOKEN lets Engine.IO 4 clients put the token into the query', async (stage) => {
    const user = stage.person('user');
    for (const version of [4, 3, 2]) {
      for (const transport of ['websocket', 'polling']) {
        const client = await stage.connect(user, { version, transport, token: undefined, query: { token: user.token } });
        assert.equal(client.greeting.user.id, user.id);
      }
    }
  });

  it('10.1 row 12: after DELETE_WINDOW the sender may no longer delete for everyone, an admin may, and for oneself always', async (stage) => {
    const { astrologer, key, userSocket } = await stage.talk();
    const admin = await stage.connect(stage.admin);
    const fresh = (await userSocket.send(astrologer, 'soon', { conversationId: key })).message;
    await userSocket.ask('dm:delete_message', { messageId: fresh._id, scope: 'everyone' });
    const { _id: messageId } = (await userSocket.send(astrologer, 'late', { conversationId: key })).message;
    await new Promise((resolve) => setTimeout(resolve, 800));
    await userSocket.refused('FORBIDDEN', 'dm:delete_message', { messageId, scope: 'everyone' });
    await userSocket.ask('dm:delete_message', { messageId, scope: 'me' });
    await admin.ask('dm:delete_message', { messageId, scope: 'everyone' });
  });

  it('10.1 row 36: with CORS_ORIGINS only the listed origins are allowed, with credentials', async (stage) => {
    for (const path of ['/health', '/socket.io/?EIO=4&transport=polling']) {
      for (const [origin, allowed] of [['https://app.example.com', true], ['https://admin.example.com', true], ['https://evil.example.com', false]]) {
        const { headers } = await fetch(stage.server.url + path, { headers: { origin } });
        assert.equal(headers.get('access-control-allow-origin'), allowed ? origin : null);
        if (allowed) assert.equal(headers.get('access-control-allow-credentials'), 'true');
      }
    }
  });

  it('7.4: ECHO_TO_FLUTTER_SENDER gives the app its own echo', async (stage) => {
    const { user, astrologer, key } = stage.pair();
    const app = await stage.connect(user, { headers: { 'User-Agent': 'Dart/3.0 (dart:io)' } });
    app.socket.emit('get_stats');
    await app.next('stats');
    await app.join(key);
    const { message } = await app.send(astrologer, 'x', { conversationId: key });
    assert.deepEqual(await app.copies(message._id), ['dm:message_received', 'dm:message_sent']);
  });

  it('7.5: LEGACY_HISTORY_RESPONSE sends history under both names to everyone', async (stage) => {
    const { key, userSocket } = await stage.talk({ first: 'x' });
    userSocket.socket.emit('dm:history', { conversationId: key });
    assert.deepEqual(await userSocket.next('dm:history'), await userSocket.next('dm:history_response'));
  });
}, { env });
