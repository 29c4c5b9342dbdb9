// The board for admins: figures of the real server, sessions of one person, revoking.
import assert from 'node:assert/strict';
import { house, PHONE, until } from './support.mjs';

const { on } = house({ RATE_PROFILE: 'default' });

const value = async (visit, chart, series) => Number((await visit.page.locator(`[data-chart="${chart}"] [data-series="${series}"] b`).textContent()).replaceAll(',', ''));

on('the board moves with what happens', {}, async (visit) => {
  const { left } = await visit.openAsTwo({ talking: ['left'] });
  const watcher = await visit.page.context().newPage();
  const there = new visit.constructor(watcher, visit.server);
  await there.open('#watch');
  await watcher.getByText(/^Up \d/).waitFor();
  await until(async () => (await value(there, 'Connections', 'websocket')) >= 2, 'both sides are counted');
  for (let n = 1; n <= 8; n++) await left.write(`message ${n}`);
  await left.sees('message 8', 'Delivered');
  await until(async () => (await value(there, 'Messages', 'accepted')) > 0, 'messages per second');
  // Ten at once, then thirty a minute: some of these are turned away.
  for (let n = 9; n <= 30; n++) await left.write(`message ${n}`);
  await left.box.getByText('RATE_LIMITED').first().waitFor();
  await until(async () => (await value(there, 'Limits', 'turned away')) > 0, 'limits');
  await left.button('Voice call').click();
  await until(async () => (await value(there, 'Calls', 'ringing')) === 1, 'a call rings');
  assert.ok((await watcher.locator('[data-chart="Connections"] path.line').first().getAttribute('d')).split('L').length > 2, 'a line is drawn');
  await there.picture('board');
  await watcher.close();
  await left.button('Cancel').click();
  await visit.picture('rate limited');
});

on('sessions of one person are shown and revoked', {}, async (visit) => {
  const { left } = await visit.openAsTwo({ talking: [] });
  const watcher = await visit.page.context().newPage();
  const there = new visit.constructor(watcher, visit.server);
  await there.open('#watch');
  await watcher.getByLabel('Id').fill(visit.user.id);
  await watcher.getByRole('button', { name: 'Look' }).click();
  const rows = watcher.getByRole('region', { name: 'Sockets' }).locator('tbody tr');
  await rows.first().waitFor();
  assert.equal(await rows.count(), 1);
  assert.match(await rows.first().textContent(), /websocket.*127\.0\.0\.1/s);
  await there.picture('sessions');
  await watcher.getByRole('button', { name: 'Revoke sessions and tokens' }).click();
  await watcher.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click();
  await watcher.getByText('Revoked. 1 socket was closed.').waitFor();
  await watcher.getByText('is not connected').waitFor();
  await left.box.getByText('auth.expired').first().waitFor();
  await watcher.close();
});

on('without a demo admin a key is asked for', {}, async (visit) => {
  await visit.page.route('**/api/demo', (route) => route.fulfill({ json: { success: true, data: [] } }));
  await visit.open('#watch');
  await visit.picture('key');
  await visit.page.getByLabel('Admin key, or token of an admin').fill(visit.server.adminKey);
  await visit.page.getByRole('button', { name: 'Watch' }).click();
  await visit.page.getByText(/^Up \d/).waitFor();
  await visit.page.getByRole('button', { name: 'Forget the key' }).click();
  await visit.page.getByLabel('Admin key, or token of an admin').waitFor();
});

on('the board on a phone, by night', { viewport: PHONE, hasTouch: true, isMobile: true, colorScheme: 'dark' }, async (visit) => {
  await visit.open('#watch');
  await visit.page.getByText(/^Up \d/).waitFor();
  await until(async () => (await visit.page.locator('path.line').count()) > 3, 'charts');
  assert.equal(await visit.page.evaluate(() => document.documentElement.scrollWidth - innerWidth), 0);
  await visit.picture('board phone dark');
});
