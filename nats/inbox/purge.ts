/** Removes items from inboxes: of deleted users and devices for good, or by an operator with a marker that tells devices. */
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from 'nats';
import type { Config } from '../../shared/config/index.ts';
import { shardOf } from '../../shared/ids.ts';
import { isConsumerOrStreamNotFound } from '../errors.ts';
import { jsApi, requestJetStream } from '../js-api.ts';
import { ALL_DEVICES, consumer, inboxStream, LOG, subject } from '../topology.ts';
import { cursorOf, newestBase } from './cursor-map.ts';
import { readCursorMap } from './cursor-map-store.ts';
import { encodeItem } from './item.ts';

type Shards = Pick<Config, 'INBOX_SHARDS'>;

/** Removes the whole inbox of a deleted user and the durables of its devices. May be repeated. */
export async function removeUserInbox(
  nc: NatsConnection,
  { INBOX_SHARDS }: Shards,
  user_id: string,
  device_ids: readonly string[],
): Promise<void> {
  const stream = inboxStream(shardOf(user_id, INBOX_SHARDS));
  for (const device of device_ids) await deleteDurable(nc, stream, device);
  await purge(nc, stream, subject.inbox(user_id, '*', INBOX_SHARDS));
}

/** Removes the items addressed to a deleted device alone, and its durable. May be repeated. */
export async function removeDeviceInbox(
  nc: NatsConnection,
  { INBOX_SHARDS }: Shards,
  user_id: string,
  device_id: string,
): Promise<void> {
  const stream = inboxStream(shardOf(user_id, INBOX_SHARDS));
  await purge(nc, stream, subject.inbox(user_id, device_id, INBOX_SHARDS));
  await deleteDurable(nc, stream, device_id);
}

/**
 * Removes what waits for a user, or only what is addressed to one device. Each device is told `inbox.gap`, reason `purged`.
 *
 * The marker is an item like any other, written before anything is removed: a device that is away meets it where the items
 * were, a connected device gets it at once, and a purge that breaks off is announced too often rather than not at all.
 * @returns the number of removed items
 */
export async function purgeInbox(nc: NatsConnection, user_id: string, device_id?: string): Promise<number> {
  const jsm = await jetstreamManager(nc);
  const shards = Number((await jsm.streams.info(LOG)).config.metadata?.inbox_shards);
  if (!shards) throw new Error(`stream ${LOG} does not say how many inbox shards there are: provision the broker`);
  const shard = shardOf(user_id, shards);
  const stream = inboxStream(shard);
  const filter = subject.inbox(user_id, device_id ?? '*', shards);
  const { state } = await jsm.streams.info(stream, { subjects_filter: filter });
  const waiting = Object.values(state.subjects ?? {}).reduce((sum, n) => sum + n, 0);
  if (waiting === 0) return 0;
  const first = await jsm.direct.getMessage(stream, { seq: 0, next_by_subj: filter });
  const { map } = await readCursorMap(nc, shard);
  if (!first || !map) throw new Error(`inbox shard ${shard} has no cursor map yet: start the service fanout first`);
  const gap = {
    from: Math.max(0, cursorOf(map, first.seq) - 1),
    to: cursorOf(map, state.last_seq),
    reason: 'purged',
  };
  const marker = encodeItem(
    {
      flags: 0,
      base: newestBase(map),
      expires_at: 0,
      seq: 0,
      device_id: '',
      conversation_id: '',
      message_id: '',
      user_id,
      type: 'inbox.gap',
    },
    [Buffer.from(JSON.stringify(gap).slice(1))],
  );
  await jetstream(nc).publish(subject.inbox(user_id, device_id ?? ALL_DEVICES, shards), marker);
  // Up to what the marker speaks of: what fanout writes meanwhile stays.
  return await purge(nc, stream, filter, state.last_seq + 1);
}

/** Purges the messages of `filter` before sequence `before`. @returns how many; 0 when the stream does not exist */
async function purge(nc: NatsConnection, stream: string, filter: string, before?: number): Promise<number> {
  const request = { filter, ...(before === undefined ? {} : { seq: before }) };
  const answer = requestJetStream<{ purged: number }>(nc, jsApi.streamPurge(stream), request);
  return (await answer.catch(ignoreAbsent))?.purged ?? 0;
}

async function deleteDurable(nc: NatsConnection, stream: string, device_id: string): Promise<void> {
  await requestJetStream(nc, jsApi.consumerDelete(stream, consumer.device(device_id))).catch(ignoreAbsent);
}

function ignoreAbsent(error: unknown): undefined {
  if (!isConsumerOrStreamNotFound(error)) throw error;
}
