// The inbox and the dashboard as the shipped app and the React dashboard walk them. Contract: 5.2, 5.3, 5.4, 8.28 to 8.30.
import assert from 'node:assert/strict';
import { onEveryStore } from './support/stage.mjs';
import { textFaults } from './support/shapes.mjs';

const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

/** `CommunicationItem.fromJson` of the app: what it casts to a text, an integer or a flag must be one. */
function decodeAsTheApp(json) {
  const text = (name) => {
    assert.equal(typeof json[name], 'string', `${name} is a text in ${JSON.stringify(json)}`);
    return json[name];
  };
  const textOrNothing = (name) => (json[name] === undefined || json[name] === null ? null : text(name));
  assert.match(text('timestamp'), ISO);
  assert.ok(Number.isInteger(json.unreadCount) && typeof json.isOnline === 'boolean' && typeof json.chargedAmount === 'number');
  const type = { message: 'message', voicecall: 'voice', voice_call: 'voice', call: 'voice', videocall: 'video', video_call: 'video', video: 'video' }[text('type').toLowerCase()];
  assert.ok(type, `the app knows the type ${json.type}`);
  assert.ok(['admin', 'user', 'astrologer'].includes(text('contactType')));
  assert.ok(['sent', 'received', 'missed', 'incoming', 'outgoing'].includes(text('status')));
  return {
    id: json._id === undefined ? text('id') : text('_id'),
    type,
    contact: [text('contactType'), text('contactId'), text('contactName')],
    avatar: text('avatar'),
    timestamp: Date.parse(json.timestamp),
    preview: text('preview'),
    unread: json.unreadCount,
    isOnline: json.isOnline,
    status: json.status,
    duration: textOrNothing('duration'),
    sessionId: textOrNothing('sessionId'),
    conversationId: textOrNothing('conversationId'),
  };
}

/** The list as the app asks for it. */
async function open(stage, person, query = 'page=1&limit=50') {
  const { status, body } = await stage.rest(person, 'GET', `/api/communications/${person.id}?${query}`);
  assert.equal(status, 200);
  assert.deepEqual(textFaults(JSON.stringify(body)), []);
  return { rows: body.data.map(decodeAsTheApp), pagination: body.pagination };
}

