/** Devices and keys as the client library handles them, on the whole system. */
import { createHash } from 'node:crypto';
import test from 'ava';
import {
  deleteBackup,
  deleteDevice,
  getBackup,
  HpkeCrypto,
  KeyLog,
  listDevices,
  putBackup,
  Session,
  updateDevice,
} from '../../client/index.ts';
import type { KeyLogLink, KeyStock } from '../../shared/contract/http/keys.ts';
import type { Device } from '../../shared/contract/objects.ts';
import { type Addresses, type Env, startEnv } from '../env/index.ts';
import { addDevice, createListener, registerPerson } from '../env/people.ts';
import { until } from '../env/until.ts';

let env: Env;
let at: Addresses;
test.before(async () => {
  env = await startEnv({ PREKEYS_LOW: 10 });
  at = await env.start('api', 'ingest', 'fanout', 'history', 'edge');
});
test.after.always(() => env?.stop());

const stockOf = (session: Session) => session.call<KeyStock>('GET', '/v1/keys/count');
const devicesOf = async (by: Session, user_id: string) =>
  (await by.call<{ items: Device[] }>('GET', `/v1/users/${user_id}/devices`)).items;

test('[K03] messages are sealed to claimed one-time keys, and one key serves many messages', async (t) => {
  const [anna, ben] = [await registerPerson(at), await registerPerson(at)];
  const phone = createListener(anna, at, { crypto: await HpkeCrypto.generate() });
  const laptop = createListener(ben, at, { crypto: await HpkeCrypto.generate() });
  await Promise.all([phone.device.connect(), laptop.device.connect()]);
  t.like(await stockOf(ben), { count: 100 });
  const payloads: string[] = [];
  laptop.device.on('message', ({ message }) => void payloads.push(message.payload!));
  const to = { user_id: ben.user.id };
  for (const plaintext of ['one', 'two', 'three']) await phone.device.send({ to, plaintext });
  t.deepEqual(await laptop.waitForTexts(3), ['one', 'two', 'three']);
  t.is(new Set(payloads.map((payload) => payload.slice(0, payload.lastIndexOf('.')))).size, 1);
  t.true(payloads.every((payload) => payload.startsWith('2.')));
  t.is((await stockOf(ben)).count, 99);
  await Promise.all([phone, laptop].map(({ device }) => device.close()));
});

test('[K05] [K06] messages are sealed for an added device from its first minute, and no longer for a deleted one', async (t) => {
  const [anna, ben] = [await registerPerson(at), await registerPerson(at)];
  const phone = createListener(anna, at, { crypto: await HpkeCrypto.generate() });
  const laptop = createListener(ben, at, { crypto: await HpkeCrypto.generate() });
  await Promise.all([phone.device.connect(), laptop.device.connect()]);
  const to = { user_id: ben.user.id };
  await phone.device.send({ to, plaintext: 'one' });
  const tablet = createListener(await addDevice(ben), at, { crypto: await HpkeCrypto.generate() });
  const heard = phone.device.next('device.changed', ({ change }) => change === 'changed');
  await tablet.device.connect();
  await heard;
  await phone.device.send({ to, plaintext: 'two' });
  t.deepEqual(await tablet.waitForTexts(1), ['two']);
  await deleteDevice(ben, tablet.device.id);
  // At once, whether the news has come or not: a refusal is answered by sealing anew.
  await phone.device.send({ to, plaintext: 'three' });
  t.deepEqual(await laptop.waitForTexts(3), ['one', 'two', 'three']);
  await until(() => !tablet.device.connected);
  t.deepEqual(tablet.texts, ['two']);
  await Promise.all([phone, laptop, tablet].map(({ device }) => device.close()));
});

test('[K05] messages are sealed for a device restored from an old backup with keys that it has', async (t) => {
  const [anna, ben] = [await registerPerson(at), await registerPerson(at)];
  const phone = createListener(anna, at, { crypto: await HpkeCrypto.generate() });
  const crypto = await HpkeCrypto.generate();
  const old = await crypto.export();
  const laptop = createListener(ben, at, { crypto });
  await Promise.all([phone.device.connect(), laptop.device.connect()]);
  const to = { user_id: ben.user.id };
  await phone.device.send({ to, plaintext: 'one' });
  await laptop.waitForTexts(1);
  await laptop.device.close();

  const session = new Session(JSON.parse(JSON.stringify(ben)));
  const restored = createListener(session, at, { crypto: await HpkeCrypto.import(old) });
  await restored.device.connect();
  await phone.device.send({ to, plaintext: 'two' });
  // The first one may come again, and can't be opened any more.
  await until(() => restored.texts.at(-1) === 'two');
  t.false(restored.texts.slice(0, -1).some((text) => text !== 'cannot_open'));
  await Promise.all([phone, restored].map(({ device }) => device.close()));
});

