// "Watch it": how the server is doing, and who is connected. For admins.

import { useEffect, useState } from 'preact/hooks';
import { Watcher, type Board, type SessionRow } from '../model/board';
import { KINDS, type Kind, type Person } from '../model/people';
import { credentialOf, type Failure } from '../model/rest';
import { demo, loadDemo } from '../model/side';
import { Chart, type Series } from './chart';
import { Icon } from './icons';
import { clock, Dialog, Problem } from './parts';

const watcher = new Watcher();

export function Watch() {
  useEffect(() => {
    watcher.start();
    // Where there is a demo admin nobody needs to look for a key.
    if (!watcher.credential.value) void signInAsDemo();
    return () => watcher.stop();
  }, []);
  const board = watcher.board.value;
  return (
    <main class="watch" aria-label="Watch it">
      <h1 class="only-heard">Watch it</h1>
      {watcher.credential.value === null ? (
        <Key />
      ) : board ? (
        <>
          <Health board={board} />
          <Charts />
          <Sessions />
        </>
      ) : (
        <p class="nothing">{watcher.failure.value ? `${watcher.failure.value.code}: ${watcher.failure.value.message}` : 'Asking the server…'}</p>
      )}
    </main>
  );
}

async function signInAsDemo(): Promise<void> {
  const people = demo.value?.length ? demo.value : await loadDemo();
  const admin = people.find((person) => person.type === 'admin');
  if (admin && !watcher.credential.value && !watcher.failure.value) watcher.signIn({ token: admin.token });
}

function Key() {
  const [key, setKey] = useState('');
  const failure = watcher.failure.value;
  return (
    <form
      class="card key"
      onSubmit={(event) => {
        event.preventDefault();
        watcher.signIn(credentialOf(key));
      }}
    >
      <Icon name="key" size={28} />
      <h2>For admins</h2>
      <label>
        Admin key, or token of an admin
        <input type="password" autocomplete="off" value={key} onInput={(event) => setKey(event.currentTarget.value)} />
      </label>
      <p class="hint">One of ADMIN_SECRET_KEY or ADMIN_KEYS. It stays in this page and is forgotten with it.</p>
      {failure && (
        <p class="bad" role="alert">
          <code>{failure.code}</code> {failure.message}
        </p>
      )}
      <button type="submit" class="primary" disabled={!key.trim()}>
        Watch
      </button>
    </form>
  );
}

function Health({ board }: { board: Board }) {
  const { store, bus } = board;
  const failure = watcher.failure.value;
  return (
    <header class="health">
      <Pill good={!failure} text={failure ? `No answer: ${failure.code}` : `Up ${uptime(board.uptimeSeconds)}`} />
      <Pill good={store.healthy} text={`${store.engine}: ${store.healthy ? 'healthy' : 'does not take writes'}`} />
      {bus.configured && <Pill good={bus.healthy} text={`Bus: ${bus.healthy ? 'healthy' : 'down'}`} />}
      <button type="button" class="quiet small" onClick={() => watcher.signIn(null)}>
        Forget the key
      </button>
    </header>
  );
}

function Pill({ good, text }: { good: boolean; text: string }) {
  return (
    <span class={`pill ${good ? 'good' : 'bad'}`}>
      <span class="dot" />
      {text}
    </span>
  );
}

const CHARTS: Array<{ title: string; unit?: string; digits?: number; series: Series[] }> = [
  {
    title: 'Connections',
    series: [
      { name: 'websocket', of: (one) => one.websocket, tone: 'one' },
      { name: 'polling', of: (one) => one.polling, tone: 'two' },
    ],
  },
  {
    title: 'People',
    unit: 'sockets',
    series: [
      { name: 'users', of: (one) => one.users, tone: 'one' },
      { name: 'astrologers', of: (one) => one.astrologers, tone: 'two' },
      { name: 'admins', of: (one) => one.admins, tone: 'three' },
    ],
  },
  {
    title: 'Messages',
    unit: 'per second',
    digits: 1,
    series: [
      { name: 'accepted', of: (one) => one.accepted, tone: 'one' },
      { name: 'refused', of: (one) => one.refused, tone: 'warn' },
    ],
  },
  { title: 'Deliveries', unit: 'per second', digits: 1, series: [{ name: 'to sockets', of: (one) => one.deliveries, tone: 'one' }] },
  {
    title: 'Calls',
    series: [
      { name: 'ringing', of: (one) => one.ringing, tone: 'two' },
      { name: 'active', of: (one) => one.active, tone: 'one' },
    ],
  },
  {
    title: 'Store',
    unit: 'ms per commit',
    digits: 1,
    series: [
      { name: 'p50', of: (one) => one.p50, tone: 'one' },
      { name: 'p99', of: (one) => one.p99, tone: 'two' },
    ],
  },
  { title: 'Write queue', series: [{ name: 'waiting', of: (one) => one.queue, tone: 'one' }] },
  { title: 'Limits', unit: 'per second', digits: 1, series: [{ name: 'turned away', of: (one) => one.hits, tone: 'warn' }] },
];

