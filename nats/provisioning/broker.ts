/**
 * Provisions the broker: creates the streams, consumers and buckets of topology that are missing and updates what may change.
 * It refuses changes that would lose data or can't be made in place, before it changes anything.
 */
import { type JetStreamManager, jetstreamManager, type StreamConfig, type StreamInfo } from '@nats-io/jetstream';
import { sleep } from '../../shared/async/sleep.ts';
import type { Config } from '../../shared/config/index.ts';
import { bucketSpecs } from '../buckets.ts';
import { connectNats } from '../connect.ts';
import { isNoSuitablePeers, isOutOfResources } from '../errors.ts';
import { type DurableSpec, type StreamSpec, streams } from '../streams.ts';
import { DEAD, INGRESS, LOG, PAYMENTS } from '../topology.ts';
import { differences } from './differences.ts';
import { refuseConsumerChange, refuseStreamChange, shardingMetadata } from './refusals.ts';

export interface ProvisionOptions {
  /** Make changes that delete messages, such as a shorter retention. */
  allowLoss?: boolean;
}

const TIMEOUT_MS = 30_000;

/** Returns what it did, one line each; nothing when all was up to date. @throws {RefusedChange} */
export async function provisionBroker(config: Config, { allowLoss = false }: ProvisionOptions = {}): Promise<string[]> {
  const nc = await connectNats(config, 'admin');
  try {
    const jsm = await jetstreamManager(nc, { timeout: TIMEOUT_MS });
    const specs = [...streams(config), ...bucketSpecs(config)];
    const existing = new Map<string, StreamInfo>();
    for await (const info of jsm.streams.list()) existing.set(info.config.name, info);
    for (const spec of specs) {
      const info = existing.get(spec.config.name);
      if (info) refuseStreamChange(spec, info, config, allowLoss);
    }
    const done: string[] = [];
    for (const spec of specs)
      done.push(...(await provisionStream(jsm, spec, existing.get(spec.config.name)?.config, config)));
    return done;
  } finally {
    await nc.close();
  }
}

async function provisionStream(
  jsm: JetStreamManager,
  spec: StreamSpec,
  have: StreamConfig | undefined,
  config: Config,
): Promise<string[]> {
  const { name } = spec.config;
  const metadata = { ...spec.config.metadata, ...(name === LOG ? shardingMetadata(config) : {}) };
  const want = { ...spec.config, metadata };
  const done: string[] = [];
  if (!have) {
    await createWhenPeersAreOnline(() => jsm.streams.add(want)).catch((error: unknown) => {
      throw explainNoRoom(error, want);
    });
    done.push(`created stream ${name}`);
  } else {
    const changed = differences(want, have);
    if (changed.length) {
      await jsm.streams.update(name, { ...have, ...want, metadata: { ...have.metadata, ...want.metadata } });
      done.push(`updated stream ${name}: ${changed.join(', ')}`);
    }
  }
  for (const consumer of spec.consumers) done.push(...(await provisionConsumer(jsm, name, consumer)));
  return done;
}

async function provisionConsumer(jsm: JetStreamManager, stream: string, want: DurableSpec): Promise<string[]> {
  const durable = want.durable_name;
  const have = await jsm.consumers.info(stream, durable).then(
    (info) => info.config,
    () => undefined,
  );
  if (!have) {
    await jsm.consumers.add(stream, want);
    return [`created consumer ${stream} ${durable}`];
  }
  refuseConsumerChange(stream, want, have);
  const changed = differences(want, have);
  if (!changed.length) return [];
  await jsm.consumers.update(stream, durable, { ...have, ...want });
  return [`updated consumer ${stream} ${durable}: ${changed.join(', ')}`];
}

const PEERS_TIMEOUT_MS = 30_000;
const PEERS_RETRY_MS = 500;

/** Tries again while nodes of a cluster are offline: after a start they count as such until they were heard. */
async function createWhenPeersAreOnline<T>(create: () => Promise<T>): Promise<T> {
  for (const deadline = Date.now() + PEERS_TIMEOUT_MS; ; ) {
    try {
      return await create();
    } catch (error) {
      const mayPass = isNoSuitablePeers(error) && /offline/.test((error as Error).message);
      if (!mayPass || Date.now() > deadline) throw error;
      await sleep(PEERS_RETRY_MS);
    }
  }
}

/** A stream reserves what it may hold at most: the setting of that limit, by stream. */
const RESERVED_BY: Record<string, keyof Config> = {
  [INGRESS]: 'INGRESS_MAX_BYTES',
  [PAYMENTS]: 'PAYMENTS_MAX_BYTES',
  [DEAD]: 'DEAD_MAX_BYTES',
};

/** Returns an error with the remedy when the broker has no room for a stream; any other error as it is. */
function explainNoRoom(error: unknown, { name, storage, max_bytes }: StreamSpec['config']): unknown {
  if (!isOutOfResources(error)) return error;
  const remedy =
    storage === 'memory'
      ? 'Give the broker more memory (max_memory_store)'
      : 'Make room on its disk, or let it use more of it (NATS_MAX_FILE_STORE; by default three quarters of what was free when it was first started)';
  const setting = RESERVED_BY[name];
  const smaller = setting ? `, or set a smaller ${setting}` : '';
  const reservedMib = (max_bytes ?? 0) >> 20;
  return new Error(
    `the broker has no room for stream ${name}, which reserves ${reservedMib} MiB (${(error as Error).message}). ${remedy}${smaller}.`,
    { cause: error },
  );
}
