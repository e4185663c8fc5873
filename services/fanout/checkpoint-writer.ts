/** Remembers how far each partition was written since its last checkpoint, and writes the checkpoints. */
import type { Logger } from 'pino';
import type { InboxRecovery } from './inbox-recovery.ts';

/** The last entry that was written, where each shard has it, and the broker process that took it. */
export interface WrittenEntry {
  entry: number;
  cursors: readonly number[];
  server: string;
}

export class CheckpointWriter {
  readonly #recovery: InboxRecovery;
  readonly #log: Logger;
  /** By partition, since its last checkpoint. */
  readonly #written = new Map<number, WrittenEntry>();
  /** Partitions without a checkpoint since they were taken over. */
  readonly #fresh = new Set<number>();

  constructor(recovery: InboxRecovery, log: Logger) {
    this.#recovery = recovery;
    this.#log = log;
  }

  /**
   * Begins a partition that was taken over. Its first batch is followed by a checkpoint at once; otherwise the next owner would
   * go further back than necessary.
   */
  beginPartition(partition: number): void {
    this.#written.delete(partition);
    this.#fresh.add(partition);
  }

  /** Remembers a batch for the next checkpoint. */
  add(partition: number, written: WrittenEntry): void {
    this.#written.set(partition, written);
    if (this.#fresh.delete(partition)) void this.flush();
  }

  /** Writes what was remembered. Never rejects: a checkpoint that fails is logged, and a later one replaces it. */
  async flush(): Promise<void> {
    const written = [...this.#written];
    this.#written.clear();
    for (const [partition, { entry, cursors, server }] of written)
      if (server === this.#recovery.server)
        await this.#recovery
          .writeCheckpoint(partition, entry, cursors, server)
          .catch((error: unknown) =>
            this.#log.warn({ stage: 'fanout', partition, reason: String(error) }, 'a checkpoint could not be written'),
          );
  }
}
