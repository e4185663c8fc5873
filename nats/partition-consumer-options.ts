/** The options of a PartitionConsumer, collected from its parts. */
import type { BatchRunnerOptions } from './batch-runner.ts';
import type { ConsumerMonitorOptions } from './consumer-monitor.ts';
import type { ChainOptions } from './delivery-sequence.ts';
import type { TakeOverOptions } from './take-over.ts';

export interface PartitionConsumerOptions<T>
  extends BatchRunnerOptions<T>,
    TakeOverOptions,
    ChainOptions,
    Pick<ConsumerMonitorOptions, 'direct' | 'pollMs' | 'stuckMs'> {
  /** Messages pulled ahead; bounds memory. */
  window: number;
  /** Batches begin at least this long after one another (ms), so that messages that can wait are gathered; 0 by default. */
  apartMs?: number;
  decode(data: Uint8Array): T;
}