test('[K03] a device that runs low on one-time keys uploads more', async (t) => {
  const [anna, ben] = [await registerPerson(at), await registerPerson(at)];
  const laptop = createListener(ben, at, { crypto: await HpkeCrypto.generate() });
  await laptop.device.connect();
  const low = laptop.device.next('keys.low');
  for (let i = 0; i < 91; i++) await anna.call('POST', `/v1/users/${ben.user.id}/keys/claim`, {});
  t.like(await low, { kind: 'x25519' });
  let count = 0;
  while (count < 90) ({ count } = await stockOf(ben));
  t.true(count >= 99);
  await laptop.device.close();
});

test('[K01] [K04] the library manages devices and the backup', async (t) => {
  const anna = await registerPerson(at);
  const tablet = await addDevice(anna);
  await updateDevice(anna, tablet.device.id, { name: 'kitchen', platform: 'web' });
  t.deepEqual(
    (await listDevices(anna)).map(({ name, current }) => [name, current]),
    [
      ['first', true],
      ['kitchen', false],
    ],
  );
  await deleteDevice(anna, tablet.device.id);
  t.is((await listDevices(anna)).length, 1);
  await t.throwsAsync(tablet.call('GET', '/v1/users/me'), { code: 'signed_out' });
  t.is((await putBackup(anna, 'sealed', 0)).version, 1);
  await t.throwsAsync(putBackup(anna, 'other', 0), { code: 'conflict' });
  t.is((await getBackup(anna)).data, 'sealed');
  await deleteBackup(anna);
  await t.throwsAsync(getBackup(anna), { code: 'not_found' });
});

test('[K08] the library follows the key log and detects changed, missing and forged links', async (t) => {
  const [anna, ben] = [await registerPerson(at), await registerPerson(at)];
  const publish = (session: Session, identity_key: string) =>
    session.call('PUT', '/v1/devices/me/keys', { identity_key });
  await publish(ben, 'b25l');
  const log = new KeyLog(ben.user.id);
  t.is((await log.update(anna)).length, 2);
  t.deepEqual(log.differences(await devicesOf(anna, ben.user.id)), []);
  await publish(await addDevice(ben), 'dHdv');
  await publish(ben, 'dGhyZWU=');
  const list = await devicesOf(anna, ben.user.id);
  t.deepEqual(log.differences(list).toSorted(), list.map(({ id }) => id).toSorted());
  const saved = new KeyLog(JSON.parse(JSON.stringify(log)));
  t.deepEqual(
    (await saved.update(anna)).map(({ action, identity_key }) => [action, identity_key]),
    [
      ['added', null],
      ['changed', 'dHdv'],
      ['changed', 'dGhyZWU='],
    ],
  );
  t.deepEqual(saved.differences(list), []);
  t.deepEqual(await saved.update(anna), []);
  const lied = list.map((device) => ({ ...device, identity_key: 'ZmFsc2U=' }));
  t.is(saved.differences(lied).length, 2);

  const path = `/v1/users/${ben.user.id}/key_log`;
  const { items } = await anna.call<{ items: KeyLogLink[] }>('GET', path);
  const rehash = (links: KeyLogLink[]): KeyLogLink[] => {
    let hash = '0'.repeat(64);
    return links.map(({ n, entry }) => {
      hash = createHash('sha256').update(`${hash}\n${entry}`).digest('hex');
      return { n, entry, hash };
    });
  };
  const change = (at: number, to: Partial<KeyLogLink>) =>
    items.map((link, i) => (i === at ? { ...link, ...to } : link));
  const forged = items[1]!.entry.replace('b25l', 'ZmFsc2U=');
  const fresh = () => new KeyLog(ben.user.id);
  const fails = (of: KeyLog, links: KeyLogLink[]) => t.throwsAsync(of.extend(links), { code: 'key_log_broken' });
  t.is((await fresh().extend(items)).length, 5);
  await fails(fresh(), change(1, { entry: forged }));
  await fails(fresh(), items.toSpliced(1, 1));
  await fails(fresh(), items.slice(1));
  await fails(new KeyLog(anna.user.id), items);
  // A server that makes the whole chain anew deceives newcomers, and nobody who was there before.
  const rewritten = rehash(change(1, { entry: forged }));
  t.is((await fresh().extend(rewritten)).length, 5);
  await fails(log, rewritten.slice(1));
  await fails(saved, rewritten.slice(4));
  await fails(saved, []);
});
