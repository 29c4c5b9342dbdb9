// Two people talk in two panes of one page.
import assert from 'node:assert/strict';
import { house, PHONE, until } from './support.mjs';

const { on } = house();

on('demo people are there at once, and talk after one click', {}, async (visit) => {
  await visit.open();
  const [left, right] = [visit.side('left'), visit.side('right')];
  await left.box.getByText('Connected').waitFor();
  await right.box.getByText('Connected').waitFor();
  await left.thread('Demo astrologer').click();
  await left.write('Namaste');
  await right.thread(/Demo user.*1 unread/s).click();
  await right.sees('Namaste');
  await left.sees('Namaste', 'Read');
});

on('a message is sent, delivered and read, and the ticks say so', {}, async (visit) => {
  const { left, right } = await visit.openAsTwo({ talking: ['left'] });
  await left.write('Is anybody there?');
  // The other side has a socket but has not opened the conversation.
  await left.sees('Is anybody there?', 'Delivered');
  const unread = right.thread(/Asha Verma.*1 unread/s);
  await unread.waitFor();
  assert.match(await visit.page.title(), /^\(1\)/);
  await unread.click();
  await left.sees('Is anybody there?', 'Read');
  await right.box.getByText('1 unread').waitFor({ state: 'hidden' });
  // Nobody there at all: stored, no more.
  await right.box.getByLabel('Who the right side is').selectOption('out');
  await left.write('Gone?');
  await left.sees('Gone?', 'Sent');
});

on('an admin writes to an astrologer, who replies', {}, async (visit) => {
  await visit.open();
  const admin = { id: 'support-1', name: 'Meera of support', type: 'admin' };
  const astrologer = { id: 'ravi-of-support', name: 'Pandit Ravi', type: 'astrologer' };
  await visit.signIn('left', admin);
  await visit.signIn('right', astrologer);
  const [left, right] = [visit.side('left'), visit.side('right')];
  await visit.begin('left', astrologer);
  await left.write('Your documents are in order');
  await left.sees('Your documents are in order', 'Delivered');
  await right.thread(/Meera of support.*1 unread/s).click();
  // Before the reply, which quotes it.
  await left.sees('Your documents are in order', 'Read');
  await right.message('Your documents are in order').hover();
  await right.message('Your documents are in order').getByRole('button', { name: 'Reply' }).click();
  await right.write('Thank you');
  await left.sees('Thank you');
  assert.match(await left.message('Thank you').locator('blockquote').innerText(), /You\s+Your documents are in order/);
  await right.sees('Thank you', 'Read');
});

on('typing is seen while it goes on, and ends with the message', {}, async (visit) => {
  const { left, right } = await visit.openAsTwo();
  // Before a conversation is opened, typing in it is silence.
  await left.write('Namaste');
  await right.sees('Namaste');
  await left.box.getByLabel(/^Message to/).pressSequentially('Wait');
  await right.box.getByText('typing…').first().waitFor();
  await right.box.getByLabel(/is typing$/).waitFor();
  await left.box.getByLabel(/^Message to/).press('Enter');
  await right.sees('Wait');
  await right.box.getByText('typing…').first().waitFor({ state: 'hidden' });
  await right.box.getByLabel(/^Message to/).pressSequentially('No');
  await left.box.getByText('typing…').first().waitFor();
  await right.box.getByLabel(/^Message to/).fill('');
  await left.box.getByText('typing…').first().waitFor({ state: 'hidden' });
});

on('replying, deleting for oneself and for everyone', {}, async (visit) => {
  const { left, right } = await visit.openAsTwo();
  await left.write('When was I born?');
  await right.sees('When was I born?');
  await right.message('When was I born?').hover();
  await right.message('When was I born?').getByRole('button', { name: 'Reply' }).click();
  await right.write('In the monsoon');
  await left.sees('In the monsoon');
  assert.match(await left.message('In the monsoon').locator('blockquote').innerText(), /You\s+When was I born\?/);

  await left.write('A slip');
  await right.sees('A slip');
  await left.message('A slip').hover();
  await left.message('A slip').getByRole('button', { name: 'Delete' }).click();
  await visit.picture('delete');
  await left.button('Delete for everyone').click();
  await right.sees('Message deleted');
  await left.sees('Message deleted');
  assert.ok(!(await right.texts()).includes('A slip'));

  await right.message('In the monsoon').hover();
  await right.message('In the monsoon').getByRole('button', { name: 'Delete' }).click();
  await right.button('Delete for me').click();
  await right.message('In the monsoon').waitFor({ state: 'detached' });
  await left.sees('In the monsoon');
  // Others may not take back what one said.
  await right.message('When was I born?').getByRole('button', { name: 'Delete' }).click();
  const dialog = right.box.getByRole('dialog');
  await dialog.waitFor();
  assert.equal(await right.button('Delete for everyone').count(), 0);
  await dialog.getByText('When was I born?').click();
  await visit.page.keyboard.press('Shift+Tab');
  assert.ok(await dialog.evaluate((box) => box.contains(document.activeElement)), 'a click on its text leaves the focus in the dialog');
  await visit.page.keyboard.press('Escape');
  await dialog.waitFor({ state: 'detached' });
});

