import { jetstreamManager } from '@nats-io/jetstream';
import { connectNats } from '../../nats/connect.ts';
import { streams } from '../../nats/topology.ts';
import type { Config } from '../../shared/config/index.ts';

/**
 * Resolves once every consumer of topology has seen and acknowledged everything, in one look at all of them. Those of
 * services that were never `started` are left out; a durable's name begins with its service.
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
    let quiet = 0;
    for (;;) {
      const infos = await Promise.all(durables.map(([stream, durable]) => jsm.consumers.info(stream, durable)));
      const busy = infos.filter((info) => info.num_pending > 0 || info.num_ack_pending > 0);
      // Twice: what a worker acknowledged in the first look may have been passed on to one that was looked at before.
      quiet = busy.length === 0 ? quiet + 1 : 0;
      if (quiet === 2) return;
      if (Date.now() > deadline) {
        const who = busy.map(
          (info) => `${info.name}: ${info.num_pending} pending, ${info.num_ack_pending} unacknowledged`,
        );
        throw new Error(`not settled after ${timeoutMs} ms: ${who.join('; ')}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  } finally {
    await nc.close();
  }
}
