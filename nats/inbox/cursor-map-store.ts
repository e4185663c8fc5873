/** Reads and writes the cursor maps of the inbox shards in the KV bucket `lineage`, one key per shard. */
import { headers, type NatsConnection } from 'nats';
import { isNoMessage, isWrongLastSequence } from '../errors.ts';
import { timeoutsOf } from '../jetstream-manager.ts';
import { EXPECTED_LAST, jsApi, requestDirect, requestJetStream, sequenceOfDirect } from '../js-api.ts';
import { bucketKey, bucketStream, LINEAGE_BUCKET } from '../topology.ts';
import type { CursorMap, Generation } from './cursor-map.ts';

/** The JSON of the bucket. Its property names are those of the first release and may not change. */
interface StoredCursorMap {
  server: string;
  created: string;
  lives: Generation[];
  whole?: true;
}

export function encodeCursorMap({ server, created, generations, whole }: CursorMap): string {
  return JSON.stringify({ server, created, lives: generations, whole } satisfies {
    [K in keyof StoredCursorMap]-?: StoredCursorMap[K] | undefined;
  });
}

export function decodeCursorMap(json: string): CursorMap {
  const { server, created, lives, whole } = JSON.parse(json) as StoredCursorMap;
  return { server, created, generations: lives, ...(whole ? { whole } : {}) };
}

export interface CursorMapEntry {
  /** Undefined when fanout has not written one yet. */
  map: CursorMap | undefined;
  /** Sequence of the key's last message, 0 when there is none: `writeCursorMap` takes it. */
  revision: number;
}

/** Reads the cursor map of a shard. In a cluster the answering replica may lag. */
export async function readCursorMap(
  nc: NatsConnection,
  shard: number,
  timeoutMs = timeoutsOf(nc).requestMs,
): Promise<CursorMapEntry> {
  const last = jsApi.directGetLast(bucketStream(LINEAGE_BUCKET), bucketKey(LINEAGE_BUCKET, shard));
  const stored = await requestDirect(nc, last, undefined, timeoutMs);
  if (!stored) return { map: undefined, revision: 0 };
  return {
    // A deleted key is a message without a body.
    map: stored.data.length === 0 ? undefined : decodeCursorMap(stored.string()),
    revision: sequenceOfDirect(stored),
  };
}

/** Reads the cursor map of a shard by way of the stream's leader, for a writer: a replica that lags would have it skip its write. */
export async function readCursorMapFromLeader(nc: NatsConnection, shard: number): Promise<CursorMapEntry> {
  const query = { last_by_subj: bucketKey(LINEAGE_BUCKET, shard) };
  try {
    const { message } = await requestJetStream<{ message: { seq: number; data?: string } }>(
      nc,
      jsApi.streamMessage(bucketStream(LINEAGE_BUCKET)),
      query,
    );
    const json = Buffer.from(message.data ?? '', 'base64').toString();
    return { map: json ? decodeCursorMap(json) : undefined, revision: message.seq };
  } catch (error) {
    if (isNoMessage(error)) return { map: undefined, revision: 0 };
    throw error;
  }
}

/** Writes the cursor map of a shard. @returns false when another process has written it since `revision` was read */
export async function writeCursorMap(
  nc: NatsConnection,
  shard: number,
  map: CursorMap,
  revision: number,
): Promise<boolean> {
  const expected = headers();
  expected.set(EXPECTED_LAST, String(revision));
  try {
    await requestJetStream(nc, bucketKey(LINEAGE_BUCKET, shard), encodeCursorMap(map), { headers: expected });
    return true;
  } catch (error) {
    if (isWrongLastSequence(error)) return false;
    throw error;
  }
}
