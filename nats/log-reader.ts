/** Reads LOG: where a partition ends, and its entries after a position. Used to restore workers, not per message. */
import type { DirectBatchOptions, JetStreamManager, StoredMsg } from '@nats-io/jetstream';
import type { NatsConnection } from 'nats';
import { isNoMessage } from './errors.ts';
import { jetstreamManager } from './jetstream-manager.ts';
import { EXPECTED_LAST } from './js-api.ts';
import { LOG, subject } from './topology.ts';

export interface StoredEntry {
  seq: number;
  /** Sequence of the partition's entry before it, undefined for the first: it shows a reader that entries are missing. */
  previous: number | undefined;
  data: Uint8Array;
}

const BATCH = 256;
/** Status of a direct get that finds nothing. */
const NOT_FOUND = 404;

export interface LogHead {
  /** Sequence of the partition's last entry, 0 when there is none (any more). */
  head: number;
  /** Last sequence that the stream ever gave to any partition. */
  last: number;
  /** The stream's creation time, its identity. */
  created: string;
}

/** Reads where a partition ends. */
export async function readLogHead(nc: NatsConnection, partition: number): Promise<LogHead> {
  const manager = await jetstreamManager(nc);
  const { created, state } = await manager.streams.info(LOG);
  const stream = { created: String(created), last: state.last_seq };
  try {
    const last = await manager.direct.getMessage(LOG, { last_by_subj: subject.log(partition) });
    const head = last?.seq ?? 0;
    // The entry may have been appended after the stream was asked.
    return { ...stream, head, last: Math.max(head, stream.last) };
  } catch (error) {
    if (isNoMessage(error)) return { ...stream, head: 0 };
    throw error;
  }
}

/** Reads the entries of a partition after `position`, up to and including `head`. */
export async function* readLog(
  nc: NatsConnection,
  partition: number,
  position: number,
  head: number,
): AsyncGenerator<StoredEntry> {
  const manager = await jetstreamManager(nc);
  for (let next = position + 1; next <= head; ) {
    let got = 0;
    const query = { seq: next, next_by_subj: subject.log(partition), batch: BATCH };
    for await (const message of readDirectBatch(manager, LOG, query)) {
      if (message.seq > head) return;
      got++;
      next = message.seq + 1;
      // The append named it as the last one, and the header stays in the stored entry.
      const previous = message.header.get(EXPECTED_LAST);
      yield { seq: message.seq, previous: previous ? Number(previous) : undefined, data: message.data };
    }
    if (got === 0) return;
  }
}

/** Reads messages by direct get; yields nothing where the broker answers that there are none. */
export async function* readDirectBatch(
  manager: JetStreamManager,
  stream: string,
  query: DirectBatchOptions,
): AsyncGenerator<StoredMsg> {
  try {
    yield* await manager.direct.getBatch(stream, query);
  } catch (error) {
    if ((error as { code?: unknown }).code !== NOT_FOUND) throw error;
  }
}
