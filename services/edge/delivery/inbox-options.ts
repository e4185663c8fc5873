/** Declares what the inboxes of one edge share. */
import type { Logger } from 'pino';
import type { Revocations } from '../../../nats/revocations.ts';
import type { Config } from '../../../shared/config/index.ts';
import type { ConsumerScheduler } from '../offline/consumer-scheduler.ts';
import type { DeviceConsumers } from '../offline/device-consumers.ts';
import type { StreamFactsReader } from '../offline/stream-facts.ts';
import type { ProgressOptions } from './device-progress.ts';
import type { InboxFramesOptions } from './inbox-frames.ts';

export interface InboxOptions extends ProgressOptions, InboxFramesOptions {
  config: Config;
  log: Logger;
  consumers: DeviceConsumers;
  scheduler: ConsumerScheduler;
  streamFacts: StreamFactsReader;
  revocations: Pick<Revocations, 'has'>;
  counts: { backfill: number; gap: number };
  /** Inboxes that housekeeping must look at, because they are not simply live. */
  needsAttention: Set<{ checkProgress(now: number): void }>;
}
