/** Sealing for each device: the right ones or the exact difference; and who hears of changes. */
import test from 'ava';
import fc from 'fast-check';
import type { Session } from '../../client/index.ts';
import { checkDevices } from '../../services/ingest/envelopes.ts';
import type { ApiError } from '../../shared/contract/errors.ts';
import { uuid7 } from '../../shared/ids.ts';
import { Api, QUICK_HASHING } from '../api/http.ts';
import { type Addresses, type Env, startEnv } from '../env/index.ts';
import { addDevice, openConversation, registerPerson, TestSocket } from '../env/people.ts';
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
const publish = (session: Session, body: object) => api.ask('keys.publish', { ...token(session), body });
const keyed = async (session: Session): Promise<Session> => {
  await publish(session, { identity_key: 'a2V5', registration_id: 7 });
  return session;
};
const person = async (): Promise<Session> => keyed(await registerPerson(at));
const seal = (...to: (Session | [Session, number])[]) =>
  to.map((one) => {
    const [{ device }, registration_id] = Array.isArray(one) ? one : [one, undefined];
    return { device_id: device.id, payload: 'eA==', ...(registration_id !== undefined && { registration_id }) };
  });
const send = (from: Session, id: string, envelopes: object[]) =>
  api.ask('messages.send', { ...token(from), id, body: { client_message_id: uuid7(), envelopes } });

test('[K05] missing, extra and stale devices are named exactly, over HTTP and on the socket', async (t) => {
  const [alice, bob, carol] = await Promise.all([person(), person(), person()]);
  const tablet = await keyed(await addDevice(bob));
  const mine = await keyed(await addDevice(alice));
  const id = await openConversation(alice, bob);
  const right = seal([bob, 7], tablet, mine);
  t.is((await send(alice, id, right)).status, 202);
  const refused = async (envelopes: object[], code: string, details: object) => {
    const { error, status } = await send(alice, id, envelopes);
    t.is(status, code === 'device_stale' ? 410 : 409);
    t.is(error?.code, code as never);
    t.like(error?.details, { missing: [], extra: [], stale: [], ...details });
  };
  const ids = (...all: Session[]) => all.map(({ device }) => device.id);
  await refused(seal(bob, mine), 'device_mismatch', { missing: ids(tablet), user_ids: [bob.user.id] });
  await refused(seal(bob, tablet), 'device_mismatch', { missing: ids(mine), user_ids: [alice.user.id] });
  await refused([...right, ...seal(carol)], 'device_mismatch', { extra: ids(carol) });
  await refused(seal([bob, 6], tablet, mine), 'device_stale', { stale: ids(bob), user_ids: [bob.user.id] });
  await refused(seal([bob, 6], mine, carol), 'device_mismatch', {
    missing: ids(tablet),
    extra: ids(carol),
    stale: ids(bob),
  });
  t.is((await send(alice, id, [...right, ...seal(alice)])).status, 202, 'one for itself is allowed');

  const raw = await TestSocket.open(at, alice);
  raw.send({ type: 'message.send', id: 'm', client_message_id: uuid7(), conversation_id: id, envelopes: seal(bob) });
  const error = await raw.waitFor('error');
  t.like(error, { id: 'm', code: 'device_mismatch', details: { extra: [], stale: [] } });
  t.deepEqual((error.details as { missing: string[] }).missing.toSorted(), ids(tablet, mine).toSorted());
  raw.socket.close();
});

test('[K05] an added, deleted or re-keyed device counts from the answer on', async (t) => {
  const [alice, bob] = await Promise.all([person(), person()]);
  const id = await openConversation(alice, bob);
  t.is((await send(alice, id, seal(bob))).status, 202);
  const unkeyed = await addDevice(bob);
  t.is((await send(alice, id, seal(bob))).status, 202, 'who has no key yet needs no envelope');
  await keyed(unkeyed);
  t.is((await send(alice, id, seal(bob))).error?.code, 'device_mismatch');
  t.is((await send(alice, id, seal(bob, [unkeyed, 7]))).status, 202);
  const { registration_id } = (await publish(unkeyed, { identity_key: 'bmV3' })).data;
  t.is((await send(alice, id, seal(bob, [unkeyed, 7]))).error?.code, 'device_stale');
  t.is((await send(alice, id, seal(bob, [unkeyed, registration_id!]))).status, 202);
  await api.ask('devices.delete', { ...token(bob), id: unkeyed.device.id });
  t.is((await send(alice, id, seal(bob, unkeyed))).error?.code, 'device_mismatch');
  t.is((await send(alice, id, seal(bob))).status, 202);
});

test('[K05] in a group the devices of every member count', async (t) => {
  const [alice, bob, carol] = await Promise.all([person(), person(), person()]);
  const members = { type: 'group', member_ids: [bob.user.id, carol.user.id] };
  const { id } = (await api.ask('conversations.create', { ...token(alice), body: members })).data;
  t.is((await send(alice, id, seal(bob, carol))).status, 202);
  const { error } = await send(alice, id, seal(bob));
  t.like(error?.details, { missing: [carol.device.id], user_ids: [carol.user.id] });
});

