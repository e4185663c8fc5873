/** What a worker of a pinned durable is made of, see consume.ts. */
import type { Handling } from './batch-runner.ts';
import type { ConsumerMonitorOptions } from './consumer-monitor.ts';
import type { Chain } from './deliveries.ts';
import type { Durable } from './durable.ts';

export interface PartitionConsumerOptions<T>
  extends Handling<T>,
    Durable,
    Chain,
    Pick<ConsumerMonitorOptions, 'direct' | 'lookMs' | 'stuckMs'> {
  /** Messages pulled ahead; bounds memory. */
  window: number;
  /** Batches begin at least so long after one another (ms), so that what is in no hurry gathers; 0 unless given. */
  apartMs?: number;
  /** Called when this process became the only one; returns the stream sequence to go on from, else the ack floor. */
  takeOver(): Promise<number | undefined>;
  decode(data: Uint8Array): T;
}
