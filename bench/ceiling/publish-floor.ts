/** Measures the floor of every acknowledged message: publishes into a stream of the same broker, one after the other. */
import { createHistogram } from 'node:perf_hooks';
import { jetstream } from '@nats-io/jetstream';
import type { NatsConnection } from 'nats';
import type { WorkerBacklog } from '../backlog.ts';
import { type Percentiles, percentiles } from '../traffic.ts';

const STREAM = 'BENCH_FLOOR';
const SUBJECT = 'bench.floor';

/** Returns the latency of `count` publishes of `size` bytes. Creates the stream for it and removes it. */
export async function measurePublish(
  nc: NatsConnection,
  { manager }: WorkerBacklog,
  size: number,
  count: number,
): Promise<Percentiles> {
  await manager.streams.add({ name: STREAM, subjects: [SUBJECT], storage: 'file' });
  try {
    const js = jetstream(nc);
    const data = Buffer.alloc(size, 'x');
    const times = createHistogram();
    // The first publishes are a warm-up.
    for (let i = -count / 10; i < count; i++) {
      const startedAt = performance.now();
      await js.publish(SUBJECT, data);
      if (i >= 0) times.record(Math.max(1, Math.round((performance.now() - startedAt) * 1_000)));
    }
    return percentiles(times);
  } finally {
    await manager.streams.delete(STREAM);
  }
}