test('[K05] the difference is exact for any devices and envelopes', (t) => {
  const device = fc.record({ keyed: fc.boolean(), registration_id: fc.option(fc.integer({ min: 0, max: 2 })) });
  const envelope = fc.record({ to: fc.nat(11), registration_id: fc.option(fc.integer({ min: 0, max: 2 })) });
  fc.assert(
    fc.property(
      fc.array(device, { maxLength: 9 }),
      fc.uniqueArray(envelope, { selector: ({ to }) => to, maxLength: 12 }),
      (all, sealed) => {
        const devices = all.map((one, i) => ({ id: `d${i}`, ...one }));
        const envelopes = sealed.map(({ to, registration_id }) => ({
          device_id: `d${to}`,
          ...(registration_id !== null && { registration_id }),
        }));
        const has = new Map(envelopes.map((one) => [one.device_id, one.registration_id]));
        const missing = devices.filter(({ id, keyed }) => keyed && id !== 'd0' && !has.has(id)).map(({ id }) => id);
        const extra = [...has.keys()].filter((id) => !devices.some((one) => one.id === id));
        const stale = devices
          .filter(({ id, registration_id }) => has.get(id) !== undefined && has.get(id) !== registration_id)
          .map(({ id }) => id);
        let error: ApiError | undefined;
        try {
          checkDevices(envelopes, [['u', { devices, greatest: '' }]], { user_id: 'u', device_id: 'd0' });
        } catch (thrown) {
          error = thrown as ApiError;
        }
        const code = missing.length || extra.length ? 'device_mismatch' : stale.length ? 'device_stale' : undefined;
        t.is(error?.code, code);
        if (error) t.like(error.details as object, { missing, extra, stale });
      },
    ),
    { numRuns: 500 },
  );
});

/** What was told of a device, each once: what is not known to have been told is told again. */
const changes = (raw: TestSocket, { device }: Session): Record<string, unknown>[] => {
  const told = raw.framesOf('device.changed').filter(({ device_id }) => device_id === device.id);
  return [...new Map(told.map(({ cursor: _, ...rest }) => [rest.n, rest])).values()];
};

test('[K06] conversation partners and own devices get changes, also after being away, and strangers do not', async (t) => {
  const [alice, bob, carol, stranger] = await Promise.all([person(), person(), person(), person()]);
  await openConversation(alice, bob);
  await api.ask('conversations.create', { ...token(carol), body: { type: 'group', member_ids: [bob.user.id] } });
  await env.settle();
  const [a, b, s] = await Promise.all([
    TestSocket.open(at, alice),
    TestSocket.open(at, bob),
    TestSocket.open(at, stranger),
  ]);
  const tablet = await addDevice(bob);
  await publish(tablet, { identity_key: 'bmV3' });
  await publish(tablet, { identity_key: 'bmV3' });
  await api.ask('devices.delete', { ...token(bob), id: tablet.device.id });
  for (const raw of [a, b]) {
    await until(() => changes(raw, tablet).length >= 3);
    t.deepEqual(
      changes(raw, tablet),
      ['added', 'changed', 'removed'].map((change, i) => ({
        type: 'device.changed',
        user_id: bob.user.id,
        device_id: tablet.device.id,
        change,
        n: 3 + i,
      })),
    );
  }
  t.true(a.framesOf('device.changed').every(({ cursor }) => Number(cursor) > 0));
  const late = new TestSocket(`${at.edgeUrl}/v1/ws`, { authorization: `Bearer ${carol.access_token}` });
  await until(() => changes(late, tablet).length >= 3);
  await env.settle();
  t.is(s.framesOf('device.changed').length, 0);
  for (const raw of [a, b, s, late]) raw.socket.close();
});

test('[K06] a change that could not be announced at once is announced later', async (t) => {
  const [alice, bob] = await Promise.all([person(), person()]);
  await openConversation(alice, bob);
  const a = await TestSocket.open(at, alice);
  // As a process leaves it that dies between its commit and the telling.
  await env.db.query('update devices set identity_key = $2 where id = $1', [bob.device.id, 'b3RoZXI=']);
  await env.db.query(`update key_log set created_at = now() - interval '1 minute' where user_id = $1 and n = 3`, [
    bob.user.id,
  ]);
  await until(() => changes(a, bob).some(({ n }) => n === 3));
  t.like(changes(a, bob).at(-1), { user_id: bob.user.id, change: 'changed', n: 3 });
  const untold = async () =>
    (await env.db.query('select 1 from key_log where user_id = $1 and told_at is null', [bob.user.id])).length;
  await until(async () => (await untold()) === 0);
  const { error } = await send(alice, await openConversation(alice, bob), seal(alice));
  t.is(error?.code, 'device_mismatch');
  a.socket.close();
});
