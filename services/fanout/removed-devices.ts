/**
 * Knows which devices were deleted. A core event says so at once, so that items still in the log are not addressed to them;
 * the record in the log says so for certain, and takes their items and their durable consumer away.
 */
import type { NatsConnection } from 'nats';
import { removeDeviceInbox } from '../../nats/inbox/purge.ts';
import { subject } from '../../nats/topology.ts';
import type { Config } from '../../shared/config/index.ts';
import type { LogMeta, LogRecord } from '../../shared/pipeline/entry.ts';
import { ignore, type RecordKind, type RecordOf } from '../../shared/pipeline/kinds.ts';
import { decodePersonEvent } from '../../shared/pipeline/person-event.ts';

type RemovedDevice<R extends LogMeta> = (record: R) => string | undefined;
export type RemovedDeviceTable = { [K in RecordKind]: RemovedDevice<RecordOf<K>> };

const REMOVED_DEVICE = {
  notice: ({ removed }) => removed,
  message: ignore('it removes no device'),
  conversation: ignore('it removes no device'),
  read: ignore('it removes no device'),
  payment: ignore('it removes no device'),
} satisfies RemovedDeviceTable;

export class RemovedDevices {
  readonly #nc: NatsConnection;
  readonly #config: Config;
  /** The least recently removed one first. */
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

  /** Removes the inboxes of the devices that these records remove. Called after the batch was written; may be repeated. */
  async removeInboxes(records: LogRecord[]): Promise<void> {
    for (const { meta } of records) {
      const device = (REMOVED_DEVICE[meta.kind] as RemovedDevice<LogMeta>)(meta);
      if (device === undefined) continue;
      this.#add(device);
      await removeDeviceInbox(this.#nc, this.#config, meta.user_id, device);
    }
  }

  #add(device: string): void {
    this.#devices.delete(device);
    this.#devices.add(device);
    if (this.#devices.size > this.#config.MAX_REMOVED_DEVICES)
      this.#devices.delete(this.#devices.values().next().value!);
  }
}
