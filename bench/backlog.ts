/** Tells how far the workers are behind. A rate is sustained only if this does not grow. */

import { type JetStreamManager, jetstreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from 'nats';
import { consumer, LOG } from '../nats/topology.ts';
import { sleep } from '../shared/async/sleep.ts';
import type { Config } from '../shared/config/index.ts';

const POLL_MS = 20;

export class WorkerBacklog {
  readonly manager: JetStreamManager;
  readonly #config: Config;

  private constructor(manager: JetStreamManager, config: Config) {
    this.manager = manager;
    this.#config = config;
  }

  static async open(nc: NatsConnection, config: Config): Promise<WorkerBacklog> {
    return new WorkerBacklog(await jetstreamManager(nc), config);
  }

  /** Counts the entries of LOG that a worker has not processed. */
  async countEntries(worker: 'fanout' | 'history'): Promise<number> {
    let sum = 0;
    for (let p = 0; p < this.#config.PARTITIONS; p++) {
      const info = await this.manager.consumers.info(LOG, consumer[worker](p));
      sum += info.num_pending + info.num_ack_pending;
    }
    return sum;
  }

  /** Waits until fanout and history have processed everything. @returns how long that took, ms */
  async waitUntilEmpty(timeoutMs = 120_000): Promise<number> {
    const startedAt = performance.now();
    while ((await this.countEntries('fanout')) + (await this.countEntries('history')) > 0) {
      if (performance.now() - startedAt > timeoutMs) throw new Error(`history is still behind after ${timeoutMs} ms`);
      await sleep(POLL_MS);
    }
    return Math.round(performance.now() - startedAt);
  }
}
