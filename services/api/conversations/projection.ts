/** Waiting until the projection shows what was just written to the log, so that people read their own writes. */
import type { NatsConnection } from 'nats';
import { subject } from '../../../nats/topology.ts';

export interface Projection {
  /** Asks again whenever history has committed in that partition, until there is an answer or `timeoutMs` is over. */
  until<T>(partition: number, timeoutMs: number, ask: () => Promise<T | undefined>): Promise<T | undefined>;
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
    async until(partition, timeoutMs, ask) {
      const waiters = waiting[partition]!;
      const deadline = Date.now() + timeoutMs;
      for (;;) {
        let wake = (): void => {};
        const committed = new Promise<void>((resolve) => {
          wake = resolve;
        });
        // Before asking, or a commit between the question and the waiting would go unheard.
        waiters.add(wake);
        const timer = setTimeout(wake, Math.max(0, deadline - Date.now()));
        try {
          const answer = await ask();
          if (answer !== undefined || Date.now() >= deadline) return answer;
          await committed;
        } finally {
          clearTimeout(timer);
          waiters.delete(wake);
        }
      }
    },
  };
}
