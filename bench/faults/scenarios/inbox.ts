/** The inbox is a projection: where the broker loses it, devices are told, and get from history what they miss. */
import { jetstreamManager } from '@nats-io/jetstream';
import { inboxStream } from '../../../nats/topology.ts';
import { shardOf } from '../../../shared/ids.ts';
import type { Scenario } from '../stage.ts';

export const INBOX: Scenario[] = [
  {
    name: 'inbox-deleted',
    about: 'an inbox stream is deleted under load: everybody in it is told, and resyncs',
    async run(stage, { fleet, journal, go, say }) {
      const manager = await jetstreamManager(await stage.env.nats('admin'));
      journal.mark('fault', 'stream deleted');
      await manager.streams.delete(inboxStream(0));
      journal.mark('healed', 'nobody has to do anything');
      await go(0.5);
      await fleet.stopLoad();
      await stage.quiet(fleet);
      const inside = fleet.actors.filter(({ user }) => shardOf(user, stage.env.config.INBOX_SHARDS) === 0);
      const told = new Set(
        journal.events.filter(({ kind }) => kind === 'gap').map((gap) => 'device' in gap && gap.device),
      );
      const untold = inside.filter(({ id }) => !told.has(id));
      if (untold.length) throw new Error(`${untold.length} of ${inside.length} devices were not told of the gap`);
      say(`${inside.length} devices were told`);
    },
  },
];