on('an image by its address', {}, async (visit) => {
  const { left, right } = await visit.openAsTwo();
  await left.button('Send an image').click();
  await left.box.getByLabel('Address').fill('http://images.example/chart.svg');
  assert.ok(await left.box.getByRole('dialog').getByRole('button', { name: 'Send', exact: true }).isDisabled(), 'only https');
  await left.box.getByLabel('Address').fill('https://images.example/chart.svg');
  await left.box.getByLabel('Text').fill('My chart');
  await left.box.getByRole('dialog').getByRole('button', { name: 'Send', exact: true }).click();
  const image = right.message('My chart').getByRole('img', { name: 'My chart' });
  await image.waitFor();
  await visit.page.waitForFunction((img) => img.complete && img.naturalWidth > 0, await image.elementHandle());
  await right.write('I see it');
  await left.sees('I see it');
  await visit.picture('conversation');
});

on('older pages come while scrolling up, and nothing jumps', {}, async (visit) => {
  await visit.open();
  const person = { id: 'history-user', name: 'Hari', type: 'user' };
  const token = await visit.token(person);
  for (let n = 1; n <= 75; n++) {
    const answer = await fetch(`${visit.server.url}/api/conversations/admin/messages`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ content: `line ${String(n).padStart(2, '0')}` }),
    });
    assert.equal(answer.status, 201);
  }
  await visit.signIn('left', person);
  const left = visit.side('left');
  await left.thread(/Admin/).click();
  await left.sees('line 75');
  assert.equal((await left.texts())[0], 'line 46');
  const messages = left.box.getByRole('log');
  for (const first of ['line 16', 'line 01']) {
    await messages.evaluate((box) => (box.scrollTop = 0));
    await left.message(first).waitFor({ state: 'attached' });
    assert.ok((await messages.evaluate((box) => box.scrollTop)) > 200, 'what was looked at stays in view');
  }
  const texts = await left.texts();
  assert.deepEqual(texts, Array.from({ length: 75 }, (_, n) => `line ${String(n + 1).padStart(2, '0')}`));
});

on('a line that is cut: what was said meanwhile comes, in order, once; what waited is sent', {}, async (visit) => {
  const { left, right } = await visit.openAsTwo();
  await left.write('one');
  await right.sees('one');
  await right.write('to be taken back');
  await left.sees('to be taken back', undefined);
  await left.button('Cut the line').click();
  await left.box.getByText('Line cut').waitFor();
  await left.write('while away');
  await left.sees('while away', 'On its way');
  await right.write('two');
  await right.write('three');
  await right.message('to be taken back').hover();
  await right.message('to be taken back').getByRole('button', { name: 'Delete' }).click();
  await right.button('Delete for everyone').click();
  await right.sees('three', 'Sent');
  await visit.picture('cut');
  assert.deepEqual(await left.texts(), ['one', 'to be taken back', 'while away']);
  await left.button('Mend it').click();
  await left.sees('while away', 'Read');
  await right.sees('three', 'Read');
  const wanted = ['one', 'Message deleted', 'two', 'three', 'while away'];
  assert.deepEqual(await left.texts(), wanted);
  assert.deepEqual(await right.texts(), wanted);
});

