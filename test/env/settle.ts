/** Waits until the consumers of the topology have handled what was there at the call. */
import { type ConsumerInfo, jetstreamManager } from '@nats-io/jetstream';
import { connectNats } from '../../nats/connect.ts';
import { streams } from '../../nats/streams.ts';
import type { Config } from '../../shared/config/index.ts';

/** The longest path of a message: PAYMENTS, INGRESS, LOG, EVENTS. */
const STAGES = 4;

/**
 * Resolves once every consumer of topology has seen and acknowledged everything that was there at the call, and what
 * followed from it in later stages; it does not wait for what others send meanwhile. Consumers of services that were
 * never `started` are left out; a durable's name begins with its service.
 */
export async function settle(config: Config, timeoutMs: number, started: ReadonlySet<string>): Promise<void> {
  const nc = await connectNats(config, 'admin');
  try {
    const jsm = await jetstreamManager(nc);
    const deadline = Date.now() + timeoutMs;
    const durables = streams(config).flatMap((spec) =>
      spec.consumers
        .filter(({ durable_name }) => started.has(durable_name.split('_')[0]!))
        .map((one) => [spec.config.name, one.durable_name] as const),
    );
    const names = [...new Set(durables.map(([stream]) => stream))];
    const look = (): Promise<ConsumerInfo[]> =>
      Promise.all(durables.map(([stream, durable]) => jsm.consumers.info(stream, durable)));
    for (let stage = 0; stage < STAGES; stage++) {
      const last = new Map<string, number>();
      for (const { config, state } of await Promise.all(names.map((name) => jsm.streams.info(name))))
        last.set(config.name, state.last_seq);
      for (;;) {
        const busy = (await look()).filter(
          (info) =>
            (info.num_pending > 0 || info.num_ack_pending > 0) &&
            info.ack_floor.stream_seq < last.get(info.stream_name)!,
        );
        if (busy.length === 0) break;
        if (Date.now() > deadline) {
          const who = busy.map(
            (info) => `${info.name}: ${info.num_pending} pending, ${info.num_ack_pending} unacknowledged`,
          );
          throw new Error(`not settled after ${timeoutMs} ms: ${who.join('; ')}`);
        }
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    }
  } finally {
    await nc.close();
  }
}
