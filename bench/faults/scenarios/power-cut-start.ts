/** Scenario in which the disk below the whole DATA_DIR of `npm start` (broker, database, secrets) loses its power. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { login, register } from '../../../client/index.ts';
import { postgresUrl } from '../../../services/local/postgres.ts';
import { readSecrets } from '../../../services/local/secrets.ts';
import { sleep } from '../../../shared/async/sleep.ts';
import { type Config, readConfig } from '../../../shared/config/index.ts';
import { type Database, openDatabase } from '../../../shared/db/database.ts';
import { freePort } from '../../../shared/ports.ts';
import { type Env, toEnv } from '../../../test/env/index.ts';
import { settle } from '../../../test/env/settle.ts';
import { descendants, StartProcess } from '../../../test/env/start.ts';
import { Disk, diskUnavailableReason } from '../disk.ts';
import { FaultSystem, SERVICES, SETTINGS } from '../fault-system.ts';
import type { FleetAddresses } from '../fleet.ts';
import type { Journal } from '../journal.ts';
import type { Scenario, ScenarioContext } from '../scenario.ts';

/** Time from the first acknowledged message to the first power cut. */
const FIRST_CUT_MS = 2_000;
const QUEUED_TIMEOUT_MS = 60_000;

/** A system that was started by `npm start`. Its disk is all that survives a power cut. */
class StartedSystem extends FaultSystem {
  readonly disk: Disk;
  readonly #variables: Record<string, string>;
  #start: StartProcess | undefined;
  #db: Database | undefined;
  #pids = new Map<string, number>();

  private constructor(disk: Disk, variables: Record<string, string>) {
    // FaultSystem uses only these members of its environment; the others belong to systems built from single processes.
    const env: Pick<Env, 'db' | 'settle' | 'stop'> = {
      get db() {
        return self().#db!;
      },
      settle: (timeoutMs) => settle(self().#config, timeoutMs!, new Set(SERVICES)),
      stop: async () => {
        await self().#db?.close();
        await self().#start?.stop();
      },
    };
    const self = (): StartedSystem => this;
    super(env as Env, mkdtempSync(join(tmpdir(), 'sealwire-faults-')));
    this.disk = disk;
    this.#variables = variables;
  }

  static async openOnDisk(settings: Partial<Config>): Promise<StartedSystem> {
    const ports = { PORT: await freePort(), EDGE_PORT: await freePort() };
    const disk = new Disk();
    const system = new StartedSystem(disk, toEnv({ ...SETTINGS, ...ports, ...settings }));
    try {
      await system.boot();
    } catch (error) {
      await system.close();
      throw error;
    }
    return system;
  }

  override get addresses(): FleetAddresses {
    const { api, edge } = this.#start!.addresses;
    return { api: api!, edge: `ws://${new URL(edge!).host}` };
  }

  override pids(): Map<string, number> {
    return this.#pids;
  }

  get #dataDir(): string {
    return join(this.disk.dir, 'data');
  }

  get #config(): Config {
    const { nats } = this.#start!.addresses;
    const secrets = readSecrets(this.#dataDir);
    return {
      ...readConfig(this.#variables),
      NATS_URL: nats,
      NATS_SECRET: secrets.nats,
      DATABASE_URL: postgresUrl(join(this.#dataDir, 'postgres'), secrets),
    };
  }

  /** Starts `npm start` on the disk and waits until it is ready. */
  async boot(): Promise<void> {
    this.#start = new StartProcess(this.#dataDir, this.#variables);
    await this.#start.waitUntilReady();
    this.#db = await openDatabase(this.#config);
    const { pid } = this.#start;
    for (const [name, part] of Object.entries({ nats: 'nats-server', edge: 'main.ts edge', api: 'main.ts api' }))
      this.#pids.set(name, descendants(pid, part)[0]!);
  }

  /** Cuts the disk first, so that no process can shut down in order, and then kills every process. */
  async cutPower(): Promise<void> {
    const { pid } = this.#start!;
    this.disk.cutPower();
    const pids = [pid, ...descendants(pid)];
    for (const target of pids) {
      try {
        process.kill(target, 'SIGKILL');
      } catch {
        // The process has ended with its parent.
      }
    }
    await this.#start!.waitForExit();
    await this.#db?.close().catch(() => {});
    this.#db = undefined;
    await this.disk.powerUp();
  }

  override async close(keep = false): Promise<void> {
    await super.close(keep);
    this.disk.remove();
  }
}

/** Waits for the first acknowledged message since `sinceMs`. @returns its time in the journal, ms */
async function waitForQueued(journal: Journal, sinceMs = 0): Promise<number> {
  for (const deadline = performance.now() + QUEUED_TIMEOUT_MS; performance.now() < deadline; await sleep(5)) {
    const event = journal.events.find(({ kind, at }) => kind === 'queued' && at >= sinceMs);
    if (event) return event.at;
  }
  throw new Error(`no message was acknowledged within ${QUEUED_TIMEOUT_MS} ms`);
}

async function run(opened: FaultSystem, { journal, loadFor }: ScenarioContext): Promise<void> {
  const system = opened as StartedSystem;
  const { api } = system.addresses;
  // Name and email are encrypted, and the email is looked up, with keys that exist only in DATA_DIR.
  const person = { email: `power_${Date.now()}@example.org`, password: 'correct horse battery', name: 'Ada Power' };
  await register({ api, ...person, device: { name: 'one' } });
  const firstQueuedMs = await waitForQueued(journal);
  await sleep(Math.max(0, firstQueuedMs + FIRST_CUT_MS - journal.nowMs));
  for (let cut = 1; cut <= 2; cut++) {
    journal.mark('fault', `power cut ${cut} of the whole machine`);
    await system.cutPower();
    await system.boot();
    journal.mark('healed', 'power is back');
    const healedMs = journal.nowMs;
    const { user } = await login({ api, identifier: person.email, password: person.password, device: { name: 'two' } });
    if (user.name !== person.name) throw new Error('a name that was encrypted before the cut cannot be read after it');
    await waitForQueued(journal, healedMs);
    await loadFor(0.3);
  }
}

export const POWER_CUT_START: Scenario[] = [
  {
    name: 'power-cut-start',
    description: `the disk below the whole DATA_DIR of npm start loses its power ${FIRST_CUT_MS / 1_000} s after the first acknowledged message, and again under steady load`,
    settings: { DURABILITY: 'durable' },
    skipReason: diskUnavailableReason,
    openSystem: (settings) => StartedSystem.openOnDisk({ ...settings, DURABILITY: 'durable' }),
    run,
  },
];