on('events are listed both ways, filtered, and copied as code', {}, async (visit) => {
  const { left, right } = await visit.openAsTwo();
  await left.write('Look below');
  await right.sees('Look below');
  const events = visit.page.getByRole('region', { name: 'Events' });
  await events.getByLabel('Filter events').fill('dm:send_message');
  const rows = events.locator('.log-row');
  await rows.nth(1).waitFor();
  assert.deepEqual(await rows.evaluateAll((all) => all.map((row) => [row.dataset.side, row.dataset.direction])), [
    ['left', 'sent'],
    ['left', 'ack'],
  ]);
  await rows.first().hover();
  await rows.first().getByRole('button', { name: 'Copy as code' }).click();
  await rows.first().getByText('Copied').waitFor();
  const code = await visit.page.evaluate(() => navigator.clipboard.readText());
  assert.match(code, /^const answer = await socket\.emitWithAck\("dm:send_message", \{/);
  assert.match(code, /"content": "Look below"/);
  new Function('socket', `return (async () => { ${code} })`);
  await rows.nth(1).getByRole('button', { expanded: false }).click();
  await rows.nth(1).getByText('"status": "sent"').waitFor();
  await visit.picture('events');
  await events.getByLabel('Filter events').fill('');
  await events.getByLabel('Direction').selectOption('heard');
  await events.getByLabel('Side').selectOption('right');
  const kinds = () => rows.evaluateAll((all) => [...new Set(all.map((row) => `${row.dataset.side} ${row.dataset.direction}`))].join());
  await until(async () => (await kinds()) === 'right heard', 'only what the right side heard');
});

on('by keyboard alone', {}, async (visit) => {
  await visit.open();
  const left = visit.side('left');
  await left.box.getByText('Connected').waitFor();
  const { keyboard } = visit.page;
  const focused = () => visit.page.evaluate(() => document.activeElement?.getAttribute('aria-label') ?? document.activeElement?.textContent?.trim() ?? '');
  const tabTo = async (wanted) => {
    for (let n = 0; n < 25; n++) {
      await keyboard.press('Tab');
      if (wanted.test(await focused())) return;
    }
    assert.fail(`${wanted} is not reached`);
  };
  await tabTo(/^Try it/);
  await tabTo(/Who the left side is/);
  await tabTo(/Cut the line/);
  await tabTo(/New conversation/);
  await keyboard.press('Enter');
  const dialog = left.box.getByRole('dialog', { name: 'New conversation' });
  await dialog.waitFor();
  for (let n = 0; n < 12; n++) {
    await keyboard.press('Tab');
    assert.ok(await dialog.evaluate((box) => box.contains(document.activeElement)), 'the focus stays in the dialog');
  }
  await keyboard.press('Escape');
  await dialog.waitFor({ state: 'detached' });
  await until(async () => /New conversation/.test(await focused()), 'the focus goes back');
  await tabTo(/Demo astrologer/);
  await keyboard.press('Enter');
  await left.box.getByLabel('Message to Demo astrologer').waitFor();
  await until(async () => /Message to Demo astrologer/.test(await focused()), 'one may write at once');
  await keyboard.type('By hand');
  await keyboard.press('Enter');
  await left.sees('By hand');
});

on('a phone: one side below the other, nothing wider than the screen', { viewport: PHONE, hasTouch: true, isMobile: true }, async (visit) => {
  const { left, right } = await visit.openAsTwo();
  await left.write('From a phone, with a text that is long enough to need more than one line');
  await right.write('Well received');
  await left.sees('Well received');
  const [a, b] = [await left.box.boundingBox(), await right.box.boundingBox()];
  assert.ok(b.y >= a.y + a.height, 'stacked');
  assert.equal(await visit.page.evaluate(() => document.documentElement.scrollWidth - innerWidth), 0);
  await left.box.scrollIntoViewIfNeeded();
  await visit.picture('phone');
  await left.button('Close conversation').click();
  await left.thread('ravi').waitFor();
  await visit.picture('phone list');
});

on('dark where the system is dark, and by the button', { colorScheme: 'dark' }, async (visit) => {
  const { left, right } = await visit.openAsTwo();
  await left.write('It is night');
  await right.write('Then sleep');
  await left.sees('Then sleep');
  const paper = () => visit.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await paper();
  await visit.picture('dark');
  await visit.page.getByRole('button', { name: 'Colours: auto' }).click();
  await until(async () => (await paper()) !== dark, 'light');
  await visit.page.getByRole('button', { name: 'Colours: light' }).click();
  await until(async () => (await paper()) === dark, 'dark again');
  await visit.page.reload();
  await visit.page.getByRole('button', { name: 'Colours: dark' }).waitFor();
});

on('a token that is refused, and a server that offers nobody', {}, async (visit) => {
  await visit.page.route('**/api/demo', (route) => route.fulfill({ json: { success: true, data: [] } }));
  await visit.open();
  const left = visit.side('left');
  await left.box.getByText('samvad token').waitFor();
  await left.button('Paste a token').click();
  await left.box.getByLabel('Token of a user, astrologer or admin').fill('a.b.c');
  await left.button('Sign in').click();
  await left.box.getByText('The server refused the token: auth.invalid').waitFor();
  await visit.picture('refused');
  await left.button('Paste a token').click();
  await left.box.getByLabel('Token of a user, astrologer or admin').fill(await visit.token({ id: 'u9', type: 'user', name: 'Nina' }));
  await left.box.getByText('It says: user u9').waitFor();
  await left.button('Sign in').click();
  await left.box.getByText('Connected').waitFor();
});
