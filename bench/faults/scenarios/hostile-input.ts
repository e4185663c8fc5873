/** Scenarios with input that no part of the system would send: poison in the streams, malformed frames. */
import { jetstreamManager } from '@nats-io/jetstream';
import { DEAD, subject } from '../../../nats/topology.ts';
import { BINARY, CONTINUATION, encodeFrame, RawSocket, TEXT } from '../raw-socket.ts';
import type { Scenario } from '../scenario.ts';

const ANSWER_TIMEOUT_MS = 20_000;

/** Frames that must end in a typed error or a closed socket. Each is sent on a socket of its own. */
const HOSTILE: [name: string, frames: (maxBytes: number) => Buffer[]][] = [
  ['malformed JSON', () => [encodeFrame('{"type":')]],
  ['JSON that is no object', () => [encodeFrame('[1,2]'), encodeFrame('null'), encodeFrame('"x"')]],
  ['no type', () => [encodeFrame('{}')]],
  ['an unknown type', () => [encodeFrame('{"type":"message.explode","id":"1"}')]],
  ['an unknown field', () => [encodeFrame('{"type":"inbox.ack","cursor":1,"surprise":true}')]],
  ['a wrong type of field', () => [encodeFrame('{"type":"inbox.ack","cursor":"1e9"}')]],
  ['a very deep object', () => [encodeFrame(`{"type":"ping","id":${'['.repeat(30_000)}${']'.repeat(30_000)}}`)]],
  ['a prototype', () => [encodeFrame('{"type":"__proto__","constructor":{"prototype":{}}}')]],
  ['an empty frame', () => [encodeFrame('')]],
  ['too large', (max) => [encodeFrame('x'.repeat(max + 1))]],
  ['a length of 2^40', () => [encodeFrame('x', { length: 2 ** 40 })]],
  [
    'too large in fragments',
    (max) => [
      encodeFrame('x'.repeat(max - 10), { fin: false }),
      encodeFrame('x'.repeat(max - 10), { opcode: CONTINUATION }),
    ],
  ],
  ['bad UTF-8', () => [encodeFrame(Buffer.from([0x7b, 0xff, 0xfe, 0x7d]))]],
  ['binary', () => [encodeFrame('{"type":"ping"}', { opcode: BINARY })]],
  // The edge takes it for masked, so four bytes are missing, which the next frame brings.
  [
    'unmasked',
    () => [encodeFrame('{"type":"ping"}', { masked: false }), encodeFrame('{"type":"ping"}', { masked: false })],
  ],
  ['an opcode that does not exist', () => [encodeFrame('x', { opcode: 11 })]],
  ['a continuation of nothing', () => [encodeFrame('x', { opcode: CONTINUATION })]],
  ['a ping of 126 bytes', () => [encodeFrame('x'.repeat(126), { opcode: 9 })]],
  ['no WebSocket at all', () => [Buffer.from('GET / HTTP/1.1\r\n\r\n'.repeat(20))]],
];
/** A valid command in two fragments. */
const FRAGMENTED_PING = Buffer.concat([
  encodeFrame('{"type":"pi', { fin: false, opcode: TEXT }),
  encodeFrame('ng","id":"in pieces"}', { opcode: CONTINUATION }),
]);

export const HOSTILE_INPUT: Scenario[] = [
  {
    name: 'poison',
    description: 'bytes that are neither command nor entry, published directly to INGRESS and LOG',
    async run(system, { journal, log, loadFor }) {
      const nc = await system.env.nats('admin');
      const manager = await jetstreamManager(nc);
      const countDeadLetters = async (): Promise<number> => (await manager.streams.info(DEAD)).state.messages;
      const before = await countDeadLetters();
      const { PARTITIONS } = system.env.config;
      journal.mark('fault', 'poison');
      for (const bytes of ['poison', '\u0000'.repeat(64), '\u00ff\u00ff{"kind":"send"}'])
        for (let p = 0; p < PARTITIONS; p++) {
          nc.publish(subject.ingress(p), bytes);
          nc.publish(subject.log(p), bytes);
        }
      // An empty entry is valid and does nothing; an empty batch is invalid.
      for (let p = 0; p < PARTITIONS; p++)
        for (const emptySubject of [subject.ingress(p), subject.log(p)]) nc.publish(emptySubject, '');
      await nc.flush();
      journal.mark('healed');
      await loadFor(0.3);
      // Each of three bodies once in INGRESS, and in LOG once for fanout and once for history; and the empty batch.
      const expected = (3 * 3 + 1) * PARTITIONS;
      for (const end = performance.now() + ANSWER_TIMEOUT_MS; (await countDeadLetters()) - before < expected; )
        if (performance.now() > end)
          throw new Error(`${(await countDeadLetters()) - before} dead letters of ${expected}`);
      log(`${expected} dead letters`);
    },
  },
  {
    name: 'frames',
    description: 'oversized and malformed frames: each is answered with a typed error or a close',
    async run(system, { fleet, journal, log }) {
      const { edgeUrl } = system.processOf('edge');
      const pid = system.processOf('edge').pid;
      const max = system.env.config.WS_MAX_COMMAND_BYTES;
      const { session } = await fleet.addPerson();
      journal.mark('fault', 'hostile frames');
      for (const [name, frames] of HOSTILE) {
        const socket = await RawSocket.open(edgeUrl, session);
        const receivedBefore = socket.received.length;
        for (const bytes of frames(max)) socket.write(bytes);
        await socket
          .waitUntil(
            () => socket.isClosed || socket.received.slice(receivedBefore).includes('"type":"error"'),
            ANSWER_TIMEOUT_MS,
          )
          .catch(() => {
            if (!socket.isClosed) throw new Error(`${name}: neither an error nor a close`);
          });
        socket.destroy();
      }
      const socket = await RawSocket.open(edgeUrl, session);
      socket.write(FRAGMENTED_PING);
      await socket.waitUntil(() => socket.received.includes('"id":"in pieces"'), ANSWER_TIMEOUT_MS);
      socket.destroy();
      journal.mark('healed');
      if (system.processOf('edge').pid !== pid) throw new Error('the edge did not survive the frames');
      const { devices } = fleet;
      await devices.at(-1)!.connect();
      log(`${HOSTILE.length} kinds of hostile frames`);
    },
  },
];
