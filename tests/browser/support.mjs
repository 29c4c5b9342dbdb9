// A real browser before the real program. Whatever the page complains of, in its console or by its policy, fails the test.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import { startServer, stores } from '../clients/support/server.mjs';

const SCREENSHOTS = join(import.meta.dirname, 'screenshots');
const PATIENCE_MS = 15_000;
const IMAGE_HOST = 'https://images.example';
// What every address of that host shows: nothing here goes out to a network.
const IMAGE = `<svg xmlns="http://www.w3.org/2000/svg" width="320" height="200"><defs><linearGradient id="g" x2="1" y2="1"><stop stop-color="#312e81"/><stop offset="1" stop-color="#b45309"/></linearGradient></defs><rect width="320" height="200" fill="url(#g)"/><circle cx="230" cy="70" r="26" fill="#fde68a"/><path d="M0 200 90 110l60 50 70-70 100 110Z" fill="#1e1b4b"/></svg>`;

export const LAPTOP = { width: 1440, height: 900 };
export const PHONE = { width: 390, height: 844 };

/** One server and one browser for all tests of a file. */
export function house(settings = {}) {
  const [store] = stores();
  const all = {};
  before(async () => {
    mkdirSync(SCREENSHOTS, { recursive: true });
    // MongoDB may be anybody's, so demo people have to be asked for there.
    all.server = await startServer(store, { DEMO: 'on', ...settings });
    all.browser = await chromium.launch({
      executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
      // As root, and where memory is short, its sandbox does not start; the only pages it sees are ours.
      // A page from a folder counts as one from outside, which may not speak to this machine.
      args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu', ...(process.env.CONSOLE_DIST ? ['--disable-features=LocalNetworkAccessChecks'] : [])],
    });
  });
  after(async () => {
    await all.browser?.close();
    await all.server?.stop();
  });

  /** A test with a fresh page. Every test begins with people nobody has met. */
  const on = (name, options, body) => {
    test(name, { timeout: 120_000 }, async () => {
      const context = await all.browser.newContext({ viewport: LAPTOP, permissions: ['clipboard-read', 'clipboard-write'], ...options });
      context.setDefaultTimeout(PATIENCE_MS);
      const complaints = [];
      context.on('console', (message) => ['error', 'warning'].includes(message.type()) && complaints.push(message.text()));
      context.on('weberror', (error) => complaints.push(String(error.error())));
      await context.addInitScript(() => {
        addEventListener('securitypolicyviolation', (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
      });
      const asked = [];
      context.on('request', (request) => asked.push(new URL(request.url())));
      const page = await context.newPage();
      if (process.env.CONSOLE_DIST) await serveFrom(process.env.CONSOLE_DIST, context, all.server);
      await context.route(`${IMAGE_HOST}/**`, (route) => route.fulfill({ contentType: 'image/svg+xml', body: IMAGE }));
      try {
        await body(new Visit(page, all.server));
        await page.close();
        assert.deepEqual(complaints, [], 'the page complained');
        const elsewhere = asked.filter((url) => !['127.0.0.1', new URL(IMAGE_HOST).hostname].includes(url.hostname) && url.protocol !== 'data:' && url.protocol !== 'blob:');
        assert.deepEqual(elsewhere.map(String), [], 'the page asked somebody else');
      } catch (error) {
        await page.screenshot({ path: join(SCREENSHOTS, `failed ${name}.png`) }).catch(() => {});
        throw error;
      } finally {
        await context.close();
      }
    });
  };
  return { all, on };
}

/** Another folder's files in place of those in the program, under its headers: for work on the page without compiling. */
async function serveFrom(folder, context, server) {
  await context.route(`${server.url}/console**`, async (route) => {
    const name = new URL(route.request().url()).pathname.split('/')[2] || 'index.html';
    const response = await route.fetch({ headers: { ...route.request().headers(), 'accept-encoding': 'identity' } });
    await route.fulfill({ response, status: 200, body: readFileSync(join(folder, name)) });
  });
}

/** Waits until something holds, as long as for an element. */
export async function until(holds, what) {
  for (const end = Date.now() + PATIENCE_MS; Date.now() < end; await new Promise((resolve) => setTimeout(resolve, 100))) {
    if (await holds()) return;
  }
  assert.fail(`not in time: ${what}`);
}

let people = 0;

/** A page of the console, and what people do there. */
export class Visit {
  constructor(page, server) {
    this.page = page;
    this.server = server;
  }

  async open(hash = '') {
    await this.page.goto(`${this.server.url}/console${hash}`);
  }

  /** Opens "Try it" as a user and an astrologer of this test's own, in their new conversation on the sides named. */
  async openAsTwo({ talking = ['left', 'right'] } = {}) {
    await this.open();
    const n = ++people;
    this.user = { id: `asha-${n}`, name: 'Asha Verma', type: 'user' };
    this.astrologer = { id: `ravi-${n}`, name: 'Pandit Ravi', type: 'astrologer' };
    await this.signIn('left', this.user);
    await this.signIn('right', this.astrologer);
    for (const side of talking) await this.begin(side, side === 'left' ? this.astrologer : this.user);
    return { left: this.side('left'), right: this.side('right') };
  }

  side(name) {
    return new Side(this.page, this.page.getByTestId(name));
  }

  async token(person) {
    const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const now = Math.floor(Date.now() / 1000);
    const head = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ ...person, iat: now, exp: now + 3600 })}`;
    const { createHmac } = await import('node:crypto');
    return `${head}.${createHmac('sha256', this.server.jwtSecret).update(head).digest('base64url')}`;
  }

  async signIn(name, person) {
    const side = this.side(name);
    // The demo people are there first; nothing of theirs may come in between.
    await side.box.getByText('Connected').waitFor();
    await side.box.getByLabel(`Who the ${name} side is`).selectOption('paste');
    await side.box.getByLabel('Token of a user, astrologer or admin').fill(await this.token(person));
    await side.box.getByRole('button', { name: 'Sign in' }).click();
    await this.page.getByRole('region', { name: `side: ${person.name}` }).waitFor();
  }

  /** Begins a conversation with somebody by type and id. */
  async begin(name, other) {
    const { box } = this.side(name);
    await box.getByRole('button', { name: 'New conversation' }).click();
    await box.getByLabel('With whom').selectOption(other.type);
    if (other.type !== 'admin') await box.getByLabel('Id', { exact: true }).fill(other.id);
    await box.getByRole('button', { name: 'Begin' }).click();
    await box.getByLabel(/^Message to/).waitFor();
  }

  /** A picture for people to look at. */
  async picture(name) {
    // What fades in has done so.
    await this.page.waitForFunction(() => document.getAnimations().every((one) => one.effect?.getComputedTiming().iterations === Infinity || one.playState === 'finished'));
    await this.page.screenshot({ path: join(SCREENSHOTS, `${name}.png`) });
  }
}

/** One of the two sides. */
export class Side {
  constructor(page, box) {
    this.page = page;
    this.box = box;
  }

  async write(text) {
    const field = this.box.getByLabel(/^Message to/);
    await field.fill(text);
    await field.press('Enter');
  }

  message(text) {
    return this.box.locator('.bubble-row', { hasText: text });
  }

  /** Waits until the message is there, with this tick if one is named. */
  async sees(text, tick) {
    await this.message(text).waitFor();
    if (tick) await this.message(text).getByRole('img', { name: tick, exact: true }).waitFor();
  }

  button(name) {
    return this.box.getByRole('button', { name, exact: true });
  }

  thread(name) {
    return this.box.getByRole('navigation', { name: 'Conversations' }).getByRole('button', { name });
  }

  /** All messages, in their order. */
  texts() {
    return this.box.locator('.bubble > p').allTextContents();
  }
}
