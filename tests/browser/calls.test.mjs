// Calls between two panes: answered, rejected, cancelled, missed, and what their tokens say.
import assert from 'node:assert/strict';
import { house } from './support.mjs';

const AGORA = { AGORA_APP_ID: '0123456789abcdef0123456789abcdef', AGORA_APP_CERTIFICATE: 'fedcba9876543210fedcba9876543210' };
const { on } = house(AGORA);
// Long enough for whoever clicks on a slow machine, short enough to wait for.
const brief = house({ RING_TIMEOUT_SECONDS: '8', ...AGORA });
const older = house({ AGORA_TOKEN_VERSION: '006', ...AGORA });
const without = house();

on('a full call: it rings, is answered, says its channel, ends, and stands in the conversation', {}, async (visit) => {
  const { left, right } = await visit.openAsTwo();
  await left.button('Voice call').click();
  await left.box.getByText('Calling ravi').waitFor();
  const dialog = right.box.getByRole('alertdialog', { name: 'Incoming voice call from Asha Verma' });
  await dialog.waitFor();
  // Said aloud too, without taking the focus from whoever calls on the other side.
  await right.box.getByRole('status').filter({ hasText: 'Incoming voice call from Asha Verma' }).waitFor({ state: 'attached' });
  await dialog.getByText(/0:0[1-9]/).waitFor();
  await visit.picture('ringing');
  await dialog.getByRole('button', { name: 'Accept' }).click();
  await left.box.getByText('In a voice call with').waitFor();
  await right.box.getByText('In a voice call with').waitFor();
  const channel = await left.box.locator('dl.media code').first().textContent();
  assert.match(channel, /^[\w-]{8,}$/);
  assert.equal(await right.box.locator('dl.media code').first().textContent(), channel, 'both tokens are for one channel');
  assert.equal(await left.box.getByText('not the channel of the call').count(), 0);
  await left.box.getByText(/, in (59:\d\d|1:00:00)/).waitFor();
  await left.button('Report media').click();
  await right.box.getByText('media reported').waitFor();
  await visit.picture('in a call');
  await right.button('End').click();
  await left.box.getByText('Call ended').waitFor();
  for (const side of [left, right]) await side.box.locator('.call-log[data-call-status=completed]').waitFor();
  await visit.picture('call over');
});

brief.on('a call nobody answers is missed, on both sides', {}, async (visit) => {
  const { left, right } = await visit.openAsTwo();
  await right.button('Video call').click();
  const dialog = left.box.getByRole('alertdialog', { name: 'Incoming video call from Pandit Ravi' });
  await dialog.waitFor();
  await dialog.getByRole('button', { name: 'Accept' }).focus();
  await visit.page.keyboard.press('Escape');
  await dialog.waitFor({ state: 'detached' });
  // Hidden, it rings on, and may still be answered from the bar.
  await left.button('Accept').waitFor();
  await left.box.getByText('Missed video call from Pandit Ravi').waitFor();
  await right.box.getByText('No answer').waitFor();
  for (const side of [left, right]) await side.box.locator('.call-log[data-call-status=missed]').waitFor();
  await visit.picture('missed');
  await left.button('Dismiss missed calls').click();
  await left.box.getByText('Missed video call from').waitFor({ state: 'detached' });
});

on('a call is rejected, another one cancelled', {}, async (visit) => {
  const { left, right } = await visit.openAsTwo();
  await left.button('Voice call').click();
  await right.box.getByRole('alertdialog').getByRole('button', { name: 'Reject' }).click();
  await left.box.getByText('Declined').first().waitFor();
  await left.box.locator('.call-log[data-call-status=declined]').waitFor();
  await left.button('Voice call').click();
  await right.box.getByRole('alertdialog').waitFor();
  await left.button('Cancel').click();
  await right.box.getByRole('alertdialog').waitFor({ state: 'detached' });
  await right.box.locator('.call-log[data-call-status=cancelled]').waitFor();
});

on('a call goes on when a line is cut, and its end is learned afterwards', {}, async (visit) => {
  const { left, right } = await visit.openAsTwo();
  await left.button('Voice call').click();
  await right.box.getByRole('alertdialog').getByRole('button', { name: 'Accept' }).click();
  await left.box.getByText('In a voice call with').waitFor();
  await left.button('Cut the line').click();
  await right.button('End').click();
  await right.box.locator('.call-log[data-call-status=completed]').waitFor();
  await left.button('Mend it').click();
  await left.box.getByText('Call ended').waitFor();
  await left.box.locator('.call-log[data-call-status=completed]').waitFor();
});

on('a page that is loaded again finds its call', {}, async (visit) => {
  await visit.open();
  let [left, right] = [visit.side('left'), visit.side('right')];
  await left.thread('Demo astrologer').click();
  await left.button('Voice call').click();
  await right.box.getByRole('alertdialog').getByRole('button', { name: 'Accept' }).click();
  await left.box.getByText('In a voice call with').waitFor();
  await visit.page.reload();
  await left.box.getByText('In a voice call with').waitFor();
  await right.box.getByText('In a voice call with').waitFor();
  await left.button('End').click();
  await right.box.getByText('Call ended').waitFor();
});

older.on('older media tokens, which hold a checksum of their channel, are read too', {}, async (visit) => {
  const { left, right } = await visit.openAsTwo();
  await left.button('Video call').click();
  await right.box.getByRole('alertdialog').getByRole('button', { name: 'Accept' }).click();
  await left.box.getByText(/, in (59:\d\d|1:00:00)/).waitFor();
  assert.equal(await left.box.getByText('not the channel of the call').count(), 0);
  assert.match(await left.box.locator('dl.media').innerText(), /App\s+01234567…/);
  await left.button('End').click();
});

without.on('without media tokens calls ring and are talked all the same', {}, async (visit) => {
  const { left, right } = await visit.openAsTwo();
  await left.button('Voice call').click();
  await right.box.getByRole('alertdialog').getByRole('button', { name: 'Accept' }).click();
  await left.box.getByText('No media token: the server has no AGORA_APP_ID').waitFor();
  await right.button('End').click();
  await left.box.locator('.call-log[data-call-status=completed]').waitFor();
});