onEveryStore((it) => {
  it('5.3: the inbox of a new astrologer has support in it; then what is said and rung, newest first', async (stage) => {
    const { user, astrologer, key } = stage.pair();
    const [support] = (await open(stage, astrologer)).rows;
    assert.deepEqual([support.type, support.contact, support.unread], ['message', ['admin', 'admin', 'Admin Support'], 0]);
    assert.equal(support.conversationId, `admin_${astrologer.id}`);

    const [userSocket, astrologerSocket] = await Promise.all([stage.connect(user), stage.connect(astrologer)]);
    await userSocket.send(astrologer, 'namaste');
    await userSocket.send(astrologer, 'are you there?');
    const rang = await userSocket.ask('call:initiate', { recipientId: astrologer.id, recipientType: 'astrologer', callType: 'video' });
    await astrologerSocket.next('call:incoming');
    await userSocket.ask('call:end', { callId: rang.callId, duration: 0 });
    // The log of the call becomes the last message; it is written a moment after the end.
    await astrologerSocket.next('dm:message_received', (m) => m.messageType === 'call_log');

    const { rows } = await open(stage, astrologer);
    assert.deepEqual([...rows].sort((a, b) => b.timestamp - a.timestamp), rows, 'newest first');
    assert.equal(new Set(rows.map((row) => row.conversationId)).size, rows.length, 'the app folds rows of one conversationId');
    const talk = rows.find((row) => row.conversationId === key);
    assert.deepEqual([talk.type, talk.contact, talk.unread, talk.isOnline, talk.status], ['message', ['user', user.id, user.name], 2, true, 'received']);
    const call = rows.find((row) => row.type === 'video');
    assert.deepEqual([call.id, call.status, call.duration, call.preview, call.conversationId], [rang.callId, 'missed', null, 'Video call', `call_${rang.callId}`]);
    assert.ok(rows.some((row) => row.contact[1] === 'admin'), 'support is always there');
    // The other side sees the same from there.
    const theirs = (await open(stage, user)).rows;
    assert.equal(theirs.find((row) => row.conversationId === key).status, 'sent');
    assert.equal(theirs.find((row) => row.type === 'video').contact[1], astrologer.id);
  });

  it('5.3: a call that was talked shows its minutes, on either side', async (stage) => {
    const { user, astrologer } = stage.pair();
    const [userSocket, astrologerSocket] = await Promise.all([stage.connect(user), stage.connect(astrologer)]);
    const { callId } = await userSocket.ask('call:initiate', { recipientId: astrologer.id, recipientType: 'astrologer', callType: 'voice' });
    await astrologerSocket.ask('call:accept', { callId });
    await userSocket.next('call:accepted');
    await userSocket.ask('call:end', { callId, duration: 3 });
    for (const [person, status] of [[user, 'outgoing'], [astrologer, 'incoming']]) {
      const row = (await open(stage, person)).rows.find((one) => one.id === callId);
      assert.deepEqual([row.type, row.status, row.duration], ['voice', status, '0:03']);
    }
  });

  it('5.2: badges count what is unread and missed, and what the app marks is marked', async (stage) => {
    const { user, astrologer } = stage.pair();
    const userSocket = await stage.connect(user);
    const counts = async () => (await stage.rest(astrologer, 'GET', `/api/communications/${astrologer.id}/unread-counts`)).data;
    const { message } = await userSocket.send(astrologer, 'one');
    await userSocket.send(astrologer, 'two');
    await userSocket.send(astrologer, 'three');
    assert.deepEqual(await counts(), { messages: 3, missedCalls: 0, missedVideoCalls: 0 });
    const one = await stage.rest(astrologer, 'PATCH', `/api/communications/messages/${message._id}/read`);
    assert.deepEqual([one.status, one.data], [200, { messageIds: [message._id], unreadCount: 2 }]);
    await userSocket.next('dm:messages_read', (r) => r.messageIds.includes(message._id));
    const all = await stage.rest(astrologer, 'PATCH', `/api/communications/${astrologer.id}/messages/mark-all-read`);
    assert.deepEqual([all.status, all.data.messages], [200, 2]);
    assert.equal((await counts()).messages, 0);
    const cleared = await stage.rest(astrologer, 'PATCH', `/api/communications/${astrologer.id}/calls/clear-missed`);
    assert.equal(cleared.status, 200);
    assert.match(cleared.data.missedSeenAt, ISO);
  });

  it('5.2: the app writes and calls from its list, and gets a row for each', async (stage) => {
    const { user, astrologer, key } = stage.pair();
    const userSocket = await stage.connect(user);
    const sent = await stage.rest(astrologer, 'POST', `/api/communications/${astrologer.id}/messages`, { contactId: user.id, message: 'hello' });
    assert.equal(sent.status, 201);
    const row = decodeAsTheApp(sent.data);
    assert.deepEqual([row.type, row.preview, row.status, row.conversationId], ['message', 'hello', 'sent', key]);
    assert.equal((await userSocket.next('dm:new_message')).content, 'hello');
    for (const kind of ['voice', 'video']) {
      const call = await stage.rest(astrologer, 'POST', `/api/communications/${astrologer.id}/calls/${kind}`, { contactId: user.id });
      assert.equal(call.status, 201);
      assert.deepEqual([decodeAsTheApp(call.data).type, decodeAsTheApp(call.data).status], [kind, 'outgoing']);
      assert.equal((await userSocket.next('call:incoming', (c) => c.callId === call.data.callId)).channelName, call.data.channelName);
      await userSocket.ask('call:reject', { callId: call.data.callId });
    }
  });

  it('5.3: the whole list is the same by page and by cursor, without holes or doubles', async (stage) => {
    const astrologer = stage.person('astrologer');
    const users = Array.from({ length: 7 }, () => stage.person('user'));
    for (const user of users) {
      await stage.rest(user, 'POST', `/api/communications/${user.id}/messages`, { contactId: astrologer.id, message: 'x' });
      await stage.rest(user, 'POST', `/api/communications/${user.id}/calls/voice`, { contactId: astrologer.id });
    }
    const whole = (await open(stage, astrologer, 'limit=100')).rows;
    assert.equal(whole.length, 15, 'seven conversations, seven calls, support');
    const [pages, cursors] = [[], []];
    let cursor;
    for (let page = 1; page <= 5; page += 1) {
      pages.push(...(await open(stage, astrologer, `page=${page}&limit=4`)).rows);
      if (page > 1 && cursor === undefined) continue;
      const next = await open(stage, astrologer, `limit=4${cursor ? `&cursor=${cursor}` : ''}`);
      cursors.push(...next.rows);
      cursor = next.pagination.nextCursor;
    }
    const ids = (rows) => rows.map((row) => row.id);
    assert.deepEqual(ids(cursors), ids(pages));
    assert.deepEqual(new Set(ids(pages)), new Set(ids(whole)));
    assert.equal(pages.length, 15);
  });

  it('5.2: 401 is a dead token, 403 another’s inbox without the word the app looks for, and admins may look', async (stage) => {
    const { user, astrologer } = stage.pair();
    const path = `/api/communications/${astrologer.id}`;
    assert.equal((await stage.rest(null, 'GET', path)).status, 401);
    const other = await stage.rest(user, 'GET', path);
    assert.equal(other.status, 403);
    assert.doesNotMatch(JSON.stringify(other.body), /suspend/i);
    assert.equal((await stage.rest(stage.admin, 'GET', path)).status, 200);
    assert.equal((await stage.rest(stage.admin, 'PATCH', `${path}/messages/mark-all-read`)).status, 403);
  });

  it('5.4: the dashboard signs in with its key and reads every figure; a wrong key is the only 401', async (stage) => {
    const { user, astrologer } = stage.pair();
    const userSocket = await stage.connect(user);
    await userSocket.send(astrologer, 'counted');
    const adminKey = stage.admin.token;
    const login = await stage.rest(null, 'POST', '/api/admin/login', { adminKey });
    assert.deepEqual([login.status, login.data.authenticated, login.data.adminKey], [200, true, adminKey]);
    assert.equal((await stage.rest(null, 'POST', '/api/admin/login', { adminKey: 'a wrong one' })).status, 401);
    const ask = async (path) => {
      const { status, data, body } = await stage.rest(null, 'GET', `/api/admin/${path}`, undefined, { 'x-admin-key': adminKey });
      assert.equal(status, 200);
      assert.deepEqual(textFaults(JSON.stringify(body)), []);
      return data;
    };
    for (const period of ['1d', '7d', '30d', '90d', '1y', 'odd']) {
      for (const type of ['all', 'admin-astrologer', 'customer-astrologer']) {
        const query = `period=${period}&type=${type}`;
        const days = { '1d': 1, '30d': 30, '90d': 90, '1y': 365 }[period] ?? 7;
        const stats = await ask(`communications/stats?${query}`);
        assert.equal(typeof stats.avgCallDuration.toFixed(1), 'string', 'the page calls this on it');
        assert.equal(stats.totalCommunications, stats.totalMessages + stats.totalVoiceCalls + stats.totalVideoCalls);
        const trends = await ask(`communications/trends?${query}`);
        assert.equal(trends.length, days);
        assert.ok(trends.every((day) => /^\d{4}-\d\d-\d\d$/.test(day.date)));
        assert.equal(trends.reduce((sum, day) => sum + day.total, 0), stats.totalCommunications);
        const hours = await ask(`communications/peak-hours?${query}`);
        assert.deepEqual(hours.map((hour) => hour.hour), Array.from({ length: 24 }, (_, hour) => hour));
        assert.equal((await ask(`communications/success-rates?${query}`)).length, days);
        assert.equal((await ask(`analytics/communication-trends?${query}`)).length, days);
        for (const row of await ask(`communications/astrologers?${query}`)) assert.ok(row.astrologerId && row.astrologerName);
        await ask(`communications/call-duration?${query}`);
      }
    }
    const wrong = await stage.rest(null, 'GET', '/api/admin/communications/stats', undefined, { 'x-admin-key': 'no key at all' });
    assert.equal(wrong.status, 401);
  });
});
