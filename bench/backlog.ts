/** How far the workers are behind: a rate is sustained only if this does not grow. */
import { type JetStreamManager, jetstreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from 'nats';
import { consumer, LOG } from '../nats/topology.ts';
import type { Config } from '../shared/config/index.ts';

export class Backlog {
  readonly manager: JetStreamManager;
  readonly #config: Config;

  private constructor(manager: JetStreamManager, config: Config) {
    this.manager = manager;
    this.#config = config;
  }

  static async open(nc: NatsConnection, config: Config): Promise<Backlog> {
    return new Backlog(await jetstreamManager(nc), config);
  }

  /** Entries of LOG that a stage has not done yet. */
  async entries(stage: 'fanout' | 'history'): Promise<number> {
    let sum = 0;
    for (let p = 0; p < this.#config.PARTITIONS; p++) {
      const info = await this.manager.consumers.info(LOG, consumer[stage](p));
      sum += info.num_pending + info.num_ack_pending;
    }
    return sum;
  }

  /** Resolves once history holds everything; how long that took, ms. */
  async settled(timeoutMs = 120_000): Promise<number> {
    const begun = performance.now();
    while ((await this.entries('fanout')) + (await this.entries('history')) > 0) {
      if (performance.now() - begun > timeoutMs) throw new Error(`history is still behind after ${timeoutMs} ms`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return Math.round(performance.now() - begun);
  }
}
