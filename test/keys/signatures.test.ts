/** Signed messages: checked by the server, handed on, checked again by who gets them. */
import test from 'ava';
import fc from 'fast-check';
import { Ed25519Signer, HpkeCrypto, type Session, verifySignature } from '../../client/index.ts';
import { signedText } from '../../shared/contract/signed.ts';
import { uuid7 } from '../../shared/ids.ts';
import { Api, QUICK_HASHING } from '../api/http.ts';
import { type Addresses, type Env, startEnv } from '../env/index.ts';
import { createListener, openConversation, registerPerson, TestSocket } from '../env/people.ts';
import { until } from '../env/until.ts';

let env: Env;
let at: Addresses;
let api: Api;
test.before(async () => {
  env = await startEnv(QUICK_HASHING);
  at = await env.start('ingest', 'fanout', 'history', 'api', 'edge');
  api = new Api(at.apiUrl);
});
test.after.always(() => env?.stop());

const token = (session: Session) => ({ token: session.access_token });
async function signing(): Promise<{ session: Session; signer: Ed25519Signer }> {
  const [session, signer] = [await registerPerson(at), await Ed25519Signer.generate()];
  const body = { identity_key: 'a2V5', signing_key: await signer.publicKey() };
  await api.ask('keys.publish', { ...token(session), body });
  return { session, signer };
}

test('[K07] a valid signature is delivered over HTTP, socket and history, and the reader can verify it', async (t) => {
  const [{ session, signer }, bob] = [await signing(), await registerPerson(at)];
  const conversation_id = await openConversation(session, bob);
  const [a, b] = [await TestSocket.open(at, session), await TestSocket.open(at, bob)];
  const message = (payload: string) => ({ client_message_id: uuid7(), payload });
  const one = message('c2VhbGVk');
  const signature = await signer.sign({ conversation_id, ...one });
  t.is(
    (await api.ask('messages.send', { ...token(session), id: conversation_id, body: { ...one, signature } })).status,
    202,
  );
  const two = message('"\\ 🦭');
  const second = await signer.sign({ conversation_id, ...two });
  a.send({ type: 'message.send', id: '2', to: { user_id: bob.user.id }, ...two, signature: second });
  await a.waitFor('ack');
  const got = (await b.waitFor('message.created', 2)).message as Parameters<typeof verifySignature>[0];
  t.is(got.signature, second);
  const key = await signer.publicKey();
  t.true(await verifySignature(got, key));
  t.false(await verifySignature({ ...got, payload: 'other' }, key));
  await env.settle();
  const { data } = await api.ask('messages.list', { ...token(bob), id: conversation_id, query: { after_seq: 0 } });
  t.deepEqual('items' in data && data.items.map((item) => item.signature), [signature, second]);
  for (const raw of [a, b]) raw.socket.close();
});

test('[K07] a signature that is invalid, foreign, of another conversation or without a published key is refused', async (t) => {
  const [{ session, signer }, bob] = [await signing(), await registerPerson(at)];
  const id = await openConversation(session, bob);
  const body = { client_message_id: uuid7(), payload: 'c2VhbGVk' };
  const send = async (who: Session, more: object) =>
    (await api.ask('messages.send', { ...token(who), id, body: { ...body, ...more } })).error;
  const good = await signer.sign({ conversation_id: id, ...body });
  const bad = [
    await (await Ed25519Signer.generate()).sign({ conversation_id: id, ...body }),
    await signer.sign({ conversation_id: uuid7(), ...body }),
    await signer.sign({ conversation_id: id, ...body, client_message_id: 'other' }),
    await signer.sign({ conversation_id: id, ...body, payload: 'other' }),
    `${good.startsWith('A') ? 'B' : 'A'}${good.slice(1)}`,
    'short',
    `${'A'.repeat(86)}==`,
  ];
  for (const signature of bad) {
    const error = await send(session, { signature });
    t.is(error?.code, 'invalid_request');
    t.like(error?.details, { field: 'signature' });
  }
  t.is((await send(bob, { signature: good }))?.code, 'invalid_request');
  const raw = await TestSocket.open(at, session);
  raw.send({ type: 'message.send', id: 'm', conversation_id: id, ...body, signature: bad[0] });
  t.like(await raw.waitFor('error'), { id: 'm', code: 'invalid_request', details: { field: 'signature' } });
  t.is(await send(session, { signature: good }), undefined);
  raw.socket.close();
});

test('[K07] signed and unsigned messages of one socket keep their order', async (t) => {
  const [{ session, signer }, bob] = [await signing(), await registerPerson(at)];
  const conversation_id = await openConversation(session, bob);
  const [a, b] = [await TestSocket.open(at, session), await TestSocket.open(at, bob)];
  const payloads = Array.from({ length: 60 }, (_, i) => `p${i}`);
  const frames = await Promise.all(
    payloads.map(async (payload, i) => {
      const body = { conversation_id, client_message_id: uuid7(), payload };
      return { type: 'message.send', ...body, ...(i % 3 === 0 && { signature: await signer.sign(body) }) };
    }),
  );
  for (const frame of frames) a.send(frame);
  const got = (): string[] =>
    b.framesOf('message.created').map(({ message }) => (message as { payload: string }).payload);
  await until(() => got().includes(payloads.at(-1)!));
  t.deepEqual([...new Set(got())], payloads);
  for (const raw of [a, b]) raw.socket.close();
});

test('[K07] the library signs what it seals and publishes the key', async (t) => {
  const [anna, ben] = [await registerPerson(at), await registerPerson(at)];
  const signer = await Ed25519Signer.import(await (await Ed25519Signer.generate()).export());
  const phone = createListener(anna, at, { crypto: await HpkeCrypto.generate(), signer });
  const laptop = createListener(ben, at, { crypto: await HpkeCrypto.generate() });
  await Promise.all([phone.device.connect(), laptop.device.connect()]);
  const seen = laptop.device.next('message');
  await phone.device.send({ to: { user_id: ben.user.id }, plaintext: 'signed' });
  t.regex((await seen).message.signature ?? '', /^[A-Za-z0-9+/]{86}==$/);
  t.deepEqual(await laptop.waitForTexts(1), ['signed']);
  const [device] = (await api.ask('devices.listOfUser', { ...token(ben), id: anna.user.id })).data.items;
  t.is(device!.signing_key, await signer.publicKey());
  await Promise.all([phone, laptop].map(({ device: one }) => one.close()));
});

test('[K07] two different messages never have the same signed text', (t) => {
  // Device ids are ids; the rest is whatever a client likes.
  const id = fc.constantFrom('d1', 'd2');
  const text = fc
    .array(fc.constantFrom('\n', 'd1', 'd2', ' ', '1', '3', 'é'), { minLength: 1, maxLength: 6 })
    .map((all) => all.join(''));
  const envelopes = fc.uniqueArray(fc.record({ device_id: id, payload: text }), {
    selector: (one) => one.device_id,
    minLength: 1,
  });
  const about = { conversation_id: id, client_message_id: id };
  const message = fc.oneof(fc.record({ ...about, payload: text }), fc.record({ ...about, envelopes }));
  fc.assert(
    fc.property(message, message, (a, b) => {
      t.is(signedText(a) === signedText(b), JSON.stringify(a) === JSON.stringify(b));
    }),
    { numRuns: 5_000 },
  );
});
