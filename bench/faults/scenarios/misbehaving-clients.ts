/** Scenarios with clients that do not read, lose their network, all connect at once, or send a message from two devices. */
import { SealwireError } from '../../../client/index.ts';
import { sleep } from '../../../shared/async/sleep.ts';
import { uuid7 } from '../../../shared/ids.ts';
import type { FleetDevice } from '../fleet-device.ts';
import { hashOf } from '../journal.ts';
import { residentMiB } from '../measures.ts';
import { RawSocket } from '../raw-socket.ts';
import type { Scenario } from '../scenario.ts';
import { TcpForwarder } from '../tcp-forwarder.ts';

/** Memory that a client which does not read may cost the edge, MiB: its buffers, and some slack for the garbage collector. */
const SLOW_READER_MIB = 64;
/** Devices that reconnect at once. */
const STORM = 200;

/** Waits for a condition. @param failure the error message if the time is up */
const waitUntil = async (isTrue: () => boolean, timeoutMs: number, failure: string): Promise<void> => {
  for (const deadline = performance.now() + timeoutMs; !isTrue(); await sleep(10))
    if (performance.now() > deadline) throw new Error(`${failure} within ${timeoutMs} ms`);
};

export const MISBEHAVING_CLIENTS: Scenario[] = [
  {
    name: 'slow-reader',
    description:
      'a device stops reading while 16 MB are sent to it: the edge closes its socket, spends little memory, and delivers later',
    // With a lower limit the unacknowledged items fit into the kernel's buffers: the socket is idle, but never full.
    settings: { WS_MAX_UNACKED: 2_048 },
    async run(system, { fleet, journal, log }) {
      const [writer, reader] = [await fleet.addPerson(), await fleet.addPerson()];
      const target = fleet.addConversation(writer, reader);
      await writer.connect();
      const edge = system.processOf('edge');
      const raw = await RawSocket.open(edge.edgeUrl, reader.session);
      const beforeMiB = residentMiB(edge.pid);
      journal.mark('fault', 'a client stops reading');
      raw.stopReading();
      let peakMiB = 0;
      for (let i = 0; i < 40; i++) {
        await Promise.all(Array.from({ length: 25 }, () => writer.send(target, fleet.createPayload(16_000))));
        peakMiB = Math.max(peakMiB, residentMiB(edge.pid));
      }
      await sleep(system.env.config.WS_SLOW_READER_SEC * 1_000 + 1_500);
      raw.startReading();
      await waitUntil(() => raw.isClosed, 30_000, 'the edge did not close the socket of a client that stopped reading');
      journal.mark('healed', 'the client comes back and reads');
      log(`edge: ${beforeMiB} MiB before, ${peakMiB} MiB at most`);
      if (peakMiB - beforeMiB > SLOW_READER_MIB)
        throw new Error(`a slow reader cost the edge ${peakMiB - beforeMiB} MiB`);
      await reader.connect();
    },
  },
  {
    name: 'half-open',
    description: 'the network between three devices and the edge fails without closing connections; they reconnect',
    async run(system, { fleet, journal, loadFor }) {
      const forwarder = new TcpForwarder(system.addresses.edge);
      const edge = await forwarder.listen();
      try {
        const addresses = { api: system.addresses.api, edge };
        const devices: FleetDevice[] = [];
        for (let i = 0; i < 3; i++) devices.push(await fleet.addPerson(addresses, { silence_ms: 500 }));
        const [a, b, c] = devices;
        fleet.addConversation(a!, b!);
        fleet.addConversation(b!, c!);
        await Promise.all(devices.map((device) => device.connect()));
        await loadFor(0.2);
        journal.mark('fault', 'the network fails');
        forwarder.freeze();
        await waitUntil(
          () => devices.some(({ connected }) => !connected),
          30_000,
          'no device noticed that the network had failed',
        );
        await waitUntil(() => devices.every(({ connected }) => connected), 30_000, 'not every device came back');
        journal.mark('healed', 'every device is back');
        await loadFor(0.3);
        // They leave the forwarder, which is closed below, for a direct connection to the edge.
        await Promise.all(devices.map((device) => device.disconnect(false)));
      } finally {
        forwarder.close();
      }
      for (const device of fleet.devices.slice(-3)) device.switchEdge(system.addresses.edge);
      await Promise.all(fleet.devices.slice(-3).map((device) => device.connect()));
    },
  },
  {
    name: 'storm',
    description: `${STORM} devices lose the edge and reconnect at the same moment`,
    shape: { pairs: STORM / 2, groups: 2, secondDevices: 0, wanderers: 0 },
    async run(system, { fleet, journal, log }) {
      const edge = system.processOf('edge');
      journal.mark('fault', 'SIGKILL edge');
      await edge.kill9();
      await edge.restart();
      journal.mark('healed', 'edge');
      const restartedAt = performance.now();
      const expected = Math.floor(STORM * 0.99);
      await waitUntil(
        () => fleet.devices.filter(({ connected }) => connected).length >= expected,
        30_000,
        '99 % were not back',
      );
      log(`99 % of ${fleet.devices.length} devices were back after ${Math.round(performance.now() - restartedAt)} ms`);
    },
  },
  {
    name: 'same-id',
    description: 'the same client_message_id is sent at once from two devices and over HTTP, many times',
    async run(_system, { fleet, journal, loadFor }) {
      const [phone, peer] = [await fleet.addPerson(), await fleet.addPerson()];
      const target = fleet.addConversation(phone, peer);
      const tablet = await fleet.addSecondDevice(phone);
      await Promise.all([phone, tablet, peer].map((device) => device.connect()));
      await phone.send(target, fleet.createPayload());
      journal.mark('fault', 'the same messages from three places');
      const sendOverHttp = async (payload: string, client_message_id: string): Promise<void> => {
        const message = { device: tablet.id, client_message_id };
        journal.add({ kind: 'send', ...message, conversation: target.conversation, hash: hashOf(payload) });
        try {
          const path = `/v1/conversations/${target.conversation}/messages`;
          const body = { payload, client_message_id };
          const sent = await tablet.session.call<{ message_id: string; seq: number }>('POST', path, body);
          journal.add({ kind: 'queued', ...message, conversation: target.conversation, ...sent });
        } catch (error) {
          const code = error instanceof SealwireError ? error.code : 'internal';
          journal.add({ kind: 'refused', ...message, code });
        }
      };
      const messages: [string, string][] = [];
      for (let i = 0; i < 100; i++) {
        const [payload, id] = [fleet.createPayload(), uuid7()];
        messages.push([payload, id]);
        await Promise.all([
          phone.send(target, payload, id),
          tablet.send(target, payload, id),
          sendOverHttp(payload, id),
        ]);
      }
      await loadFor(0.2);
      await Promise.all(messages.map(([payload, id]) => phone.send(target, payload, id)));
      journal.mark('healed');
    },
  },
];
