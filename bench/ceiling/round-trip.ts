/** The floor of a socket: one message after the other through the bare relay, by the same client library. */
import { createHistogram } from 'node:perf_hooks';
import { closeAll, connectAll, pairUp } from '../crowd.ts';
import { inventAccounts } from '../people.ts';
import { type Percentiles, percentiles } from '../traffic.ts';
import { startRelay } from './start-relay.ts';

export interface RoundTrip {
  queued: Percentiles;
  delivered: Percentiles;
}

export async function roundTrip(size: number, count: number): Promise<RoundTrip> {
  const relay = await startRelay();
  try {
    const devices = await connectAll(inventAccounts(2), relay.edge);
    const [{ from, to, conversation_id }] = (await pairUp(devices)) as [Awaited<ReturnType<typeof pairUp>>[0]];
    const queued = createHistogram();
    const delivered = createHistogram();
    const payload = 'x'.repeat(size);
    const us = (since: number): number => Math.max(1, Math.round((performance.now() - since) * 1_000));
    for (let i = -count / 10; i < count; i++) {
      const begun = performance.now();
      const heard = to.next('message').then(() => i >= 0 && delivered.record(us(begun)));
      await from.send({ conversation_id, payload });
      if (i >= 0) queued.record(us(begun));
      await heard;
    }
    await closeAll(devices);
    return { queued: percentiles(queued), delivered: percentiles(delivered) };
  } finally {
    await relay.stop();
  }
}
