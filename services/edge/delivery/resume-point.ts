/** Finds where a device goes on in its inbox stream, and what it lost in between. */
import type { DeviceAddress } from '../../../nats/inbox/backlog.ts';
import { type CursorMap, cursorOf, sequenceOf } from '../../../nats/inbox/cursor-map.ts';
import type { Config } from '../../../shared/config/index.ts';
import { shardOf, uuid7Time } from '../../../shared/ids.ts';
import type { DeviceConsumers } from '../offline/device-consumers.ts';
import type { StreamFacts, StreamFactsReader } from '../offline/stream-facts.ts';
import type { DeviceCursor } from './cursor-writer.ts';

interface ResumePoint {
  cursor: number;
  /** The device needs nothing up to this stream sequence any more. */
  seq: number;
  /** Items up to this cursor will not come any more. */
  gap?: { to: number; reason: 'reset' | 'retention' };
}
interface Inboxes {
  config: Pick<Config, 'INBOX_SHARDS'>;
  streamFacts: StreamFactsReader;
  consumers: DeviceConsumers;
}

/** The cursor of a stream sequence, also of one before the first generation; `cursorOf` knows only those of items. */
function cursorAt(cursorMap: CursorMap, seq: number): number {
  const [first] = cursorMap.generations;
  return seq < first!.from ? first!.base + seq : cursorOf(cursorMap, seq);
}

/**
 * True when the stream may have dropped an item for a device that has everything up to `seq`, and everything that was stored
 * up to `completeUntilMs`. A dropped item can't be read, so the edge can't know whose it was: where the two bounds do not exclude
 * a loss, it announces one.
 */
const mayHaveLost = ({ first_seq, dropped_until }: StreamFacts, seq: number, completeUntilMs: number): boolean =>
  first_seq > seq + 1 && completeUntilMs < dropped_until;

const afterRetentionGap = (cursorMap: CursorMap, { first_seq }: StreamFacts, cursor: number): ResumePoint => ({
  cursor,
  seq: first_seq - 1,
  gap: { to: cursorAt(cursorMap, first_seq) - 1, reason: 'retention' },
});

/**
 * Finds the resume point of a device.
 * @param cursorMap the one that holds now
 * @param from the last cursor that the device was sent; undefined for a device that never had one
 */
export async function findResumePoint(
  inboxes: Inboxes,
  { user_id, device_id }: DeviceAddress,
  cursorMap: CursorMap,
  from: DeviceCursor | undefined,
): Promise<ResumePoint> {
  const shard = shardOf(user_id, inboxes.config.INBOX_SHARDS);
  return from
    ? await findPointOfCursor(inboxes, shard, cursorMap, from)
    : await findFirstPoint(inboxes, shard, cursorMap, device_id);
}

async function findPointOfCursor(
  { streamFacts }: Inboxes,
  shard: number,
  cursorMap: CursorMap,
  { cursor, completeUntilMs }: DeviceCursor,
): Promise<ResumePoint> {
  const { seq, lost } = sequenceOf(cursorMap, cursor);
  // Fresh: an item that was dropped for its age a moment ago must be announced too.
  const facts = await streamFacts.read(shard, { fresh: true });
  if (lost) {
    const next = Math.max(seq + 1, cursorMap.generations[0]!.from, facts.first_seq);
    return {
      cursor,
      seq: Math.max(seq, facts.first_seq - 1),
      gap: { to: cursorAt(cursorMap, next) - 1, reason: 'reset' },
    };
  }
  return mayHaveLost(facts, seq, completeUntilMs) ? afterRetentionGap(cursorMap, facts, cursor) : { cursor, seq };
}

/** A device that never had a cursor begins at the time when it was made. */
async function findFirstPoint(
  { streamFacts, consumers }: Inboxes,
  shard: number,
  cursorMap: CursorMap,
  device_id: string,
): Promise<ResumePoint> {
  const madeAt = uuid7Time(device_id);
  const seq = await consumers.findSequenceBefore(shard, madeAt);
  const facts = await streamFacts.read(shard, { fresh: true });
  // From sequence 0: which sequences were given when the device was made is not known any more.
  if (mayHaveLost(facts, 0, madeAt)) return afterRetentionGap(cursorMap, facts, cursorAt(cursorMap, 0));
  return { cursor: cursorAt(cursorMap, seq), seq };
}
