/**
 * Devices that were deleted. Heard of by the core event, so that what is still in the log is not addressed to them any
 * more; and by the record in the log, which takes their queue and their durable consumer away.
 */

import { JetStreamApiError } from '@nats-io/jetstream';
import type { NatsConnection } from 'nats';
import { jetstreamManager } from '../../nats/jetstream-manager.ts';
import { consumer, inboxStream, subject } from '../../nats/topology.ts';
import type { Config } from '../../shared/config/index.ts';
import { shardOf } from '../../shared/ids.ts';
import type { LogRecord } from '../../shared/pipeline/entry.ts';
import { decodePersonEvent } from '../../shared/pipeline/person-event.ts';

const NO_CONSUMER = 10014;
const NO_STREAM = 10059;

export class RemovedDevices {
  readonly #nc: NatsConnection;
  readonly #config: Config;
  readonly #devices = new Set<string>();

  constructor(nc: NatsConnection, config: Config) {
    this.#nc = nc;
    this.#config = config;
    nc.subscribe(subject.people('*'), {
      callback: (error, message) => {
        if (error || message.data.length === 0) return;
        for (const device of decodePersonEvent(message.string()).removed ?? []) this.#add(device);
      },
    });
  }

  has(device: string): boolean {
    return this.#devices.has(device);
  }

  /** After the batch was written. May be done again. */
  async purge(records: LogRecord[]): Promise<void> {
    for (const { meta } of records) {
      if (meta.kind !== 'notice' || meta.removed === undefined) continue;
      this.#add(meta.removed);
      const manager = await jetstreamManager(this.#nc);
      const { INBOX_SHARDS } = this.#config;
      const stream = inboxStream(shardOf(meta.user_id, INBOX_SHARDS));
      try {
        await manager.streams.purge(stream, { filter: subject.inbox(meta.user_id, meta.removed, INBOX_SHARDS) });
        await manager.consumers.delete(stream, consumer.device(meta.removed));
      } catch (error) {
        if (!(error instanceof JetStreamApiError && [NO_CONSUMER, NO_STREAM].includes(error.code))) throw error;
      }
    }
  }

  #add(device: string): void {
    this.#devices.delete(device);
    this.#devices.add(device);
    if (this.#devices.size > this.#config.MAX_REMOVED_DEVICES)
      this.#devices.delete(this.#devices.values().next().value!);
  }
}
