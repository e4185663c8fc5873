/** `npm start` with its whole DATA_DIR (broker, database, secrets) on a disk that loses its power. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { login, register } from '../../../client/index.ts';
import { postgresUrl } from '../../../services/local/postgres.ts';
import { readSecrets } from '../../../services/local/secrets.ts';
import { type Config, readConfig } from '../../../shared/config/index.ts';
import { type Database, openDatabase } from '../../../shared/db/database.ts';
import { freePort } from '../../../shared/ports.ts';
import { type Env, toEnv } from '../../../test/env/index.ts';
import { settle } from '../../../test/env/settle.ts';
import { descendants, Start } from '../../../test/env/start.ts';
import { Disk, diskMissing } from '../disk.ts';
import type { Place } from '../fleet.ts';
import type { Journal } from '../journal.ts';
import { type Act, type Scenario, SERVICES, SETTINGS, Stage } from '../stage.ts';

/** So long after the first `queued` of its life the machine loses its power. */
const FIRST_CUT_MS = 2_000;

/** A stage that is what `npm start` starts; the disk is the only thing that survives a cut. */
class StartedStage extends Stage {
  readonly disk: Disk;
  readonly #variables: Record<string, string>;
  #start: Start | undefined;
  #db: Database | undefined;
  #pids = new Map<string, number>();

  private constructor(disk: Disk, variables: Record<string, string>) {
    // What a stage itself asks of its environment; the rest belongs to systems that are put together from parts.
    const env: Pick<Env, 'db' | 'settle' | 'stop'> = {
      get db() {
        return stage().#db!;
      },
      settle: (timeoutMs) => settle(stage().#config, timeoutMs!, new Set(SERVICES)),
      stop: async () => {
        await stage().#db?.close();
        await stage().#start?.end();
      },
    };
    const stage = (): StartedStage => this;
    super(env as Env, mkdtempSync(join(tmpdir(), 'sealwire-faults-')));
    this.disk = disk;
    this.#variables = variables;
  }

  static async on(settings: Partial<Config>): Promise<StartedStage> {
    const ports = { PORT: await freePort(), EDGE_PORT: await freePort() };
    const disk = new Disk();
    const stage = new StartedStage(disk, toEnv({ ...SETTINGS, ...ports, ...settings }));
    try {
      await stage.boot();
    } catch (error) {
      await stage.close();
      throw error;
    }
    return stage;
  }

  override get place(): Place {
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

  async boot(): Promise<void> {
    this.#start = new Start(this.#dataDir, this.#variables);
    await this.#start.ready();
    this.#db = await openDatabase(this.#config);
    const { pid } = this.#start;
    for (const [name, part] of Object.entries({ nats: 'nats-server', edge: 'main.ts edge', api: 'main.ts api' }))
      this.#pids.set(name, descendants(pid, part)[0]!);
  }

  /** The disk first, so that nothing dies in order; then every process, as on a machine without power. */
  async cutPower(): Promise<void> {
    const { pid } = this.#start!;
    this.disk.cutPower();
    const all = [pid, ...descendants(pid)];
    for (const one of all) {
      try {
        process.kill(one, 'SIGKILL');
      } catch {
        // It went with its parent.
      }
    }
    await this.#start!.exit();
    await this.#db?.close().catch(() => {});
    this.#db = undefined;
    await this.disk.powerUp();
  }

  override async close(keep = false): Promise<void> {
    await super.close(keep);
    this.disk.remove();
  }
}

async function reached(journal: Journal, kind: 'queued', after = 0): Promise<number> {
  for (let deadline = performance.now() + 60_000; performance.now() < deadline; await pause(5)) {
    const event = journal.events.find((one) => one.kind === kind && one.at >= after);
    if (event) return event.at;
  }
  throw new Error(`nothing was ${kind} in 60 s`);
}

async function run(on: Stage, { journal, go }: Act): Promise<void> {
  const stage = on as StartedStage;
  const { api } = stage.place;
  // Their fields are encrypted and found under keys that exist in DATA_DIR only.
  const person = { email: `power_${Date.now()}@example.org`, password: 'correct horse battery', name: 'Ada Power' };
  await register({ api, ...person, device: { name: 'one' } });
  const begun = await reached(journal, 'queued');
  await pause(Math.max(0, begun + FIRST_CUT_MS - journal.now));
  for (let cut = 1; cut <= 2; cut++) {
    journal.mark('fault', `power cut ${cut} of the whole machine`);
    await stage.cutPower();
    await stage.boot();
    journal.mark('healed', 'power is back');
    const healed = journal.now;
    const { user } = await login({ api, identifier: person.email, password: person.password, device: { name: 'two' } });
    if (user.name !== person.name) throw new Error('a name that was encrypted before the cut can not be read after it');
    await reached(journal, 'queued', healed);
    await go(0.3);
  }
}

export const START: Scenario[] = [
  {
    name: 'power-cut-start',
    about: `the disk below the whole DATA_DIR of npm start loses its power ${FIRST_CUT_MS / 1_000} s after the first queued, and again in steady state`,
    settings: { DURABILITY: 'durable' },
    leftOut: diskMissing,
    open: (settings) => StartedStage.on({ ...settings, DURABILITY: 'durable' }),
    run,
  },
];
