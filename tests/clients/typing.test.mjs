// Typing indicators, which the server ends because the shipped app never does. Contract: 7.6, 10.1 row 3.
import assert from 'node:assert/strict';
import { onEveryStore } from './support/stage.mjs';

const START = ['dm:typing_start', 'dm:user_typing'];
const STOP = ['dm:typing_stop', 'dm:user_stopped_typing'];

const typing = (client) => client.heard.filter((e) => [...START, ...STOP].includes(e.event)).map((e) => e.event);

onEveryStore((it) => {
  it('conformance 11 and 10.1 row 3: both names of the start, and both stop events 5 s after it without a stop sent', async (stage) => {
    const { user, key, userSocket, astrologerSocket } = await stage.talk({ first: 'x' });
    await userSocket.ask('dm:typing_start', { conversationId: key, userId: user.id });
    const expected = { conversationId: key, userId: user.id, userType: 'user', userName: user.name };
    for (const name of START) assert.deepEqual(await astrologerSocket.next(name), expected);
    const started = Date.now();
    for (const name of STOP) assert.deepEqual(await astrologerSocket.next(name), expected);
    const after = Date.now() - started;
    assert.ok(after > 4_500 && after < 7_000, `stopped after ${after} ms`);
    assert.deepEqual(typing(astrologerSocket), [...START, ...STOP]);
  });

  it('7.6: starts are relayed at most every 2 s, and the expiry counts from the last one', async (stage) => {
    const { key, userSocket, astrologerSocket } = await stage.talk({ first: 'x' });
    const started = Date.now();
    let last = started;
    while (Date.now() - started < 2_600) {
      await userSocket.ask('dm:typing_start', { conversationId: key });
      last = Date.now();
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    await astrologerSocket.settle();
    assert.deepEqual(typing(astrologerSocket), [...START, ...START], 'one relay at once and one after 2 s');
    await astrologerSocket.next(STOP[0]);
    const sinceLast = Date.now() - last;
    assert.ok(sinceLast > 4_500 && sinceLast < 7_000, `stopped ${sinceLast} ms after the last start`);
  });

  it('10.1 row 3: a start after a stop is relayed at once; a stop without a start is silent', async (stage) => {
    const { key, userSocket, astrologerSocket } = await stage.talk({ first: 'x' });
    const say = (event) => userSocket.ask(event, { conversationId: key });
    await say('dm:typing_stop');
    for (let round = 0; round < 3; round += 1) {
      await say('dm:typing_start');
      await say('dm:typing_start');
      await say('dm:typing_stop');
      await say('dm:typing_stop');
    }
    await astrologerSocket.settle();
    assert.deepEqual(typing(astrologerSocket), [1, 2, 3].flatMap(() => [...START, ...STOP]));
  });

  it('7.3: typing reaches the room only, and never a socket of the typer', async (stage) => {
    const { user, astrologer, key, userSocket, astrologerSocket } = await stage.talk({ first: 'x' });
    const [ownOther, elsewhere] = await Promise.all([stage.connect(user), stage.connect(astrologer)]);
    await ownOther.join(key);
    await userSocket.ask('dm:typing_start', { conversationId: key, userId: astrologer.id });
    await userSocket.ask('dm:typing_stop', { conversationId: key, userId: astrologer.id });
    for (const name of [...START, ...STOP]) assert.equal((await astrologerSocket.next(name)).userId, user.id);
    for (const client of [userSocket, ownOther, elsewhere]) {
      await client.settle();
      assert.deepEqual(typing(client), []);
    }
  });

  it('7.6: sending, leaving and disconnecting end the typing', async (stage) => {
    const { astrologer, key, userSocket, astrologerSocket } = await stage.talk({ first: 'x' });
    const start = async () => {
      await userSocket.ask('dm:typing_start', { conversationId: key });
      for (const name of START) await astrologerSocket.next(name);
    };
    const began = Date.now();
    await start();
    await userSocket.send(astrologer, 'done', { conversationId: key });
    for (const name of STOP) await astrologerSocket.next(name);
    await start();
    await userSocket.ask('dm:leave_conversation', { conversationId: key });
    for (const name of STOP) await astrologerSocket.next(name);
    await userSocket.join(key);
    await start();
    userSocket.close();
    for (const name of STOP) await astrologerSocket.next(name);
    assert.ok(Date.now() - began < 4_500, 'none of them waited for the expiry');
  });

  it('10.1 row 3: before the conversation exists typing is silent, also for those who joined its key', async (stage) => {
    const { key, userSocket, astrologerSocket } = await stage.talk();
    for (const event of ['dm:typing_start', 'dm:typing_stop']) assert.equal((await userSocket.ask(event, { conversationId: key })).ok, true);
    await astrologerSocket.settle();
    assert.deepEqual(typing(astrologerSocket), []);
  });

  it('7.6: a stranger cannot type into a conversation; an admin can', async (stage) => {
    const { key, userSocket, astrologerSocket } = await stage.talk({ first: 'x' });
    const [stranger, admin] = await Promise.all([stage.connect(stage.person('astrologer')), stage.connect(stage.admin)]);
    await stranger.ask('dm:typing_start', { conversationId: key });
    await admin.join(key);
    await admin.ask('dm:typing_start', { conversationId: key });
    for (const client of [userSocket, astrologerSocket]) {
      await client.settle();
      assert.deepEqual(client.all('dm:typing_start').map((t) => t.userId), ['admin']);
    }
  });
}, { concurrency: 8 });
