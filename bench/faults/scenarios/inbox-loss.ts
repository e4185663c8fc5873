/** Scenario in which the broker loses an inbox stream: its devices are told of a gap and get the messages from history. */
import { jetstreamManager } from '@nats-io/jetstream';
import { inboxStream } from '../../../nats/topology.ts';
import { shardOf } from '../../../shared/ids.ts';
import type { Scenario } from '../scenario.ts';

export const INBOX_LOSS: Scenario[] = [
  {
    name: 'inbox-deleted',
    description: 'an inbox stream is deleted under load: every device in it is told of a gap and resyncs',
    async run(system, { fleet, journal, loadFor, log }) {
      const manager = await jetstreamManager(await system.env.nats('admin'));
      journal.mark('fault', 'stream deleted');
      await manager.streams.delete(inboxStream(0));
      journal.mark('healed', 'the system repairs itself');
      await loadFor(0.5);
      await fleet.stopLoad();
      await system.waitUntilQuiet(fleet);
      const affected = fleet.devices.filter(({ userId }) => shardOf(userId, system.env.config.INBOX_SHARDS) === 0);
      const devicesWithGap = new Set(
        journal.events.filter(({ kind }) => kind === 'gap').map((gap) => 'device' in gap && gap.device),
      );
      const missed = affected.filter(({ id }) => !devicesWithGap.has(id));
      if (missed.length) throw new Error(`${missed.length} of ${affected.length} devices were not told of the gap`);
      log(`${affected.length} devices were told of the gap`);
    },
  },
];
