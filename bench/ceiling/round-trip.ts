/** Measures the floor of a socket: one message after the other through the bare relay, by the same client library. */
import { createHistogram } from 'node:perf_hooks';
import { createRelayAccounts } from '../accounts.ts';
import { closeAll, connectAll, pairUp } from '../devices.ts';
import { type Percentiles, percentiles } from '../traffic.ts';
import { startRelay } from './start-relay.ts';

export interface RoundTrip {
  queued: Percentiles;
  delivered: Percentiles;
}

/** Returns the latency of `count` messages, until they were acknowledged and until they were delivered. */
export async function measureRoundTrip(size: number, count: number): Promise<RoundTrip> {
  const relay = await startRelay();
  try {
    const devices = await connectAll(createRelayAccounts(2), relay.edge);
    const [{ from, to, conversation_id }] = (await pairUp(devices)) as [Awaited<ReturnType<typeof pairUp>>[0]];
    const queued = createHistogram();
    const delivered = createHistogram();
    const payload = 'x'.repeat(size);
    const elapsedUs = (since: number): number => Math.max(1, Math.round((performance.now() - since) * 1_000));
    // The first messages are a warm-up.
    for (let i = -count / 10; i < count; i++) {
      const startedAt = performance.now();
      const received = to.next('message').then(() => i >= 0 && delivered.record(elapsedUs(startedAt)));
      await from.send({ conversation_id, payload });
      if (i >= 0) queued.record(elapsedUs(startedAt));
      await received;
    }
    await closeAll(devices);
    return { queued: percentiles(queued), delivered: percentiles(delivered) };
  } finally {
    await relay.close();
  }
}