function Charts() {
  const samples = watcher.samples.value;
  return (
    <section class="charts" aria-label="The last minutes">
      {CHARTS.map((chart) => (
        <Chart key={chart.title} {...chart} samples={samples} />
      ))}
    </section>
  );
}

function Sessions() {
  const [kind, setKind] = useState<Kind>('user');
  const [id, setId] = useState('');
  const [found, setFound] = useState<{ person: Person; rows: SessionRow[] } | null>(null);
  const [failure, setFailure] = useState<Failure | null>(null);
  const [isAsking, setAsking] = useState(false);
  const [said, setSaid] = useState('');
  const look = async (person: Person) => {
    const answer = await watcher.sessions(person);
    setFailure(answer.ok ? null : answer);
    setFound(answer.ok ? { person, rows: answer.data } : null);
  };
  const revoke = async (person: Person) => {
    setAsking(false);
    const answer = await watcher.revoke(person);
    setFailure(answer.ok ? null : answer);
    if (!answer.ok) return;
    setSaid(`Revoked. ${answer.data.closedSockets} ${answer.data.closedSockets === 1 ? 'socket was' : 'sockets were'} closed.`);
    await look(person);
  };
  return (
    <section class="card sessions" aria-label="Sessions of one person">
      <h2>Sessions of one person</h2>
      <form
        class="row"
        onSubmit={(event) => {
          event.preventDefault();
          setSaid('');
          void look({ type: kind, id: kind === 'admin' ? id.trim() || 'admin' : id.trim() });
        }}
      >
        <label>
          Type
          <span class="select boxed">
            <select value={kind} onChange={(event) => setKind(event.currentTarget.value as Kind)}>
              {KINDS.map((one) => (
                <option key={one}>{one}</option>
              ))}
            </select>
          </span>
        </label>
        <label class="wide">
          Id
          <input value={id} required={kind !== 'admin'} autocomplete="off" placeholder={demo.value?.length ? `demo-${kind}` : kind === 'admin' ? 'admin' : 'u42'} onInput={(event) => setId(event.currentTarget.value)} />
        </label>
        <button type="submit" class="primary">
          Look
        </button>
      </form>
      <Problem failure={failure} onClose={() => setFailure(null)} />
      <p role="status" class="said">
        {said}
      </p>
      {found && (
        <>
          {found.rows.length === 0 ? (
            <p class="faint">
              {found.person.type} {found.person.id} is not connected.
            </p>
          ) : (
            <div class="table" tabIndex={0} role="region" aria-label="Sockets">
              <table>
                <thead>
                  <tr>
                    <th>Socket</th>
                    <th>Transport</th>
                    <th>Since</th>
                    <th>Address</th>
                  </tr>
                </thead>
                <tbody>
                  {found.rows.map((row) => (
                    <tr key={row.socketId}>
                      <td>
                        <code>{row.socketId}</code>
                      </td>
                      <td>{row.transport}</td>
                      <td>{clock(row.connectedAt)}</td>
                      <td>
                        <code>{row.address}</code>
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          )}
          <button type="button" class="danger" onClick={() => setAsking(true)}>
            Revoke sessions and tokens
          </button>
        </>
      )}
      {isAsking && found && (
        <Dialog title={`Revoke ${found.person.type} ${found.person.id}?`} onClose={() => setAsking(false)}>
          <p>All sockets are closed, and every token issued until now is refused for good.</p>
          <div class="row end">
            <button type="button" class="quiet" onClick={() => setAsking(false)}>
              Cancel
            </button>
            <button type="button" class="danger" onClick={() => void revoke(found.person)}>
              Revoke
            </button>
          </div>
        </Dialog>
      )}
    </section>
  );
}

function uptime(seconds: number): string {
  const units: Array<[number, string]> = [
    [86_400, 'd'],
    [3_600, 'h'],
    [60, 'min'],
  ];
  const unit = units.find(([length]) => seconds >= length);
  return unit ? `${Math.floor(seconds / unit[0])} ${unit[1]}` : `${Math.floor(seconds)} s`;
}
