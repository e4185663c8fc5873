/** Commands, entries, items and cursors survive encoding and decoding. */
import test from 'ava';
import fc from 'fast-check';
import { beginGeneration, type CursorMap, cursorOf, sequenceOf } from '../../nats/inbox/cursor-map.ts';
import { encodeItem, item, uuidBytes, WANTS_DELIVERED } from '../../nats/inbox/item.ts';
import { directConversationId, uuid7, uuid7Time } from '../../shared/ids.ts';
import {
  CommandBatch,
  decodeCommands,
  packEnvelopes,
  type SendCommand,
  unpackEnvelopes,
} from '../../shared/pipeline/commands.ts';
import { decodeEntry, EntryWriter, type MessageRecord } from '../../shared/pipeline/entry.ts';

const uuid = fc.constant(0).map(() => uuid7());
const literal = fc.string({ unit: 'binary', minLength: 1 }).map((text) => JSON.stringify(text));

test('[M01] a batch of commands decodes to what was encoded, with payload bytes unchanged', (t) => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(), literal), { minLength: 1, maxLength: 20 }), (bodies) => {
      const batch = new CommandBatch('reply.g1');
      const command: SendCommand = {
        kind: 'send',
        user_id: uuid7(),
        device_id: uuid7(),
        conversation_id: uuid7(),
        client_message_id: 'ü',
      };
      for (const [tag, body] of bodies) batch.add(tag, Buffer.from(JSON.stringify(command)), Buffer.from(body));
      const { reply, commands } = decodeCommands(batch.finish());
      t.is(reply, 'reply.g1');
      t.deepEqual(
        commands.map(({ tag, body }) => [tag, Buffer.from(body).toString()]),
        bodies,
      );
      t.deepEqual(commands[0]!.command, command);
    }),
  );
});

test('[M01] a truncated batch is refused, wherever it is cut', (t) => {
  const batch = new CommandBatch('reply.g1');
  batch.add(7, Buffer.from('{"kind":"read"}'), Buffer.from('"x"'));
  const bytes = batch.finish();
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: bytes.length - 11 }),
      (cut) => void t.throws(() => decodeCommands(bytes.subarray(0, bytes.length - cut))),
    ),
  );
});

test('[M01] envelopes keep their order and bytes', (t) => {
  fc.assert(
    fc.property(fc.array(literal, { maxLength: 30 }), (all) =>
      t.deepEqual(unpackEnvelopes(packEnvelopes(all)).map(String), all),
    ),
  );
});

test('[M04] a device is sent what an entry records, byte for byte', (t) => {
  fc.assert(
    fc.property(literal, uuid, fc.nat(), (payload, device, seq) => {
      const writer = new EntryWriter();
      const meta: MessageRecord = {
        kind: 'message',
        id: uuid7(),
        conversation_id: uuid7(),
        seq,
        user_id: uuid7(),
        device_id: device,
        client_message_id: 'a',
        at: 1,
      };
      writer.add(meta, Buffer.from('"message":{"payload":'), Buffer.from(payload));
      const [record] = decodeEntry(writer.finish());
      const bytes = encodeItem(
        {
          flags: WANTS_DELIVERED,
          base: 2 ** 41,
          expires_at: 0,
          seq,
          device_id: device,
          conversation_id: meta.conversation_id,
          message_id: meta.id,
          user_id: meta.user_id,
          type: 'message.created',
        },
        [record!.head, record!.body, Buffer.from('}}')],
      );
      const cursor = item.base(bytes) + 5;
      t.deepEqual(JSON.parse(item.frame(bytes, cursor).toString()), {
        type: 'message.created',
        cursor,
        message: { payload: JSON.parse(payload) },
      });
      t.true(item.isFromDevice(bytes, uuidBytes(device)));
      t.false(item.isFromDevice(bytes, uuidBytes(uuid7())));
      t.is(item.messageId(bytes), meta.id);
      t.is(item.conversationId(bytes), meta.conversation_id);
      t.is(item.userId(bytes), meta.user_id);
      t.is(item.seq(bytes), seq);
    }),
  );
});

test('[M06] cursors only grow over the generations of a stream, and a lost position is recognised', (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat({ max: 1_000 }), fc.boolean(), fc.nat({ max: 50 })), { minLength: 1, maxLength: 30 }),
      (steps) => {
        let lineage: CursorMap = beginGeneration(undefined, 's0', 'c0', 0);
        let last = 0;
        let highest = 0;
        let anew = 0;
        for (const [written, remade, lost] of steps) {
          const given = cursorOf(lineage, last + written);
          t.true(written === 0 || given > highest);
          highest = Math.max(highest, written ? given : highest);
          const had = last + written;
          last = remade ? 0 : Math.max(0, had - lost);
          if (remade) anew++;
          lineage = beginGeneration(lineage, `s${anew}${last}`, `c${anew}`, last);
          if (written === 0) continue;
          const place = sequenceOf(lineage, given);
          t.is(place.lost, had > last, 'a device that had more than the stream has now is told');
          t.is(place.seq, Math.min(had, last));
        }
      },
    ),
  );
});

test('[C01] a direct conversation has the same id from either side', (t) => {
  const [a, b] = [uuid7(), uuid7()];
  t.is(directConversationId(a, b), directConversationId(b, a));
  t.regex(directConversationId(a, b), /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  t.is(uuid7Time(directConversationId(a, b)), uuid7Time(b));
});

test('[M02] ids made by one process only grow', (t) => {
  let last = '';
  for (let i = 0; i < 20_000; i++) {
    const id = uuid7();
    if (id <= last) return t.fail(`${id} after ${last}`);
    last = id;
  }
  t.pass();
});
