/**
 * Brings the broker to what topology says: creates what is missing, updates what may change, and refuses what would
 * lose data or can't be changed in place. `node nats/provision.ts` for a broker of your own.
 */
import {
  type ConsumerConfig,
  JetStreamApiError,
  type JetStreamManager,
  jetstreamManager,
  type StreamConfig,
  type StreamInfo,
} from '@nats-io/jetstream';
import { type Config, readConfig } from '../shared/config/index.ts';
import { pause } from './batch-runner.ts';
import { buckets } from './buckets.ts';
import { connectNats } from './connect.ts';
import { type StreamSpec, streams } from './topology.ts';

/** A difference that is not made without being told to, e.g. `LOG.retention is limits, topology says workqueue`. */
export class RefusedChange extends Error {
  override name = 'RefusedChange';
}

export interface ProvisionOptions {
  /** Make changes that delete messages, such as a shorter retention. */
  allowLoss?: boolean;
}

/** Where data lies depends on these: they are written into LOG's metadata and may not change. */
const cut = (config: Config): Record<string, string> => ({
  partitions: String(config.PARTITIONS),
  inbox_shards: String(config.INBOX_SHARDS),
});

const FIXED_STREAM: (keyof StreamConfig)[] = ['storage', 'retention', 'persist_mode'];
const LIMITS: (keyof StreamConfig)[] = ['max_age', 'max_bytes', 'max_msgs', 'max_msgs_per_subject'];
const FIXED_CONSUMER: (keyof ConsumerConfig)[] = ['ack_policy', 'deliver_policy', 'priority_policy'];
const NAME: Partial<Record<keyof StreamConfig, string>> = { max_age: 'nanoseconds' };

/** Returns what it did, one line each; nothing when all was as it should be. @throws RefusedChange */
export async function provision(config: Config, options: ProvisionOptions = {}): Promise<string[]> {
  const nc = await connectNats(config, 'admin');
  try {
    const jsm = await jetstreamManager(nc, { timeout: 30_000 });
    const specs = [...streams(config), ...buckets(config)];
    const existing = new Map<string, StreamInfo>();
    for await (const info of jsm.streams.list()) existing.set(info.config.name, info);
    // Everything is looked at before anything is changed.
    for (const spec of specs) refuse(spec, existing.get(spec.config.name), config, options);
    const done: string[] = [];
    for (const spec of specs) done.push(...(await bring(jsm, spec, existing.get(spec.config.name)?.config, config)));
    return done;
  } finally {
    await nc.close();
  }
}

function refuse(
  { config: want }: StreamSpec,
  info: StreamInfo | undefined,
  config: Config,
  { allowLoss }: ProvisionOptions,
): void {
  if (!info) return;
  const have = info.config;
  const say = (field: string, is: unknown, wanted: unknown, why: string): never => {
    throw new RefusedChange(
      `stream ${want.name}, field ${field}: it is ${JSON.stringify(is)}, topology says ${JSON.stringify(wanted)}. ${why}`,
    );
  };
  if (want.name === 'LOG') {
    for (const [field, wanted] of Object.entries(cut(config))) {
      const is = have.metadata?.[field];
      const variable = field.toUpperCase();
      if (is !== undefined && is !== wanted)
        say(`metadata.${field}`, is, wanted, `Set ${variable}=${is} again: existing data is cut that way.`);
    }
  }
  for (const field of FIXED_STREAM) {
    if (want[field] === undefined && field === 'persist_mode' && have[field] === undefined) continue;
    const is = have[field] ?? 'default';
    const wanted = want[field] ?? (field === 'persist_mode' ? 'default' : is);
    if (is !== wanted) say(field, is, wanted, 'This cannot be changed without making the stream anew.');
  }
  const gone = have.subjects.filter((subject) => !want.subjects.includes(subject) && !RETIRED.test(subject));
  if (gone.length && !allowLoss)
    say(
      'subjects',
      have.subjects,
      want.subjects,
      `Messages on ${gone.join(', ')} would not be reachable any more; --allow-loss does it all the same.`,
    );
  for (const field of LIMITS) {
    const [is, wanted] = [Number(have[field] ?? 0), Number(want[field] ?? 0)];
    const smaller = wanted > 0 && (is <= 0 || wanted < is) && !(field === 'max_bytes' && info.state.bytes <= wanted);
    if (smaller && !allowLoss)
      say(
        field,
        is,
        wanted,
        `The smaller limit${NAME[field] ? ` (${NAME[field]})` : ''} may delete messages; --allow-loss does it all the same.`,
      );
  }
}

async function bring(
  jsm: JetStreamManager,
  spec: StreamSpec,
  have: StreamConfig | undefined,
  config: Config,
): Promise<string[]> {
  const { name } = spec.config;
  const want = { ...spec.config, metadata: { ...spec.config.metadata, ...(name === 'LOG' ? cut(config) : {}) } };
  const done: string[] = [];
  if (!have) {
    await whenPeersAreThere(() => jsm.streams.add(want)).catch((error: unknown) => {
      throw sayRoom(error, want);
    });
    done.push(`created stream ${name}`);
  } else {
    const changed = differences(want, have);
    if (changed.length) {
      await jsm.streams.update(name, { ...have, ...want, metadata: { ...have.metadata, ...want.metadata } });
      done.push(`updated stream ${name}: ${changed.join(', ')}`);
    }
  }
  for (const consumer of spec.consumers) done.push(...(await bringConsumer(jsm, name, consumer)));
  return done;
}

