/** Reading LOG: where a partition ends, and its entries from a place on. Used to restore workers, not per message. */

import type { DirectBatchOptions, JetStreamManager, StoredMsg } from '@nats-io/jetstream';
import type { NatsConnection } from 'nats';
import { isNoMessage } from './errors.ts';
import { jetstreamManager } from './jetstream-manager.ts';
import { LOG, subject } from './topology.ts';

export interface RawEntry {
  seq: number;
  /** Sequence of the partition's entry before it, 0 for the first: a reader sees by it that entries are missing. */
  previous: number | undefined;
  data: Uint8Array;
}

const BATCH = 256;
/** The fence of an append (publish.ts) stays in the entry's headers. */
const PREVIOUS = 'Nats-Expected-Last-Subject-Sequence';

export interface LogHead {
  /** Sequence of the partition's last entry, 0 when there is none (any more). */
  head: number;
  /** Last sequence that the stream ever gave to any partition. */
  last: number;
  /** The stream's creation time, its identity. */
  created: string;
}

/** Where a partition ends. */
export async function logHead(nc: NatsConnection, partition: number): Promise<LogHead> {
  const manager = await jetstreamManager(nc);
  const { created, state } = await manager.streams.info(LOG);
  const about = { created: String(created), last: state.last_seq };
  try {
    const last = await manager.direct.getMessage(LOG, { last_by_subj: subject.log(partition) });
    const head = last?.seq ?? 0;
    return { ...about, head, last: Math.max(head, about.last) };
  } catch (error) {
    if (isNoMessage(error)) return { ...about, head: 0 };
    throw error;
  }
}

/** Entries after `position` up to and including `head`. */
export async function* readLog(
  nc: NatsConnection,
  partition: number,
  position: number,
  head: number,
): AsyncGenerator<RawEntry> {
  const manager = await jetstreamManager(nc);
  for (let next = position + 1; next <= head; ) {
    let got = 0;
    const query = { seq: next, next_by_subj: subject.log(partition), batch: BATCH };
    for await (const message of directBatch(manager, LOG, query)) {
      if (message.seq > head) return;
      got++;
      next = message.seq + 1;
      const previous = message.header.get(PREVIOUS);
      yield { seq: message.seq, previous: previous ? Number(previous) : undefined, data: message.data };
    }
    if (got === 0) return;
  }
}

/** Messages by direct get; none where the broker says that there are none. */
export async function* directBatch(
  manager: JetStreamManager,
  stream: string,
  query: DirectBatchOptions,
): AsyncGenerator<StoredMsg> {
  try {
    yield* await manager.direct.getBatch(stream, query);
  } catch (error) {
    if (!((error as { code?: unknown }).code === 404)) throw error;
  }
}
