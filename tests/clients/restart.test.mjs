// A server that goes down and comes back: exit code 0, nothing acknowledged is lost, clients return by themselves. Issue section 6, notes T19.
import assert from 'node:assert/strict';
import { hexId, onEveryStore } from './support/stage.mjs';

onEveryStore((it) => {
  it('conformance 28: SIGTERM ends with code 0, clients reconnect to the restarted server, catch up, and find every acknowledged message', async (stage) => {
    const { user, astrologer, key } = stage.pair();
    const [sender, receiver, poller] = await Promise.all([
      stage.connect(user, { reconnect: true }),
      stage.connect(astrologer, { reconnect: true, version: 3 }),
      stage.connect(astrologer, { reconnect: true, version: 2, transport: 'polling' }),
    ]);
    await receiver.join(key);
    const clientMessageId = hexId();
    const first = (await sender.send(astrologer, 'before', { conversationId: key, clientMessageId })).message;
    await receiver.next('dm:message_received');
    const burst = Array.from({ length: 50 }, (_, i) => sender.send(astrologer, `burst ${i}`, { conversationId: key }).then((s) => s.message._id, () => undefined));
    await burst[0];

    const ends = [sender, receiver, poller].map((client) => new Promise((resolve) => client.socket.once('disconnect', resolve)));
    // What the server has not answered stays unanswered: those acks are not waited for.
    const acknowledged = new Set([first._id]);
    for (const sent of burst) sent.then((id) => id && acknowledged.add(id));
    await stage.server.restart({
      // Closing the transport, not the namespace: otherwise the clients would not come back.
      whileDown: async () => assert.ok((await Promise.all(ends)).every((reason) => reason !== 'io server disconnect')),
    });
    for (const client of [sender, receiver, poller]) {
      const again = await client.next('connected', () => true, 20_000);
      assert.equal(again.user.id, client.person.id);
    }
    const missed = await receiver.join(key, { after: first._id, limit: 200 });
    const stored = new Set([first._id, ...missed.messages.map((m) => m._id)]);
    assert.equal(stored.size, missed.messages.length + 1, 'none twice');
    assert.deepEqual([...acknowledged].filter((id) => !stored.has(id)), [], 'none lost');

    const repeat = await sender.send(astrologer, 'before', { conversationId: key, clientMessageId });
    assert.deepEqual([repeat.message._id, repeat.duplicate], [first._id, true]);
    const after = (await sender.send(astrologer, 'after', { conversationId: key })).message;
    assert.deepEqual(await receiver.copies(after._id), ['dm:message_received']);
    assert.ok(after.createdAt >= first.createdAt && after._id > first._id);
    const { unreadCount } = (await stage.rest(astrologer, 'GET', `/api/conversations/${key}`)).data;
    assert.equal(unreadCount, stored.size + 1);
  });
});
