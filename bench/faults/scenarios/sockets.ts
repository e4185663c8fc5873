/** Clients that do not read, do not answer, come all at once, or say the same thing from two places. */
import { setTimeout as pause } from 'node:timers/promises';
import { SealwireError } from '../../../client/index.ts';
import { uuid7 } from '../../../shared/ids.ts';
import type { Actor } from '../actor.ts';
import { hashOf } from '../journal.ts';
import { residentMiB } from '../measures.ts';
import { RawSocket } from '../raw.ts';
import type { Scenario } from '../stage.ts';
import { Wire } from '../wire.ts';

/** What a reader that stands still may cost the edge, MiB: its buffers, and some room for the garbage collector. */
const SLOW_READER_MIB = 64;
const STORM = 200;
const until = async (what: () => boolean, timeoutMs: number, why: string): Promise<void> => {
  for (const end = performance.now() + timeoutMs; !what(); await pause(10))
    if (performance.now() > end) throw new Error(`${why} within ${timeoutMs} ms`);
};

export const SOCKETS: Scenario[] = [
  {
    name: 'slow-reader',
    about: 'a device stops reading while 16 MB are sent to it; it is cut off, costs little, and gets all of it later',
    // With few, what is not acknowledged fits into the kernel's buffers: the socket is never full, only idle.
    settings: { WS_MAX_UNACKED: 2_048 },
    async run(stage, { fleet, journal, say }) {
      const [writer, reader] = [await fleet.person(), await fleet.person()];
      const target = fleet.pair(writer, reader);
      await writer.connect();
      const edge = stage.get('edge');
      const raw = await RawSocket.open(edge.edgeUrl, reader.session);
      const before = residentMiB(edge.pid);
      journal.mark('fault', 'a reader stands still');
      raw.stopReading();
      let most = 0;
      for (let i = 0; i < 40; i++) {
        await Promise.all(Array.from({ length: 25 }, () => writer.send(target, fleet.payload(16_000))));
        most = Math.max(most, residentMiB(edge.pid));
      }
      await pause(stage.env.config.WS_SLOW_READER_SEC * 1_000 + 1_500);
      raw.startReading();
      await until(() => raw.closed, 30_000, 'the edge did not cut off a reader that stood still');
      journal.mark('healed', 'it comes back and reads');
      say(`edge: ${before} MiB before, ${most} MiB at most`);
      if (most - before > SLOW_READER_MIB) throw new Error(`a slow reader cost the edge ${most - before} MiB`);
      await reader.connect();
    },
  },
  {
    name: 'half-open',
    about: 'the network between three devices and the edge goes silent without closing; they come back another way',
    async run(stage, { fleet, journal, go }) {
      const wire = new Wire(stage.place.edge);
      const edge = await wire.listen();
      try {
        const through = { api: stage.place.api, edge };
        const people: Actor[] = [];
        for (let i = 0; i < 3; i++) people.push(await fleet.person(through, { silence_ms: 500 }));
        const [a, b, c] = people;
        fleet.pair(a!, b!);
        fleet.pair(b!, c!);
        await Promise.all(people.map((one) => one.connect()));
        await go(0.2);
        journal.mark('fault', 'the network is silent');
        wire.freeze();
        await until(() => people.some((one) => !one.connected), 30_000, 'nobody noticed the silence');
        await until(() => people.every((one) => one.connected), 30_000, 'not everybody came back');
        journal.mark('healed', 'everybody is back');
        await go(0.3);
        // Those who stay connected through it are no part of what comes next.
        await Promise.all(people.map((one) => one.leave(false)));
      } finally {
        wire.close();
      }
      for (const one of fleet.actors.slice(-3)) one.reach(stage.place.edge);
      await Promise.all(fleet.actors.slice(-3).map((one) => one.connect()));
    },
  },
  {
    name: 'storm',
    about: `${STORM} devices lose their edge and come back in the same moment`,
    shape: { pairs: STORM / 2, groups: 2, second: 0, restless: 0 },
    async run(stage, { fleet, journal, say }) {
      const edge = stage.get('edge');
      journal.mark('fault', 'SIGKILL edge');
      await edge.kill9();
      await edge.restart();
      journal.mark('healed', 'edge');
      const begun = performance.now();
      const most = Math.floor(STORM * 0.99);
      await until(() => fleet.actors.filter((one) => one.connected).length >= most, 30_000, '99 % were not back');
      say(`99 % of ${fleet.actors.length} devices were back after ${Math.round(performance.now() - begun)} ms`);
    },
  },
  {
    name: 'same-id',
    about: 'the same client_message_id at once from two devices and over HTTP, again and again',
    async run(_stage, { fleet, journal, go }) {
      const [one, peer] = [await fleet.person(), await fleet.person()];
      const target = fleet.pair(one, peer);
      const two = await fleet.secondDevice(one);
      await Promise.all([one, two, peer].map((actor) => actor.connect()));
      await one.send(target, fleet.payload());
      journal.mark('fault', 'the same thing from three places');
      const overHttp = async (payload: string, client_message_id: string): Promise<void> => {
        const about = { device: two.id, client_message_id };
        journal.add({ kind: 'send', ...about, conversation: target.conversation, hash: hashOf(payload) });
        try {
          const path = `/v1/conversations/${target.conversation}/messages`;
          const body = { payload, client_message_id };
          const said = await two.session.call<{ message_id: string; seq: number }>('POST', path, body);
          journal.add({ kind: 'queued', ...about, conversation: target.conversation, ...said });
        } catch (error) {
          const code = error instanceof SealwireError ? error.code : 'internal';
          journal.add({ kind: 'refused', ...about, code });
        }
      };
      const again: [string, string][] = [];
      for (let i = 0; i < 100; i++) {
        const [payload, id] = [fleet.payload(), uuid7()];
        again.push([payload, id]);
        await Promise.all([one.send(target, payload, id), two.send(target, payload, id), overHttp(payload, id)]);
      }
      await go(0.2);
      await Promise.all(again.map(([payload, id]) => one.send(target, payload, id)));
      journal.mark('healed');
    },
  },
];
