/** How many devices an account may have, and what who comes with one more is told. */
import test from 'ava';
import { type Env, startEnv } from '../env/index.ts';
import { PASSWORD } from '../env/people.ts';
import { Api, QUICK_HASHING } from './http.ts';

let env: Env;
let api: Api;
test.before(async () => {
  env = await startEnv({ ...QUICK_HASHING, DEVICES_MAX: 3, OTP_DEV_CODE: '123456', AUTH_LOCK_MAX_FAILURES: 5 });
  api = new Api((await env.start('api')).apiUrl);
});
test.after.always(() => env.stop());

const password = PASSWORD;
const login = (identifier: string, device: { id?: string; name?: string } = { name: 'another' }) =>
  api.ask('auth.login', { body: { identifier, password, device } });
const count = async (user: string): Promise<number> =>
  (await env.db.query('select 1 from devices where user_id = $1 and deleted_at is null', [user])).length;

test('[A03] simultaneous log-ins never create more devices than an account may have', async (t) => {
  const { user } = await api.register();
  const all = await Promise.all(Array.from({ length: 5 }, () => login(user.number)));
  t.is(all.filter(({ status }) => status === 200).length, 2);
  t.deepEqual([...new Set(all.flatMap(({ error }) => (error ? [error.code] : [])))], ['conflict']);
  t.is(await count(user.id), 3);
});

test('[A03] a log-in over the device limit names the device unused for longest, which may be reused or deleted', async (t) => {
  const first = await api.register();
  const { number, id } = first.user;
  const [second] = [(await login(number)).data, (await login(number)).data];
  await env.db.query("update devices set last_seen = now() - interval '9 days' where id = $1", [second!.device.id]);
  await env.db.query("update devices set last_seen = now() - interval '12 days' where id = $1", [first.device.id]);
  const [row] = await env.db.query<{ at: Date }>(
    "update sessions set last_used_at = now() - interval '9 days' where device_id = $1 returning last_used_at as at",
    [second!.device.id],
  );
  for (let i = 0; i < 7; i++) {
    const { error } = await login(number);
    t.is(error?.code, 'conflict', 'the password was right, so it is never locked');
    const details = { field: 'device', limit: 3, device_id: second!.device.id };
    t.like(error?.details, details, 'the first one is older, and its session was used since');
    t.true(Math.abs(Date.parse((error!.details as { last_seen: string }).last_seen) - row!.at.getTime()) < 1_000);
  }
  const again = await login(number, { id: second!.device.id });
  t.is(again.data.device.id, second!.device.id);
  t.is((await login(number, { id, name: 'of no known device' })).error?.code, 'conflict');
  t.is((await api.ask('devices.delete', { token: first.access_token, id: second!.device.id })).status, 200);
  t.is((await login(number)).status, 200);
  t.is(await count(id), 3);
});

test('[A04] the device limit also applies to a log-in by code, and the code stays valid for a known device', async (t) => {
  const email = 'many@example.org';
  const verify = (device: { id?: string; name?: string }) =>
    api.ask('auth.otp.verify', { body: { email, code: '123456', device } });
  const enter = async (device: { id?: string; name?: string }) => {
    await api.ask('auth.otp.request', { body: { email } });
    return await verify(device);
  };
  for (const status of [201, 200, 200]) t.is((await enter({ name: 'new' })).status, status);
  const refused = await enter({ name: 'new' });
  t.is(refused.error?.code, 'conflict');
  const { device_id } = refused.error!.details as { device_id: string };
  t.is((await verify({ id: device_id })).data.device.id, device_id);
});
