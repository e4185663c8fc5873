/**
 * Asks the broker what waits in an inbox: the newest item of a device, the first item after a time, how many items come after
 * a cursor, and the items themselves. Asked when a device connects, leaves or is checked for its quota, not per message.
 */
import { AckPolicy, DeliverPolicy, type StoredMsg } from '@nats-io/jetstream';
import { type NatsConnection, nanos } from 'nats';
import type { Config } from '../../shared/config/index.ts';
import { shardOf, uuid7Time } from '../../shared/ids.ts';
import { isNoMessage } from '../errors.ts';
import { jetstreamManager } from '../jetstream-manager.ts';
import { jsApi, requestDirect, requestJetStream, sequenceOfDirect } from '../js-api.ts';
import { readDirectBatch } from '../log-reader.ts';
import { inboxStream, inboxSubjects, subject } from '../topology.ts';
import { type CursorMap, sequenceOf } from './cursor-map.ts';
import { readCursorMap } from './cursor-map-store.ts';

export interface DeviceAddress {
  user_id: string;
  device_id: string;
}
/** A device continues after a sequence that it has or, without a cursor, from the time it was made (ms since 1970). */
export type InboxPosition = { after: number } | { since: number };

/** The clock that made a device's id and the broker's clock may differ by so much. */
export const SKEW_MS = 5_000;
/** A consumer that only counts is deleted at once, and by the broker after so long if that is lost. */
const COUNT_IDLE_MS = 5_000;
const BATCH = 32;
const BATCH_BYTES = 1 << 20;

/** Returns the position of a device; `cursor` is null where it never acknowledged an item. */
export function positionOf(map: CursorMap | undefined, device_id: string, cursor: number | null): InboxPosition {
  return cursor === null || !map ? { since: uuid7Time(device_id) } : { after: sequenceOf(map, cursor).seq };
}

/** Returns the sequence of the newest item for a device, 0 when the stream holds none. */
export async function lastSeqFor(
  nc: NatsConnection,
  config: Pick<Config, 'INBOX_SHARDS' | 'STREAM_REPLICAS'>,
  { user_id, device_id }: DeviceAddress,
): Promise<number> {
  const stream = inboxStream(shardOf(user_id, config.INBOX_SHARDS));
  const lastOf = config.STREAM_REPLICAS > 1 ? lastSeqByLeader : lastSeqByDirectGet;
  const seqs = await Promise.all(
    inboxSubjects(user_id, device_id, config.INBOX_SHARDS).map((one) => lastOf(nc, stream, one)),
  );
  return Math.max(...seqs);
}

async function lastSeqByDirectGet(nc: NatsConnection, stream: string, of: string): Promise<number> {
  const last = await requestDirect(nc, jsApi.directGetLast(stream, of));
  return last ? sequenceOfDirect(last) : 0;
}

/** In a cluster a direct get may be answered by a replica that lags; the leader does not. */
async function lastSeqByLeader(nc: NatsConnection, stream: string, last_by_subj: string): Promise<number> {
  try {
    const answer = await requestJetStream<{ message?: { seq: number } }>(nc, jsApi.streamMessage(stream), {
      last_by_subj,
    });
    return answer.message?.seq ?? 0;
  } catch (error) {
    if (isNoMessage(error)) return 0;
    throw error;
  }
}

/**
 * Returns the sequence of the first item of a shard that was stored at `atMs` (ms since 1970) or later, with an allowance of
 * 5 s for clocks that differ. Undefined when there is none; in a cluster also when the answering replica lags.
 */
export async function firstSeqAfter(nc: NatsConnection, shard: number, atMs: number): Promise<number | undefined> {
  const query = { start_time: new Date(atMs - SKEW_MS).toISOString() };
  const first = await requestDirect(nc, jsApi.directGet(inboxStream(shard)), query);
  return first && sequenceOfDirect(first);
}

/** Counts the items of a device after a position, by a temporary consumer. `purpose` names it: one at a time per device. */
export async function countPending(
  nc: NatsConnection,
  config: Pick<Config, 'INBOX_SHARDS'>,
  { user_id, device_id }: DeviceAddress,
  position: InboxPosition,
  purpose: string,
): Promise<number> {
  const stream = inboxStream(shardOf(user_id, config.INBOX_SHARDS));
  const name = `${purpose}_${device_id}`;
  const { consumers } = await jetstreamManager(nc);
  const { num_pending } = await consumers.add(stream, {
    name,
    description: 'Counts what waits for a device.',
    ack_policy: AckPolicy.None,
    filter_subjects: inboxSubjects(user_id, device_id, config.INBOX_SHARDS),
    inactive_threshold: nanos(COUNT_IDLE_MS),
    mem_storage: true,
    ...('since' in position
      ? { deliver_policy: DeliverPolicy.StartTime, opt_start_time: new Date(position.since).toISOString() }
      : { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: position.after + 1 }),
  });
  await consumers.delete(stream, name);
  return num_pending;
}

/**
 * Reads the items that a device has not acknowledged, oldest first; `cursor` is null where it never acknowledged one. Reads in
 * small batches, so that a caller which stops early has asked for little.
 */
export async function* pendingItems(
  nc: NatsConnection,
  config: Pick<Config, 'INBOX_SHARDS'>,
  { user_id, device_id }: DeviceAddress,
  cursor: number | null,
): AsyncGenerator<StoredMsg> {
  const { INBOX_SHARDS } = config;
  const shard = shardOf(user_id, INBOX_SHARDS);
  const map = cursor === null ? undefined : (await readCursorMap(nc, shard)).map;
  const start = positionOf(map, device_id, cursor);
  const manager = await jetstreamManager(nc);
  const mine = new Set(inboxSubjects(user_id, device_id, INBOX_SHARDS));
  const next_by_subj = subject.inbox(user_id, '*', INBOX_SHARDS);
  let from = 'since' in start ? { start_time: new Date(start.since - SKEW_MS) } : { seq: start.after + 1 };
  for (;;) {
    let last: number | undefined;
    const query = { ...from, next_by_subj, batch: BATCH, max_bytes: BATCH_BYTES };
    for await (const message of readDirectBatch(manager, inboxStream(shard), query)) {
      last = message.seq;
      if (mine.has(message.subject)) yield message;
    }
    if (last === undefined) return;
    from = { seq: last + 1 };
  }
}
