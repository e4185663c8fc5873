/** What nobody of ours would say: poison in the streams, frames that are none. */
import { jetstreamManager } from '@nats-io/jetstream';
import { DEAD, subject } from '../../../nats/topology.ts';
import { BINARY, CONTINUATION, frame, RawSocket, TEXT } from '../raw.ts';
import type { Scenario } from '../stage.ts';

const ANSWER_MS = 20_000;

/** Each on a socket of its own; all end in a typed error or a closed socket. */
const HOSTILE: [name: string, frames: (maxBytes: number) => Buffer[]][] = [
  ['no JSON', () => [frame('{"type":')]],
  ['no object', () => [frame('[1,2]'), frame('null'), frame('"x"')]],
  ['no type', () => [frame('{}')]],
  ['an unknown type', () => [frame('{"type":"message.explode","id":"1"}')]],
  ['an unknown field', () => [frame('{"type":"inbox.ack","cursor":1,"surprise":true}')]],
  ['a wrong type of field', () => [frame('{"type":"inbox.ack","cursor":"1e9"}')]],
  ['a very deep object', () => [frame(`{"type":"ping","id":${'['.repeat(30_000)}${']'.repeat(30_000)}}`)]],
  ['a prototype', () => [frame('{"type":"__proto__","constructor":{"prototype":{}}}')]],
  ['an empty frame', () => [frame('')]],
  ['too large', (max) => [frame('x'.repeat(max + 1))]],
  ['a length of 2^40', () => [frame('x', { length: 2 ** 40 })]],
  [
    'too large in fragments',
    (max) => [frame('x'.repeat(max - 10), { fin: false }), frame('x'.repeat(max - 10), { opcode: CONTINUATION })],
  ],
  ['bad UTF-8', () => [frame(Buffer.from([0x7b, 0xff, 0xfe, 0x7d]))]],
  ['binary', () => [frame('{"type":"ping"}', { opcode: BINARY })]],
  // Taken for masked, so it is short of four bytes: the next frame brings them.
  ['unmasked', () => [frame('{"type":"ping"}', { masked: false }), frame('{"type":"ping"}', { masked: false })]],
  ['an opcode that does not exist', () => [frame('x', { opcode: 11 })]],
  ['a continuation of nothing', () => [frame('x', { opcode: CONTINUATION })]],
  ['a ping of 126 bytes', () => [frame('x'.repeat(126), { opcode: 9 })]],
  ['no WebSocket at all', () => [Buffer.from('GET / HTTP/1.1\r\n\r\n'.repeat(20))]],
];
const WHOLE = Buffer.concat([
  frame('{"type":"pi', { fin: false, opcode: TEXT }),
  frame('ng","id":"in pieces"}', { opcode: CONTINUATION }),
]);

export const INPUT: Scenario[] = [
  {
    name: 'poison',
    about: 'bytes that are no command and no entry, straight into INGRESS and LOG',
    async run(stage, { journal, say, go }) {
      const nc = await stage.env.nats('admin');
      const manager = await jetstreamManager(nc);
      const dead = async (): Promise<number> => (await manager.streams.info(DEAD)).state.messages;
      const before = await dead();
      const { PARTITIONS } = stage.env.config;
      journal.mark('fault', 'poison');
      for (const bytes of ['poison', '\u0000'.repeat(64), '\u00ff\u00ff{"kind":"send"}'])
        for (let p = 0; p < PARTITIONS; p++) {
          nc.publish(subject.ingress(p), bytes);
          nc.publish(subject.log(p), bytes);
        }
      // An empty entry is an entry of nothing; an empty batch is no batch.
      for (let p = 0; p < PARTITIONS; p++) for (const to of [subject.ingress(p), subject.log(p)]) nc.publish(to, '');
      await nc.flush();
      journal.mark('healed');
      await go(0.3);
      // Each of three in INGRESS once, in LOG for fanout and for history; the empty batch.
      const wanted = (3 * 3 + 1) * PARTITIONS;
      for (const end = performance.now() + ANSWER_MS; (await dead()) - before < wanted; )
        if (performance.now() > end) throw new Error(`${(await dead()) - before} dead letters of ${wanted}`);
      say(`${wanted} dead letters`);
    },
  },
  {
    name: 'frames',
    about: 'oversized and malformed frames, each answered with a typed error or a close',
    async run(stage, { fleet, journal, say }) {
      const { edgeUrl } = stage.get('edge');
      const pid = stage.get('edge').pid;
      const max = stage.env.config.WS_MAX_COMMAND_BYTES;
      const { session } = await fleet.person();
      journal.mark('fault', 'hostile frames');
      for (const [name, frames] of HOSTILE) {
        const socket = await RawSocket.open(edgeUrl, session);
        const from = socket.heard.length;
        for (const bytes of frames(max)) socket.write(bytes);
        await socket
          .until(() => socket.closed || socket.heard.slice(from).includes('"type":"error"'), ANSWER_MS)
          .catch(() => {
            if (!socket.closed) throw new Error(`${name}: neither an error nor a close`);
          });
        socket.destroy();
      }
      const socket = await RawSocket.open(edgeUrl, session);
      socket.write(WHOLE);
      await socket.until(() => socket.heard.includes('"id":"in pieces"'), ANSWER_MS);
      socket.destroy();
      journal.mark('healed');
      if (stage.get('edge').pid !== pid) throw new Error('the edge did not live through it');
      const { actors } = fleet;
      await actors.at(-1)!.connect();
      say(`${HOSTILE.length} kinds`);
    },
  },
];
