/** The system under test as real processes, one a service, and the people on it; what a scenario gets to work with. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Config } from '../../shared/config/index.ts';
import { freePort } from '../../shared/ports.ts';
import type { ServiceName } from '../../shared/service-names.ts';
import { type Env, type Places, type Spawned, startEnv } from '../../test/env/index.ts';
import { check, outstanding, type Row, type Story, type Violation } from './checker.ts';
import { Fleet, type Place, type Shape } from './fleet.ts';
import { hashOf, Journal } from './journal.ts';
import { Memory, recoveryMs, silenceMs } from './measures.ts';

/** Services of one process. */
export type Group = ServiceName | ServiceName[];
export const SERVICES: readonly ServiceName[] = ['history', 'fanout', 'ingest', 'api', 'edge'];
const WORKERS: readonly ServiceName[] = ['history', 'fanout', 'ingest'];
/** What the harness itself asks for; a scenario may ask for more. */
export const SETTINGS: Partial<Config> = {
  LOG_LEVEL: 'warn',
  PIN_TIMEOUT_MS: 500,
  AWAY_GRACE_MS: 200,
  COMMAND_TIMEOUT_MS: 5_000,
  WS_RATE_LIMIT_MAX_COMMANDS: 1_000_000,
  WS_SLOW_READER_SEC: 1,
  ARGON2_MEMORY_KIB: 64,
  ARGON2_PASSES: 1,
};
/** How long nothing may move before what is missing counts as lost. */
const QUIET_MS = 15_000;
/** Pause between two looks whether anything moves. */
const LOOK_MS = 100;
/** More than this and memory is not bounded as it should be (I7), MiB. */
const MEMORY_MIB = 512;

export interface Scenario {
  name: string;
  about: string;
  shape?: Partial<Shape>;
  settings?: Partial<Config>;
  /** More memory of one process is a violation; MEMORY_MIB unless given. */
  memoryMiB?: number;
  /** The invariant that has to be found violated: it shows that the checker sees. */
  expects?: string;
  /** Why it can't run here, if so. */
  leftOut?(): string | undefined;
  /** Its own system, because it needs one of its own or leaves it unusable. */
  open?(settings: Partial<Config>, workers: number): Promise<Stage>;
  /** Called under load. What it throws is a failure of its own. */
  run(stage: Stage, act: Act): Promise<void>;
}
export interface Act {
  fleet: Fleet;
  journal: Journal;
  /** How long its load lasts at least, beside what the fault takes. */
  seconds: number;
  /** Under load for that share of the seconds. */
  go(share: number): Promise<void>;
  say(line: string): void;
}
export interface Outcome {
  name: string;
  /** As it should be: no violation, or the expected one. */
  good: boolean;
  violations: Violation[];
  /** Told `queued`; handed to applications; fetched after a gap. */
  queued: number;
  got: number;
  resynced: number;
  gaps: number;
  /** Messages that devices were sent under more than one cursor. */
  repeats: number;
  recovery_ms: number | undefined;
  silence_ms: number;
  peaks: ReadonlyMap<string, number>;
  journal: string | undefined;
}

/** All devices are connected, and no message waits for its answer. */
const everybodyIsServed = ({ actors }: Fleet): boolean =>
  actors.every(({ connected, pending }) => connected && pending === 0);

export class Stage {
  readonly env: Env;
  readonly processes = new Map<string, Spawned>();
  readonly dir: string;

  protected constructor(env: Env, dir: string) {
    this.env = env;
    this.dir = dir;
  }

  /** `workers`: processes of each of WORKERS, of which the second is called `ingest-b` and so on. */
  static async open(
    settings: Partial<Config> = {},
    places: Places = {},
    groups: readonly Group[] = SERVICES,
    workers = 1,
  ) {
    const dir = mkdtempSync(join(tmpdir(), 'sealwire-faults-'));
    // Ports at which the services find each other again, see startEnv.
    const ports = { PORT: await freePort(), EDGE_PORT: await freePort() };
    const env = await startEnv({ ...SETTINGS, ...ports, ...settings }, { logDir: dir, ...places });
    const stage = new this(env, dir);
    try {
      const more = workers > 1 ? WORKERS.map((name) => stage.add(name, `${name}-b`)) : [];
      await Promise.all([...groups.map((group) => stage.add(group)), ...more]);
    } catch (error) {
      await stage.close();
      throw error;
    }
    return stage;
  }

  /** One more process; `as`: what it is called here, else by its services. */
  async add(group: Group, as?: string, more: Partial<Config> = {}): Promise<Spawned> {
    const one = await this.env.spawn(group, more);
    for (const name of as ? [as] : [group].flat()) this.processes.set(name, one);
    return one;
  }

