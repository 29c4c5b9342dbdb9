// Starts the real program, one per store and test file, and stops it as an operator would.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';

const START_MS = 30_000;
const STOP_MS = 12_000;

const sqlite = { name: 'sqlite', engine: 'sqlite', env: () => ({}) };
const mongodb = {
  name: 'mongodb',
  engine: 'mongodb',
  env() {
    const uri = process.env.TEST_MONGODB_URI;
    assert.ok(uri, 'TEST_MONGODB_URI is not set: start a MongoDB with scripts/mongod, these tests are never skipped');
    return { MONGODB_URI: uri, MONGODB_DB: `samvad_clients_${randomBytes(6).toString('hex')}` };
  },
};

/** The stores to test: both, unless TEST_STORE names one of them. */
export function stores() {
  const chosen = process.env.TEST_STORE;
  const found = [sqlite, mongodb].filter((store) => !chosen || store.name === chosen);
  assert.ok(found.length > 0, `TEST_STORE must be sqlite or mongodb, not ${chosen}`);
  return found;
}

/** A running server with its secrets. */
class Server {
  adminKey = `admin-key-${randomBytes(12).toString('hex')}`;
  jwtSecret = `jwt-secret-${randomBytes(16).toString('hex')}`;
  #env;
  #folder = mkdtempSync(join(tmpdir(), 'samvad-clients-'));
  #process;
  #output = '';

  constructor(store, env) {
    this.store = store;
    // Without the caller's own settings: a MONGODB_URI of the shell must not decide which store is tested.
    const inherited = Object.fromEntries(['PATH', 'HOME', 'TMPDIR'].flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])));
    this.#env = {
      ...inherited,
      PORT: '0',
      DATA_DIR: this.#folder,
      JWT_SECRET: this.jwtSecret,
      ADMIN_SECRET_KEY: this.adminKey,
      RUST_LOG: 'warn',
      RATE_PROFILE: 'off',
      RELATION_CHECK: 'off',
      ...store.env(),
      ...env,
    };
  }

  async start() {
    const binary = process.env.SAMVAD_BIN && resolve(process.env.SAMVAD_BIN);
    assert.ok(binary && existsSync(binary), 'SAMVAD_BIN must name the program to test (cargo build, then target/debug/samvad)');
    this.#process = spawn(binary, { env: this.#env, cwd: this.#folder, stdio: ['ignore', 'pipe', 'pipe'] });
    this.exited = new Promise((done) => this.#process.once('close', (code, signal) => done(code ?? signal)));
    this.#process.stderr.on('data', (data) => (this.#output += data));
    this.url = await this.#listening();
    const deadline = Date.now() + START_MS;
    while (!(await fetch(`${this.url}/ready`).then((r) => r.status === 200, () => false))) {
      assert.ok(Date.now() < deadline, `the server is not ready in time\n${this.#output}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return this;
  }

  #listening() {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`the server does not say where it listens\n${this.#output}`)), START_MS);
      this.exited.then((how) => {
        clearTimeout(timer);
        reject(new Error(`the server ended with ${how}\n${this.#output}`));
      });
      createInterface({ input: this.#process.stdout }).on('line', (line) => {
        const [, url] = /^Samvad listens on (http:\/\/\S+?)(?: |\.?$)/.exec(line) ?? [];
        if (url) {
          clearTimeout(timer);
          resolve(url);
        }
      });
    });
  }

  /** Everything the server wrote to its log. */
  get log() {
    return this.#output;
  }

  /** SIGTERM, and waits for the end. Fails unless the exit code is 0 in time. */
  async terminate() {
    this.#process.kill('SIGTERM');
    const late = new Promise((resolve) => setTimeout(resolve, STOP_MS, 'no exit').unref());
    const how = await Promise.race([this.exited, late]);
    if (how === 'no exit') this.#process.kill('SIGKILL');
    assert.equal(how, 0, `SIGTERM must end the server with code 0\n${this.#output}`);
  }

  /** SIGKILL: the server has no time to write or say anything. */
  async crash() {
    this.#process.kill('SIGKILL');
    await this.exited;
  }

  /** Ends the server (`crash: true`: by SIGKILL) and starts it again on the same data and the same port. */
  async restart({ whileDown = async () => {}, crash = false } = {}) {
    await (crash ? this.crash() : this.terminate());
    await whileDown();
    this.#env.PORT = new URL(this.url).port;
    await this.start();
  }

  async stop() {
    try {
      if (this.#process && this.#process.exitCode === null && this.#process.signalCode === null) await this.terminate();
      assert.doesNotMatch(this.#output, /panicked|\bERROR\b/, 'the server logged an error');
    } finally {
      rmSync(this.#folder, { recursive: true, force: true });
    }
  }
}

export async function startServer(store, env = {}) {
  const server = new Server(store, env);
  try {
    return await server.start();
  } catch (error) {
    await server.stop().catch(() => {});
    throw error;
  }
}

/** Starts the program with settings it must not accept; returns its exit code and everything it said. */
export async function startRefused(store, env) {
  const server = new Server(store, env);
  try {
    await assert.rejects(server.start(), /the server ended with/);
    return { code: await server.exited, said: server.log };
  } finally {
    await server.stop().catch(() => {});
  }
}
