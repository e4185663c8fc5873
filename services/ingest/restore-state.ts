/** Restores the state of a partition: what Postgres holds of its log, and what the log holds beyond that. */
import type { NatsConnection } from 'nats';
import type { Logger } from 'pino';
import { readLog, readLogHead } from '../../nats/log-reader.ts';
import { isTransient } from '../../shared/transient.ts';
import type { PartitionState } from './partition-state.ts';
import type { Store } from './store.ts';

interface RestoreOptions {
  nc: NatsConnection;
  store: Pick<Store, 'position'>;
  config: { INGEST_MAX_UNPROJECTED: number };
  log: Logger;
}

/**
 * A state that already counts up to the log's last entry is kept: no other process has written since.
 * @returns the reason why it is impossible now, in which case the state is empty; undefined once it is done.
 * @throws when the broker does not answer.
 */
export async function restoreState(
  state: PartitionState,
  { nc, store, config, log }: RestoreOptions,
): Promise<string | undefined> {
  const { partition } = state;
  const { head, created } = await readLogHead(nc, partition);
  if (state.logCreated === created && state.head === head) return undefined;
  const fail = (reason: string): string => {
    state.reset('', 0, 0);
    return reason;
  };
  let projection: Awaited<ReturnType<Store['position']>>;
  try {
    projection = await store.position(partition);
  } catch (error) {
    if (!isTransient(error)) throw error;
    return fail('the database does not answer');
  }
  const projected = projection?.stream === created ? projection.entry_seq : 0;
  // An idle partition may have no entry left in the log: its last one was removed after Postgres had it.
  const position = head === 0 ? 0 : Math.min(projected, head);
  state.reset(created, head, position);
  let previous = projected;
  for await (const entry of readLog(nc, partition, position, head)) {
    if (entry.previous !== undefined && entry.previous > previous)
      return fail(
        `entries ${previous + 1} to ${entry.previous} of log partition ${partition} are gone and Postgres does not hold them: see docs/operations.md`,
      );
    previous = entry.seq;
    try {
      state.replay(entry.seq, entry.data);
    } catch (error) {
      // fanout and history make it a dead letter; it can't hold anything that ingest wrote.
      log.warn(
        { stage: 'ingest', partition, entry: entry.seq, reason: String(error) },
        'an entry of the log cannot be read and is skipped',
      );
    }
    if (state.unprojectedRecords > config.INGEST_MAX_UNPROJECTED)
      return fail('history is too far behind for this process to take the partition over');
  }
  return undefined;
}
