/** Waits until the projection shows a record that was just written to the log, so that people read their own writes. */
import type { NatsConnection } from 'nats';
import { subject } from '../../../nats/topology.ts';

export interface Projection {
  /**
   * Calls `read` now and whenever history has committed records of the partition, until it returns a value.
   * @returns undefined when it has returned none after `timeoutMs`.
   */
  waitFor<T>(partition: number, timeoutMs: number, read: () => Promise<T | undefined>): Promise<T | undefined>;
}

export function watchProjection(nc: NatsConnection, partitions: number): Projection {
  const waiting = Array.from({ length: partitions }, () => new Set<() => void>());
  waiting.forEach((waiters, partition) => {
    nc.subscribe(subject.projected(partition), {
      callback: () => {
        for (const wake of waiters) wake();
      },
    });
  });

  return {
    async waitFor(partition, timeoutMs, read) {
      const waiters = waiting[partition]!;
      const deadline = Date.now() + timeoutMs;
      for (;;) {
        const { promise: committed, resolve: wake } = Promise.withResolvers<void>();
        // Added before the read: a commit between the read and the wait would otherwise be missed.
        waiters.add(wake);
        const timer = setTimeout(wake, Math.max(0, deadline - Date.now()));
        try {
          const value = await read();
          if (value !== undefined || Date.now() >= deadline) return value;
          await committed;
        } finally {
          clearTimeout(timer);
          waiters.delete(wake);
        }
      }
    },
  };
}
