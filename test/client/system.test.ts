/** The client library against the whole system: real broker, real database, every service. */
import test from 'ava';
import { Device, HpkeCrypto, webTransport } from '../../client/index.ts';
import { openBrokerView } from '../../demo/broker-view.ts';
import { type Addresses, type Env, startEnv } from '../env/index.ts';
import { addDevice, createListener, registerPerson } from '../env/people.ts';
import { until } from '../env/until.ts';

let env: Env;
let at: Addresses;

test.before(async () => {
  env = await startEnv({ AWAY_GRACE_MS: 100 });
  at = await env.start('api', 'ingest', 'fanout', 'history', 'edge');
});
test.after.always(() => env?.stop());

test('[O08] [M01] [M04] messages sealed between three devices arrive, and neither database nor streams hold the plaintext', async (t) => {
  const [anna, ben] = [await registerPerson(at), await registerPerson(at)];
  const phone = createListener(anna, at, { crypto: await HpkeCrypto.generate() });
  const tablet = createListener(await addDevice(anna), at, { crypto: await HpkeCrypto.generate() });
  const laptop = createListener(ben, at, { crypto: await HpkeCrypto.generate() });
  const all = [phone, tablet, laptop];
  await Promise.all(all.map(({ device }) => device.connect()));
  const texts = ['the owl flies at midnight', 'and the fox at one'];
  const sent = await phone.device.send({ to: { user_id: ben.user.id }, plaintext: texts[0]! });
  t.is(sent.seq, 1);
  t.deepEqual(await laptop.waitForTexts(1), [texts[0]]);
  await laptop.device.send({ conversation_id: sent.conversation_id, plaintext: texts[1]! });
  t.deepEqual(await phone.waitForTexts(1), [texts[1]]);
  t.deepEqual(await tablet.waitForTexts(2), texts);
  await env.settle();

  const { messages, more } = await tablet.device.history(sent.conversation_id, { after_seq: 0 });
  t.false(more);
  t.deepEqual(
    await Promise.all(messages.map(async (m) => new TextDecoder().decode(await tablet.device.open(m)))),
    texts,
  );
  const look = await openBrokerView(env.config);
  t.true(
    (await look.countRowsWith(messages[0]!.payload!)) > 0 &&
      (await look.countStreamMessagesWith(messages[0]!.payload!)) > 0,
    'the search finds what is there',
  );
  for (const text of texts)
    t.is((await look.countRowsWith(text)) + (await look.countStreamMessagesWith(text)), 0, text);
  await look.close();
  await Promise.all(all.map(({ device }) => device.close()));
});

test('[M05] a device that was away gets everything it missed from its durable in order, then inbox.empty', async (t) => {
  const [anna, ben] = [await registerPerson(at), await registerPerson(at)];
  const phone = createListener(anna, at);
  const first = createListener(ben, at);
  await Promise.all([phone.device.connect(), first.device.connect()]);
  const to = { user_id: ben.user.id };
  await phone.device.send({ to, payload: 'p0' });
  await first.waitForTexts(1);
  await first.device.close();
  const missed = Array.from({ length: 300 }, (_, i) => `p${i + 1}`);
  const acks = await Promise.all(missed.map((payload) => phone.device.send({ to, payload })));
  t.deepEqual(
    acks.map(({ seq }) => seq),
    missed.map((_, i) => i + 2),
  );
  const look = await openBrokerView(env.config);
  const pending = async (): Promise<number> => (await look.offlineQueueOf(to.user_id, first.device.id))?.pending ?? -1;
  while ((await pending()) < missed.length) await env.settle();
  // Those that fanout wrote twice are among them.
  t.true((await pending()) >= missed.length);

  const back = createListener(ben, at);
  const empty = back.device.next('empty');
  await back.device.connect();
  t.true(back.device.welcome!.backlog > 0);
  t.deepEqual(await back.waitForTexts(missed.length), missed);
  await empty;
  await phone.device.send({ to, payload: 'live again' });
  t.is((await back.waitForTexts(missed.length + 1)).at(-1), 'live again');
  await back.device.close();
  const again = createListener(ben, at);
  await Promise.all([again.device.next('empty'), again.device.connect()]);
  t.deepEqual(again.texts, [], 'what was acknowledged does not come again');
  await look.close();
  await Promise.all([phone, again].map(({ device }) => device.close()));
});

test('[R01] [A13] a device connects with a ticket as a browser does, and with its own WebSocket as Node does', async (t) => {
  const session = await registerPerson(at);
  for (const transport of [webTransport(false), webTransport(true)]) {
    const device = new Device({ session, edge: at.edgeUrl, transport });
    await device.connect();
    t.is(device.welcome?.device_id, session.device.id);
    await device.close();
  }
});

test('[R04] the newer socket of a device wins, and the older one does not reconnect', async (t) => {
  const session = await registerPerson(at);
  const [older, newer] = [createListener(session, at).device, createListener(session, at).device];
  await older.connect();
  const replaced = older.next('replaced');
  await newer.connect();
  t.is((await replaced).code, 'replaced');
  t.true(newer.connected);
  t.false(older.connected);
  await newer.close();
});

test('[M03] the same client_message_id is one message from two devices, at any time', async (t) => {
  const [anna, ben] = [await registerPerson(at), await registerPerson(at)];
  const [one, two] = [createListener(anna, at).device, createListener(await addDevice(anna), at).device];
  const laptop = createListener(ben, at);
  await Promise.all([one.connect(), two.connect(), laptop.device.connect()]);
  const message = { to: { user_id: ben.user.id }, payload: 'once', client_message_id: 'mine-1' };
  const answers = await Promise.all([one.send(message), two.send(message), one.send(message)]);
  t.is(new Set(answers.map(({ message_id }) => message_id)).size, 1);
  t.deepEqual(await two.send(message), answers[0]);
  await one.send({ ...message, payload: 'next', client_message_id: 'mine-2' });
  t.deepEqual(await laptop.waitForTexts(2), ['once', 'next']);
  await Promise.all([one, two, laptop.device].map((device) => device.close()));
});

test('[M07] the sender gets the statuses of its message', async (t) => {
  const [anna, ben] = [await registerPerson(at), await registerPerson(at)];
  const [phone, laptop] = [createListener(anna, at).device, createListener(ben, at).device];
  await Promise.all([phone.connect(), laptop.connect()]);
  const told: string[] = [];
  phone.on(
    'status',
    ({ status, user_id }) => void told.push(`${status} ${user_id === ben.user.id ? 'ben' : ''}`.trim()),
  );
  const { conversation_id, seq } = await phone.send({ to: { user_id: ben.user.id }, payload: 'seen?' });
  // `sent` and `delivered` come by different ways.
  const hears = (...words: string[]): Promise<void> =>
    until(() => words.every((word) => told.some((one) => one.startsWith(word))));
  await hears('sent', 'delivered');
  await laptop.read(conversation_id, seq);
  await hears('read');
  t.deepEqual(new Set(told.map((one) => one.split(' ')[0]!)), new Set(['sent', 'delivered', 'read']));
  await Promise.all([phone.close(), laptop.close()]);
});

test('a refused token is refreshed silently, and a signed-out session gets an error', async (t) => {
  const session = await registerPerson(at);
  session.access_token = 'spoiled';
  const { device } = createListener(session, at, { settings: { backoff_base_ms: 10 } });
  await device.connect();
  t.not(session.access_token, 'spoiled');
  await device.close();
  session.access_token = session.refresh_token = 'spoiled';
  await t.throwsAsync(createListener(session, at, { settings: { backoff_base_ms: 10 } }).device.connect(), {
    code: 'signed_out',
  });
});
