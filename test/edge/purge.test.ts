/** `npm run admin -- purge-inbox` deletes a person's queue, and the devices get a gap. */
import test from 'ava';
import { admin } from '../../services/admin.ts';
import { type Addresses, type Env, startEnv } from '../env/index.ts';
import { addDevice, closeDevices, numberedPayloads, openConversation, TestDevice } from '../env/people.ts';
import { until } from '../env/until.ts';

let env: Env;
let at: Addresses;
test.before(async () => {
  env = await startEnv({ AWAY_GRACE_MS: 100, WS_RATE_LIMIT_MAX_COMMANDS: 1_000_000, INBOX_SHARDS: 1 });
  at = await env.start('ingest', 'fanout', 'history', 'api', 'edge');
  // An item of somebody else stays at the head of the stream: when the head moves, that counts as retention.
  const [dora, eve] = [await phone(), await phone()];
  await Promise.all([dora.connect(), eve.connect()]);
  await dora.send(eve, 'kept');
  await env.settle();
  await closeDevices(dora, eve);
});
test.after.always(() => env?.stop());

const phone = (): Promise<TestDevice> => TestDevice.register(at);
const purge = (...words: string[]): Promise<string> => admin(['purge-inbox', ...words], env.config);

test('[M06] a device that was away during a purge of its queue gets a gap, and history fills it', async (t) => {
  const [alice, bob, carol] = [await phone(), await phone(), await phone()];
  await Promise.all([alice.connect(), bob.connect(), carol.connect()]);
  await alice.send(bob, 'before');
  await until(() => bob.payloads.length === 1);
  await closeDevices(bob);
  const lost = numberedPayloads(5);
  for (const payload of lost) await alice.send(bob, payload);
  await alice.send(carol, 'for another');
  await env.settle();
  // The first message and the five lost ones.
  t.is(await purge(bob.userId), '6 items were removed; the devices receive inbox.gap\n');
  await alice.send(bob, 'after');
  await env.settle();
  const back = await new TestDevice(bob.device.session, at.edgeUrl).connect();
  await until(() => [...lost, 'after'].every((payload) => back.payloads.includes(payload)));
  t.deepEqual(
    back.gaps.map(({ reason }) => reason),
    ['purged'],
  );
  const [gap] = back.gaps;
  t.true(gap!.from <= bob.cursors.at(-1)! && gap!.to < gap!.cursor!, JSON.stringify(gap));
  t.is(back.payloads.filter((payload) => payload === 'after').length, 1);
  t.true(back.cursors.every((cursor, i) => i === 0 || cursor > back.cursors[i - 1]!));
  t.deepEqual(carol.gaps, []);
  // The device acknowledges the purge marker like any other item.
  await closeDevices(back);
  const again = await new TestDevice(bob.device.session, at.edgeUrl).connect();
  t.deepEqual(again.gaps, []);
  await closeDevices(alice, carol, again);
});

test('[M06] a device that is connected during a purge of its queue gets a gap at once', async (t) => {
  const [alice, bob] = [await phone(), await phone()];
  await Promise.all([alice.connect(), bob.connect()]);
  await alice.send(bob, 'before');
  await until(() => bob.payloads.length === 1);
  await env.settle();
  t.regex(await purge(bob.userId), /^1 items/);
  await until(() => bob.gaps.length === 1);
  t.is(bob.gaps[0]!.reason, 'purged');
  await alice.send(bob, 'after');
  await until(() => bob.payloads.includes('after'));
  await closeDevices(alice, bob);
});

test('[M06] the purge of one device does not affect the others', async (t) => {
  const [alice, bob] = [await phone(), await phone()];
  const tablet = new TestDevice(await addDevice(bob.device.session), at.edgeUrl);
  await Promise.all([alice.connect(), bob.connect(), tablet.connect()]);
  await closeDevices(bob, tablet);
  const sealed = [bob, tablet].map(({ device }) => ({ device_id: device.id, payload: `for ${device.id}` }));
  await openConversation(alice.device.session, bob.device.session);
  await alice.device.send({ to: { user_id: bob.userId }, envelopes: sealed });
  await env.settle();
  t.regex(await purge(bob.userId, '--device', tablet.device.id), /^1 items/);
  const [one, two] = [
    await new TestDevice(bob.device.session, at.edgeUrl).connect(),
    await new TestDevice(tablet.device.session, at.edgeUrl).connect(),
  ];
  await until(() => one.payloads.includes(sealed[0]!.payload) && two.gaps.length === 1);
  t.deepEqual(one.gaps, []);
  t.is(two.gaps[0]!.reason, 'purged');
  await closeDevices(alice, one, two);
});

test('[M06] purge-inbox explains its arguments and reports an empty queue', async (t) => {
  const bob = await phone();
  t.is(await purge(bob.userId), 'the inbox was empty\n');
  for (const words of [[], ['anna'], [bob.userId, 'more'], [bob.userId, '--device', 'x']])
    await t.throwsAsync(purge(...words), { message: /^Usage: npm run admin -- purge-inbox/ }, words.join(' '));
});
