/** What two calls at the same moment must not make possible. */
import test from 'ava';
import { admin } from '../../services/admin.ts';
import type { LoggedIn } from '../../shared/contract/http/auth.ts';
import { type Env, startEnv } from '../env/index.ts';
import { PASSWORD } from '../env/people.ts';
import { until } from '../env/until.ts';
import { Api, QUICK_HASHING, type Reply } from './http.ts';

let env: Env;
let api: Api;
test.before(async () => {
  env = await startEnv({
    ...QUICK_HASHING,
    OTP_DEV_CODE: '123456',
    DEVICES_MAX: 1_000,
    AUTH_LOCK_MAX_FAILURES: 100_000,
    AUTH_LOCK_MAX_FAILURES_IN_ALL: 100_000,
  });
  api = new Api((await env.start('ingest', 'fanout', 'history', 'api')).apiUrl);
});
test.after.always(() => env.stop());

const password = PASSWORD;

/** A hundred log-ins, so that at any moment some are under way while `change` happens; what they were answered. */
async function during(who: LoggedIn, change: () => Promise<unknown>): Promise<Reply<LoggedIn>[]> {
  let over = false;
  const got: Reply<LoggedIn>[] = [];
  const stream = async (): Promise<void> => {
    do got.push(await api.logIn(who));
    while (!over || got.length < 100);
    // At least one of them begins after the change.
    got.push(await api.logIn(who));
  };
  const streams = Array.from({ length: 20 }, stream);
  await change().finally(() => {
    over = true;
  });
  await Promise.all(streams);
  return got;
}
async function allOut(got: Reply<LoggedIn>[]): Promise<boolean> {
  const good = got.filter(({ status }) => status === 200);
  const tokens = await Promise.all(good.map(({ data }) => api.ask('accounts.get', { token: data.access_token })));
  const refreshed = await Promise.all(
    good.map(({ data: { refresh_token } }) => api.ask('auth.refresh', { body: { refresh_token } })),
  );
  return [...tokens, ...refreshed].every(({ status }) => status === 401);
}
const openSessions = (who: LoggedIn) =>
  env.db.query<{ id: string; device_id: string }>(
    'select id, device_id from sessions where user_id = $1 and revoked_at is null',
    [who.user.id],
  );

test('[A11] a log-in with the old password during the password change is logged out by the change', async (t) => {
  for (let i = 0; i < 3; i++) {
    const me = await api.register();
    const got = await during(me, () =>
      api.ask('auth.changePassword', {
        token: me.access_token,
        body: { old_password: password, new_password: 'battery staple' },
      }),
    );
    for (const { error } of got) t.true(error === undefined || error.code === 'unauthenticated', error?.message);
    t.true(got.some(({ status }) => status === 401));
    t.true(await allOut(got));
    t.deepEqual(
      (await openSessions(me)).map(({ device_id }) => device_id),
      [me.device.id],
    );
  }
});

test('[A11] a log-in during the deletion of the account leaves no session and no device', async (t) => {
  for (let i = 0; i < 3; i++) {
    const me = await api.register();
    const got = await during(me, () => api.ask('accounts.delete', { token: me.access_token, body: { password } }));
    for (const { error } of got) t.true(error === undefined || error.code === 'unauthenticated', error?.message);
    t.true(await allOut(got));
    t.deepEqual(await openSessions(me), []);
    t.deepEqual(
      await env.db.query('select id from devices where user_id = $1 and deleted_at is null', [me.user.id]),
      [],
    );
  }
});

test('[A03] [A06] a log-in during the suspension of the account is logged out', async (t) => {
  const me = await api.register();
  const got = await during(me, () => admin(['suspend', me.user.number], env.config));
  for (const { error } of got) t.true(error === undefined || error.code === 'forbidden', error?.message);
  t.true(got.some(({ status }) => status === 403));
  t.deepEqual(await openSessions(me), []);
  await until(() => allOut(got));
});

test('[A03] a hundred simultaneous log-ins with the right password succeed, even while the password is hashed again', async (t) => {
  const me = await api.register();
  const { hash } = await import('@node-rs/argon2');
  const earlier = await hash(password, { memoryCost: 32, timeCost: 1, parallelism: 1 });
  await env.db.query('update users set password_hash = $2 where id = $1', [me.user.id, earlier]);
  const got = await Promise.all(Array.from({ length: 100 }, () => api.logIn(me)));
  t.deepEqual(
    got.filter(({ status }) => status !== 200).map(({ error }) => error),
    [],
  );
});

test('[A11] [K01] an account and its devices can be deleted simultaneously', async (t) => {
  const me = await api.register();
  const others = await Promise.all(Array.from({ length: 20 }, () => api.logIn(me)));
  const got = await Promise.all([
    ...others.map(({ data }) => api.ask('devices.delete', { id: data.device.id, token: me.access_token })),
    api.ask('accounts.delete', { token: me.access_token, body: { password } }),
    ...others.map(({ data }) => api.ask('sessions.logout', { token: data.access_token })),
  ]);
  for (const { status, error } of got)
    t.true(status === 200 || ['not_found', 'unauthenticated'].includes(error!.code), error?.message);
  t.deepEqual(await openSessions(me), []);
});
