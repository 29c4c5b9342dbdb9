// The page that shows the contract: what is in the two documents can be found and read.
import assert from 'node:assert/strict';
import { house, PHONE, until } from './support.mjs';

const { on } = house();

on('events and routes are all there, and an address opens one', {}, async (visit) => {
  const { page, server } = visit;
  const [events, routes] = await Promise.all(['asyncapi', 'openapi'].map(async (name) => (await fetch(`${server.url}/${name}.json`)).json()));
  await page.goto(`${server.url}/docs#client-dm:send_message`);
  const open = page.locator('details[open]');
  await open.getByText('clientMessageId?', { exact: true }).waitFor();
  assert.equal(await open.count(), 1);
  await open.getByText('Also accepted as tempId, localId.').waitFor();
  const shown = (kind) => page.locator(`details[id^="${kind}-"]`).count();
  const operations = Object.values(events.operations);
  assert.equal(await shown('client'), operations.filter((one) => one.action === 'receive').length);
  assert.equal(await shown('server'), operations.filter((one) => one.action === 'send').length);
  assert.equal(await shown('route'), Object.values(routes.paths).flatMap(Object.keys).length);
  assert.equal(await shown('code'), Object.keys(events['x-codes']).length);
  await open.getByRole('link', { name: 'Message', exact: true }).first().click();
  await page.locator('#object-Message').getByText('deliveredAt?', { exact: true }).waitFor();
  await visit.picture('docs');
});

on('what is looked for is found, on a phone too', { viewport: PHONE }, async (visit) => {
  const { page, server } = visit;
  await page.goto(`${server.url}/docs`);
  await page.getByText('dm:send_message').first().waitFor();
  await page.getByRole('searchbox').fill('markRead');
  const found = page.locator('details:visible');
  await until(async () => (await found.count()) < 12, 'only a few are left');
  assert.ok((await found.count()) > 1);
  await found.filter({ hasText: 'dm:history' }).first().locator('summary').click();
  await page.getByText('False: look without reading.').first().waitFor();
  // Wide tables scroll in their card, not the page.
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  await visit.picture('docs on a phone');
});
