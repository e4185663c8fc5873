/** The floor of every acknowledged message: one publish into a stream of the same broker, one after the other. */

import { createHistogram } from 'node:perf_hooks';
import { jetstream } from '@nats-io/jetstream';
import type { NatsConnection } from 'nats';
import type { Backlog } from '../backlog.ts';
import { type Percentiles, percentiles } from '../traffic.ts';

const STREAM = 'BENCH_FLOOR';
const SUBJECT = 'bench.floor';

/** Latency of `count` publishes of `size` bytes; the stream is made for it and removed. */
export async function publishFloor(
  nc: NatsConnection,
  { manager }: Backlog,
  size: number,
  count: number,
): Promise<Percentiles> {
  await manager.streams.add({ name: STREAM, subjects: [SUBJECT], storage: 'file' });
  try {
    const js = jetstream(nc);
    const data = Buffer.alloc(size, 'x');
    const times = createHistogram();
    for (let i = -count / 10; i < count; i++) {
      const begun = performance.now();
      await js.publish(SUBJECT, data);
      if (i >= 0) times.record(Math.max(1, Math.round((performance.now() - begun) * 1_000)));
    }
    return percentiles(times);
  } finally {
    await manager.streams.delete(STREAM);
  }
}
