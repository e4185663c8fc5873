/** Runs the system under test as real processes, one for each service, so that scenarios can kill and restart them. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sleep } from '../../shared/async/sleep.ts';
import type { Config } from '../../shared/config/index.ts';
import { freePort } from '../../shared/ports.ts';
import type { ServiceName } from '../../shared/service-names.ts';
import { type Env, type EnvOptions, type Spawned, startEnv } from '../../test/env/index.ts';
import { countOutstanding } from './checker.ts';
import type { Evidence, HistoryRow } from './evidence.ts';
import type { Fleet, FleetAddresses } from './fleet.ts';
import { hashOf } from './journal.ts';

/** The services that one process runs. */
export type ProcessServices = ServiceName | ServiceName[];
export const SERVICES: readonly ServiceName[] = ['history', 'fanout', 'ingest', 'api', 'edge'];
const WORKERS: readonly ServiceName[] = ['history', 'fanout', 'ingest'];
/** Settings of every scenario, which may add its own. */
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
/** If nothing arrives for this long, messages that are missing count as lost. */
const QUIET_MS = 15_000;
const POLL_MS = 100;

/** All devices are connected, and none has an unanswered message. */
const isEveryDeviceServed = ({ devices }: Fleet): boolean =>
  devices.every(({ connected, pending }) => connected && pending === 0);

export class FaultSystem {
  readonly env: Env;
  /** Processes by the name of their service. */
  readonly processes = new Map<string, Spawned>();
  /** Directory of the journals and logs. */
  readonly dir: string;

  protected constructor(env: Env, dir: string) {
    this.env = env;
    this.dir = dir;
  }

  /** @param workers processes of each worker; the second process of ingest is called `ingest-b`, and so on */
  static async open(
    settings: Partial<Config> = {},
    places: EnvOptions = {},
    groups: readonly ProcessServices[] = SERVICES,
    workers = 1,
  ) {
    const dir = mkdtempSync(join(tmpdir(), 'sealwire-faults-'));
    // Ports at which the services find each other again after a restart, see startEnv.
    const ports = { PORT: await freePort(), EDGE_PORT: await freePort() };
    const env = await startEnv({ ...SETTINGS, ...ports, ...settings }, { logDir: dir, ...places });
    const system = new this(env, dir);
    try {
      const seconds = workers > 1 ? WORKERS.map((name) => system.startProcess(name, `${name}-b`)) : [];
      await Promise.all([...groups.map((group) => system.startProcess(group)), ...seconds]);
    } catch (error) {
      await system.close();
      throw error;
    }
    return system;
  }

  /** Starts one more process. @param name its name in `processes`; by default the names of its services */
  async startProcess(services: ProcessServices, name?: string, settings: Partial<Config> = {}): Promise<Spawned> {
    const spawned = await this.env.spawn(services, settings);
    for (const key of name ? [name] : [services].flat()) this.processes.set(key, spawned);
    return spawned;
  }

  processOf(name: string): Spawned {
    const spawned = this.processes.get(name);
    if (!spawned) throw new Error(`this system has no process ${name}`);
    return spawned;
  }

  /** Returns every process of a service: one, or two with tiny bounds. */
  processesOf(service: ServiceName): Spawned[] {
    const second = this.processes.get(`${service}-b`);
    return second ? [this.processOf(service), second] : [this.processOf(service)];
  }

  get addresses(): FleetAddresses {
    return { api: this.processOf('api').apiUrl, edge: this.processOf('edge').edgeUrl };
  }

  /** Returns the process ids of services and engines by name. */
  pids(): Map<string, number> {
    const pids = new Map([...this.processes].map(([name, { pid }]) => [name, pid]));
    return pids.set('nats', this.env.broker.pid).set('postgres', this.env.postgres.pid);
  }

  /** Reads history and joins it with what the clients of the fleet saw. */
  async collectEvidence(fleet: Fleet): Promise<Evidence> {
    const rows = await this.env.db.query<HistoryRow & { payload: string }>(
      `select id as message_id, conversation_id as conversation, seq, sender_id as sender,
         sender_device_id as sender_device, client_message_id, payload
       from messages where conversation_id = any($1::uuid[])`,
      [[...fleet.members.keys()]],
    );
    const history = rows.map(({ payload, ...row }) => ({ ...row, hash: hashOf(payload) }));
    return { devices: fleet.userOfDevice, members: fleet.members, events: fleet.journal.events, history };
  }

  /** Waits until every device is connected and has everything, or until nothing has arrived for `quietMs`. */
  async waitUntilQuiet(fleet: Fleet, quietMs = QUIET_MS): Promise<void> {
    const { journal } = fleet;
    /** `journal.progress` at the last check of all evidence, which reads the whole history. */
    let checkedProgress = -1;
    let [progress, progressedAt] = [journal.progress, performance.now()];
    while (performance.now() - progressedAt < quietMs) {
      await sleep(POLL_MS);
      if (journal.progress !== progress) [progress, progressedAt] = [journal.progress, performance.now()];
      else if (checkedProgress !== progress && isEveryDeviceServed(fleet)) {
        if (!(await this.#haveWorkersSettled()) || journal.progress !== progress) continue;
        if (countOutstanding(await this.collectEvidence(fleet)) === 0) return;
        checkedProgress = progress;
        progressedAt = performance.now();
      }
    }
  }

  /** Whether the workers have processed everything. */
  #haveWorkersSettled(): Promise<boolean> {
    return this.env.settle(1_000).then(
      () => true,
      () => false,
    );
  }

  /** @param keep keeps journals and logs, for somebody to read */
  async close(keep = false): Promise<void> {
    await this.env.stop();
    if (!keep) rmSync(this.dir, { recursive: true, force: true });
  }
}
