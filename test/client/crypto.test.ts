/** The default end-to-end crypto opens what is meant for a device and nothing else. */
import test from 'ava';
import fc from 'fast-check';
import { HpkeCrypto, type OpenRequest } from '../../client/index.ts';
import { CONVERSATION } from './fake-server.ts';

const [anna, ben, carl] = await Promise.all([HpkeCrypto.generate(), HpkeCrypto.generate(), HpkeCrypto.generate()]);

async function sealed(plaintext: Uint8Array, client_message_id = 'c1'): Promise<OpenRequest> {
  const result = await anna!.seal({
    conversation_id: CONVERSATION,
    client_message_id,
    sender_device_id: 'anna',
    recipients: [
      { device_id: 'ben', identity_key: await ben!.identityKey() },
      { device_id: 'carl', identity_key: await carl!.identityKey() },
    ],
    plaintext,
  });
  const payload = 'envelopes' in result ? result.envelopes[0]!.payload : result.payload;
  const message = {
    conversation_id: CONVERSATION,
    client_message_id,
    sender_device_id: 'anna',
    payload,
  } as OpenRequest['message'];
  return { message, device_id: 'ben', sender_identity_key: await anna!.identityKey() };
}

test('a sealed payload opens on its device and on no other', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 3_000 }), fc.string({ minLength: 1 }), async (plaintext, id) => {
      const request = await sealed(plaintext, id);
      t.deepEqual(await ben!.open(request), new Uint8Array(plaintext));
      await t.throwsAsync(carl!.open(request));
    }),
    { numRuns: 60 },
  );
});

test('a payload with any character changed does not open', async (t) => {
  const request = await sealed(new TextEncoder().encode('attack at dawn'));
  const { payload } = request.message;
  await fc.assert(
    fc.asyncProperty(fc.nat(payload.length - 4), fc.constantFrom(...'ABab01+/.'), async (at, other) => {
      fc.pre(payload[at] !== other);
      const changed = payload.slice(0, at) + other + payload.slice(at + 1);
      await t.throwsAsync(ben!.open({ ...request, message: { ...request.message, payload: changed } }));
    }),
    { numRuns: 100 },
  );
});

test('a payload is bound to its sender, conversation, message id and devices', async (t) => {
  const request = await sealed(new TextEncoder().encode('hello'));
  const { message } = request;
  await t.notThrowsAsync(ben!.open(request));
  await t.throwsAsync(ben!.open({ ...request, sender_identity_key: await carl!.identityKey() }));
  await t.throwsAsync(ben!.open({ ...request, device_id: 'carl' }));
  for (const field of ['conversation_id', 'client_message_id', 'sender_device_id'] as const) {
    await t.throwsAsync(ben!.open({ ...request, message: { ...message, [field]: 'other' } }), undefined, field);
  }
});

test('payload lengths are padded to 64 bytes, and the same text never seals to the same payload', async (t) => {
  const [one, two, long] = await Promise.all(
    ['no', 'yes, at eight', 'x'.repeat(64)].map((text) => sealed(new TextEncoder().encode(text))),
  );
  t.is(one!.message.payload.length, two!.message.payload.length);
  t.true(long!.message.payload.length > two!.message.payload.length);
  t.not((await sealed(new Uint8Array(3))).message.payload, (await sealed(new Uint8Array(3))).message.payload);
});

test('keys survive the process by export and import', async (t) => {
  const request = await sealed(new Uint8Array([1, 2, 3]));
  const again = await HpkeCrypto.import(JSON.parse(JSON.stringify(await ben!.export())));
  t.is(await again.identityKey(), await ben!.identityKey());
  t.deepEqual(await again.open(request), new Uint8Array([1, 2, 3]));
});

/** Like `sealed`, but to a one-time key of Ben. */
async function sealedToPrekey(plaintext: Uint8Array, to = ben!): Promise<OpenRequest> {
  const { one_time } = await to.prekeys.make(1);
  const result = await anna!.seal({
    conversation_id: CONVERSATION,
    client_message_id: 'c1',
    sender_device_id: 'anna',
    recipients: [{ device_id: 'ben', identity_key: await to.identityKey(), prekey: one_time[0]! }],
    plaintext,
  });
  const payload = 'envelopes' in result ? result.envelopes[0]!.payload : '';
  const message = {
    conversation_id: CONVERSATION,
    client_message_id: 'c1',
    sender_device_id: 'anna',
    payload,
  } as OpenRequest['message'];
  return { message, device_id: 'ben', sender_identity_key: await anna!.identityKey() };
}

test('[K03] a payload sealed to a one-time key opens on its device alone and is bound to the same context', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 500 }), async (plaintext) => {
      const request = await sealedToPrekey(plaintext);
      t.true(request.message.payload.startsWith('2.'));
      t.deepEqual(await ben!.open(request), new Uint8Array(plaintext));
      await t.throwsAsync(carl!.open(request));
    }),
    { numRuns: 30 },
  );
  const request = await sealedToPrekey(new Uint8Array([1]));
  const { message } = request;
  await t.throwsAsync(ben!.open({ ...request, sender_identity_key: await carl!.identityKey() }));
  await t.throwsAsync(ben!.open({ ...request, device_id: 'carl' }));
  for (const field of ['conversation_id', 'client_message_id', 'sender_device_id'] as const)
    await t.throwsAsync(ben!.open({ ...request, message: { ...message, [field]: 'other' } }), undefined, field);
  const [, id, body] = message.payload.split('.');
  const other = (await ben!.prekeys.make(1)).one_time[0]!.key_id;
  for (const payload of [`2.${other}.${body}`, `1.${body}`, `2.${id}.${body!.slice(0, -8)}AAAAAAA=`])
    await t.throwsAsync(ben!.open({ ...request, message: { ...message, payload } }));
});

test('[K03] a payload opens only with both the one-time key and the identity key, and never after the former is deleted', async (t) => {
  const dora = await HpkeCrypto.generate({ keep_ms: 0 });
  const request = await sealedToPrekey(new Uint8Array([7]), dora);
  const before = await dora.export();
  t.deepEqual(await dora.open(request), new Uint8Array([7]));
  // The identity key was stolen after the one-time key had been deleted.
  await new Promise((resolve) => setTimeout(resolve, 2));
  await dora.prekeys.make(1);
  const stolen = await HpkeCrypto.import(await dora.export());
  await t.throwsAsync(stolen.open(request), { message: /not on this device/ });
  // The one-time key was stolen, but not the identity key.
  const { privateKey, publicKey } = await carl!.export();
  const thief = await HpkeCrypto.import({ ...before, privateKey, publicKey });
  t.true(thief.prekeys.has(request.message.payload.split('.')[1]!));
  await t.throwsAsync(thief.open(request));
});

test('[K03] one-time keys survive the process and are saved before they are published', async (t) => {
  const dora = await HpkeCrypto.generate();
  let kept = await dora.export();
  dora.onchange = (keys) => {
    kept = JSON.parse(JSON.stringify(keys));
  };
  const request = await sealedToPrekey(new Uint8Array([9]), dora);
  const again = await HpkeCrypto.import(kept);
  t.is(again.registrationId(), dora.registrationId());
  t.deepEqual(await again.open(request), new Uint8Array([9]));
});