  get(name: string): Spawned {
    const one = this.processes.get(name);
    if (!one) throw new Error(`${name} does not run here`);
    return one;
  }

  /** Every process of a service: one, or two with tiny bounds. */
  all(service: ServiceName): Spawned[] {
    return [this.get(service), this.processes.get(`${service}-b`)].filter((one) => one !== undefined);
  }

  get place(): Place {
    return { api: this.get('api').apiUrl, edge: this.get('edge').edgeUrl };
  }

  pids(): Map<string, number> {
    const pids = new Map([...this.processes].map(([name, one]) => [name, one.pid]));
    return pids.set('nats', this.env.broker.pid).set('postgres', this.env.postgres.pid);
  }

  async story(fleet: Fleet): Promise<Story> {
    const rows = await this.env.db.query<Row & { payload: string }>(
      `select id as message_id, conversation_id as conversation, seq, sender_id as sender,
         sender_device_id as sender_device, client_message_id, payload
       from messages where conversation_id = any($1::uuid[])`,
      [[...fleet.members.keys()]],
    );
    const history = rows.map(({ payload, ...row }) => ({ ...row, hash: hashOf(payload) }));
    const { devices, members, journal } = fleet;
    return { devices, members, events: journal.events, history };
  }

  /** Until everybody is online and has everything, or nothing moved for so long. */
  async quiet(fleet: Fleet, patienceMs = QUIET_MS): Promise<void> {
    const { journal } = fleet;
    /** `journal.moves` at the last check of the whole story, which reads all of history. */
    let looked = -1;
    let [moves, movedAt] = [journal.moves, performance.now()];
    while (performance.now() - movedAt < patienceMs) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      if (journal.moves !== moves) [moves, movedAt] = [journal.moves, performance.now()];
      else if (looked !== moves && everybodyIsServed(fleet) && (await this.#settled()) && journal.moves === moves) {
        if (outstanding(await this.story(fleet)) === 0) return;
        looked = moves;
        movedAt = performance.now();
      }
    }
  }

  /** The workers have nothing before them. */
  #settled(): Promise<boolean> {
    return this.env.settle(1_000).then(
      () => true,
      () => false,
    );
  }

  async perform(scenario: Scenario, seconds: number, say: (line: string) => void): Promise<Outcome> {
    const path = join(this.dir, `${scenario.name}.jsonl`);
    const journal = new Journal(path);
    const fleet = new Fleet(journal, this.place, scenario.shape);
    const memory = new Memory(() => this.pids());
    const violations: Violation[] = [];
    const go = (share: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, share * seconds * 1_000));
    try {
      await fleet.open();
      fleet.startLoad();
      await go(0.3);
      await scenario.run(this, { fleet, journal, seconds, go, say });
      await go(0.4);
      await fleet.stopLoad();
      // What is lost does not come, however long one waits.
      await this.quiet(fleet, scenario.expects ? 3_000 : QUIET_MS);
      violations.push(...check(await this.story(fleet)));
    } catch (error) {
      violations.push({ invariant: 'failed', text: (error as Error).stack ?? String(error) });
    } finally {
      memory.stop();
      await fleet.close().catch(() => {});
      await journal.close();
    }
    for (const [name, peak] of memory.peaks)
      if (peak > (scenario.memoryMiB ?? MEMORY_MIB))
        violations.push({ invariant: 'I7', text: `${name} took ${peak} MiB of memory` });
    const { events } = journal;
    const faulty = events.some((event) => event.kind === 'mark' && event.what === 'healed');
    const recovery_ms = recoveryMs(events);
    if (faulty && recovery_ms === undefined)
      violations.push({ invariant: 'I7', text: 'no message went through after the fault' });
    const count = (what: (event: (typeof events)[number]) => boolean): number => events.filter(what).length;
    const { name, expects } = scenario;
    const good = expects ? violations.some(({ invariant }) => invariant === expects) : violations.length === 0;
    return {
      name,
      good,
      violations,
      queued: count((event) => event.kind === 'queued'),
      got: count((event) => event.kind === 'got'),
      resynced: count((event) => event.kind === 'got' && event.resync),
      gaps: count((event) => event.kind === 'gap'),
      repeats: fleet.actors.reduce((sum, one) => sum + one.repeats, 0),
      recovery_ms,
      silence_ms: silenceMs(events),
      peaks: memory.peaks,
      journal: good ? undefined : path,
    };
  }

  /** `keep`: journals and logs stay for somebody to read. */
  async close(keep = false): Promise<void> {
    await this.env.stop();
    if (!keep) rmSync(this.dir, { recursive: true, force: true });
  }
}