/** fanout's marks, which had subjects of the inbox shards before they got a stream of their own. */
const RETIRED = /^mark\.\d+\.\*$/;

/** JetStream: no place for a stream, for a reason that the message gives. */
const NO_PEERS = 10005;
const PEERS_MS = 30_000;
const PEERS_AGAIN_MS = 500;

/** Nodes of a cluster that was just started count as offline until they were heard. */
async function whenPeersAreThere<T>(add: () => Promise<T>): Promise<T> {
  for (const deadline = Date.now() + PEERS_MS; ; ) {
    try {
      return await add();
    } catch (error) {
      const early = error instanceof JetStreamApiError && error.code === NO_PEERS && /offline/.test(error.message);
      if (!early || Date.now() > deadline) throw error;
      await pause(PEERS_AGAIN_MS);
    }
  }
}

/** JetStream: more is reserved than the server may use, in memory or on disk. */
const NO_ROOM = [10023, 10028, 10047];
/** What a stream reserves is what it may hold at most. */
const RESERVED_BY: Record<string, keyof Config> = {
  INGRESS: 'INGRESS_MAX_BYTES',
  PAYMENTS: 'PAYMENTS_MAX_BYTES',
  DEAD: 'DEAD_MAX_BYTES',
};

function sayRoom(error: unknown, { name, storage, max_bytes }: StreamSpec['config']): unknown {
  if (!(error instanceof JetStreamApiError) || !NO_ROOM.includes(error.code)) return error;
  const room =
    storage === 'memory'
      ? 'Give the broker more memory (max_memory_store)'
      : 'Make room on its disk, or let it use more of it (NATS_MAX_FILE_STORE; by default three quarters of what was free when it was first started)';
  const setting = RESERVED_BY[name];
  const less = setting ? `, or set a smaller ${setting}` : '';
  return new Error(
    `the broker has no room for stream ${name}, which reserves ${(max_bytes ?? 0) >> 20} MiB (${error.message}). ${room}${less}.`,
    { cause: error },
  );
}

async function bringConsumer(
  jsm: JetStreamManager,
  stream: string,
  want: StreamSpec['consumers'][number],
): Promise<string[]> {
  const durable = want.durable_name;
  const have = await jsm.consumers.info(stream, durable).then(
    (info) => info.config,
    () => undefined,
  );
  if (!have) {
    await jsm.consumers.add(stream, want);
    return [`created consumer ${stream} ${durable}`];
  }
  for (const field of FIXED_CONSUMER) {
    if (want[field] !== undefined && have[field] !== want[field]) {
      throw new RefusedChange(
        `stream ${stream}, consumer ${durable}, field ${field}: it is ${JSON.stringify(have[field])}, topology says ${JSON.stringify(want[field])}. Its position would be lost.`,
      );
    }
  }
  const changed = differences(want, have);
  if (!changed.length) return [];
  await jsm.consumers.update(stream, durable, { ...have, ...want });
  return [`updated consumer ${stream} ${durable}: ${changed.join(', ')}`];
}

/** The fields that topology sets and the broker has otherwise. What topology leaves out is the broker's. */
function differences(want: object, have: object): string[] {
  const is = have as Record<string, unknown>;
  return Object.entries(want).flatMap(([field, value]) => (within(value, is[field]) ? [] : [field]));
}

/** Whether everything in `want` is so in `have`; zero, false and empty are the same as absent. */
function within(want: unknown, have: unknown): boolean {
  if (Array.isArray(want))
    return Array.isArray(have)
      ? want.length === have.length && want.every((one, i) => within(one, have[i]))
      : want.length === 0;
  if (typeof want === 'object' && want !== null)
    return Object.entries(want).every(([key, value]) =>
      within(value, (have as Record<string, unknown> | undefined)?.[key]),
    );
  return want === have || (!want && !have);
}

const HELP = `node nats/provision.ts [--allow-loss] [--help]

Creates and updates the streams, durable consumers and buckets of nats/topology.ts and nats/buckets.ts on NATS_URL, as user admin
(NATS_SECRET), and brings the schema of DATABASE_URL up to date where that is set, with DATABASE_ROLES=true also a
database role for each service (see npm run compose-env). Differences that would lose data
are refused, naming stream and field; --allow-loss makes those that only delete old messages.
`;

if (import.meta.main) {
  try {
    if (process.argv.includes('--help')) process.stdout.write(HELP);
    else {
      const config = readConfig();
      const done = await provision(config, { allowLoss: process.argv.includes('--allow-loss') });
      process.stdout.write(`${done.join('\n') || 'the broker is as topology says'}\n`);
      if (config.DATABASE_URL) {
        const { migrate } = await import('../shared/db/migrate.ts');
        process.stdout.write(
          `${(await migrate(config)).map((one) => `applied migration ${one}`).join('\n') || 'the schema is up to date'}\n`,
        );
        if (config.DATABASE_ROLES) {
          const { grantRoles } = await import('../shared/db/roles.ts');
          process.stdout.write(`roles as they should be: ${(await grantRoles(config)).join(', ')}\n`);
        }
      }
    }
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    process.exitCode = 1;
  }
}
