/** Emptying a person's queue for an operator, with a marker in it: each device is told `inbox.gap`, reason `purged`. */
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from 'nats';
import { shardOf } from '../../shared/ids.ts';
import { inboxStream, LINEAGE_BUCKET, LOG, subject } from '../topology.ts';
import { type CursorMap, cursorOf } from './cursor-map.ts';
import { encodeItem } from './item.ts';

/**
 * Removes what waits for a person, or only what is addressed to one device; returns how many items that was.
 *
 * The marker is an item like any other, written before anything is removed: whoever is away meets it where the items
 * were, whoever is connected hears it at once, and a purge that breaks off is told too often rather than not at all.
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
  const entry = await jsm.direct.getMessage(`KV_${LINEAGE_BUCKET}`, { last_by_subj: `$KV.${LINEAGE_BUCKET}.${shard}` });
  if (!first || !entry) throw new Error(`inbox shard ${shard} has no lineage yet: fanout has not begun`);
  const lineage = entry.json<CursorMap>();
  const gap = {
    from: Math.max(0, cursorOf(lineage, first.seq) - 1),
    to: cursorOf(lineage, state.last_seq),
    reason: 'purged',
  };
  const marker = encodeItem(
    {
      flags: 0,
      base: lineage.lives.at(-1)!.base,
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
  await jetstream(nc).publish(subject.inbox(user_id, device_id ?? 'all', shards), marker);
  // Up to what the marker speaks of: what fanout writes meanwhile stays.
  const { purged } = await jsm.streams.purge(stream, { filter, seq: state.last_seq + 1 });
  return purged;
}
