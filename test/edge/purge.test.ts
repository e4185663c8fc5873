/** `npm run admin -- purge-inbox`: what waits for a person goes, and the devices are told. */
import test from 'ava';
import { admin } from '../../services/admin.ts';
import { type Addresses, type Env, startEnv } from '../env/index.ts';
import { account, another, close, numbered, Phone } from '../env/people.ts';
import { until } from '../env/until.ts';

let env: Env;
let at: Addresses;
test.before(async () => {
  env = await startEnv({ AWAY_GRACE_MS: 100, WS_RATE_LIMIT_MAX_COMMANDS: 1_000_000, INBOX_SHARDS: 1 });
  at = await env.start('ingest', 'fanout', 'history', 'api', 'edge');
  // An item of somebody else stays at the head of the stream: when the head moves, that counts as retention.
  const [dora, eve] = [await phone(), await phone()];
  await Promise.all([dora.up(), eve.up()]);
  await dora.send(eve, 'kept');
  await env.settle();
  await close(dora, eve);
});
test.after.always(() => env?.stop());

const phone = async (): Promise<Phone> => new Phone(await account(at), at.edgeUrl);
const purge = (...words: string[]): Promise<string> => admin(['purge-inbox', ...words], env.config);

test('[M06] a device that was away during a purge of its queue gets a gap, and history fills it', async (t) => {
  const [alice, bob, carol] = [await phone(), await phone(), await phone()];
  await Promise.all([alice.up(), bob.up(), carol.up()]);
  await alice.send(bob, 'before');
  await until(() => bob.payloads.length === 1);
  await close(bob);
  const lost = numbered(5);
  for (const payload of lost) await alice.send(bob, payload);
  await alice.send(carol, 'for another');
  await env.settle();
  // One that was there before too, and the five.
  t.is(await purge(bob.user), '6 items were removed; the devices receive inbox.gap\n');
  await alice.send(bob, 'after');
  await env.settle();
  const back = await new Phone(bob.device.session, at.edgeUrl).up();
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
  // The marker is acknowledged like any other item.
  await close(back);
  const again = await new Phone(bob.device.session, at.edgeUrl).up();
  t.deepEqual(again.gaps, []);
  await close(alice, carol, again);
});

test('[M06] a device that is connected during a purge of its queue gets a gap at once', async (t) => {
  const [alice, bob] = [await phone(), await phone()];
  await Promise.all([alice.up(), bob.up()]);
  await alice.send(bob, 'before');
  await until(() => bob.payloads.length === 1);
  await env.settle();
  t.regex(await purge(bob.user), /^1 items/);
  await until(() => bob.gaps.length === 1);
  t.is(bob.gaps[0]!.reason, 'purged');
  await alice.send(bob, 'after');
  await until(() => bob.payloads.includes('after'));
  await close(alice, bob);
});

test('[M06] the purge of one device does not affect the others', async (t) => {
  const [alice, bob] = [await phone(), await phone()];
  const tablet = new Phone(await another(bob.device.session), at.edgeUrl);
  await Promise.all([alice.up(), bob.up(), tablet.up()]);
  await close(bob, tablet);
  const sealed = [bob, tablet].map(({ device }) => ({ device_id: device.id, payload: `for ${device.id}` }));
  await alice.device.session.call('POST', '/v1/conversations/direct', { user_id: bob.user });
  await alice.device.send({ to: { user_id: bob.user }, envelopes: sealed });
  await env.settle();
  t.regex(await purge(bob.user, '--device', tablet.device.id), /^1 items/);
  const [one, two] = [
    await new Phone(bob.device.session, at.edgeUrl).up(),
    await new Phone(tablet.device.session, at.edgeUrl).up(),
  ];
  await until(() => one.payloads.includes(sealed[0]!.payload) && two.gaps.length === 1);
  t.deepEqual(one.gaps, []);
  t.is(two.gaps[0]!.reason, 'purged');
  await close(alice, one, two);
});

test('[M06] purge-inbox explains its arguments and reports an empty queue', async (t) => {
  const bob = await phone();
  t.is(await purge(bob.user), 'the inbox was empty\n');
  for (const words of [[], ['anna'], [bob.user, 'more'], [bob.user, '--device', 'x']])
    await t.throwsAsync(purge(...words), { message: /^Usage: npm run admin -- purge-inbox/ }, words.join(' '));
});
