/** Logging in by one-time code. */
import test from 'ava';
import { openBlindIndex } from '../../shared/auth/blind-index.ts';
import { readConfig } from '../../shared/config/index.ts';
import { type Env, startEnv } from '../env/index.ts';
import { PASSWORD } from '../env/people.ts';
import { Api, QUICK_HASHING } from './http.ts';
import { extractCode, type Mailbox, startMailServer, startSmsProvider, wrongCode } from './mailbox.ts';

let env: Env;
let api: Api;
let mail: Mailbox;
let phones: Mailbox;
test.before(async () => {
  [mail, phones] = await Promise.all([startMailServer(), startSmsProvider('sms secret')]);
  env = await startEnv({
    ...QUICK_HASHING,
    SMTP_URL: mail.url,
    SMS_WEBHOOK_URL: phones.url,
    SMS_WEBHOOK_TOKEN: 'sms secret',
  });
  api = new Api((await env.start('api')).apiUrl);
});
test.after.always(async () => {
  await env.stop();
  await Promise.all([mail.close(), phones.close()]);
});

const device = { name: 'phone', platform: 'ios' };
const password = PASSWORD;
const request = (to: object) => api.ask('auth.otp.request', { body: to });
const enter = (to: object, code: string, more: object = {}) =>
  api.ask('auth.otp.verify', { body: { ...to, code, device, ...more } });
let people = 400;
const newPhone = (): string => `+1555010${String(people++).padStart(4, '0')}`;
async function enterByPhone(phone: string) {
  const seen = phones.letters.filter((one) => one.to === phone).length;
  await request({ phone });
  return await enter({ phone }, extractCode(await phones.waitForLetter(phone, seen)));
}

test('[A04] the first log-in by code creates the account, later ones find it', async (t) => {
  const phone = newPhone();
  const asked = await request({ phone });
  t.is(asked.status, 202);
  t.deepEqual(asked.data, { status: 'code_sent', expires_in_sec: 300 });
  const first = await enter({ phone }, extractCode(await phones.waitForLetter(phone)), { name: 'Newcomer' });
  t.is(first.status, 201);
  t.is(first.data.user.name, 'Newcomer');
  t.is(first.data.device.platform, 'ios');
  const second = await enterByPhone(phone);
  t.is(second.status, 200);
  t.is(second.data.user.id, first.data.user.id);
  t.not(second.data.device.id, first.data.device.id);
  await request({ phone });
  const again = await enter({ phone }, extractCode(await phones.waitForLetter(phone, 2)), {
    device: { id: first.data.device.id },
  });
  t.is(again.data.device.id, first.data.device.id);
  const { error } = await api.ask('auth.login', { body: { identifier: phone, password: 'anything', device } });
  t.is(error?.code, 'unauthenticated', 'there is no password to guess');
});

test('[A04] the email address of a log-in by code is case-insensitive', async (t) => {
  await request({ email: 'Eve@Example.ORG' });
  const { data, status } = await enter(
    { email: 'eve@example.org' },
    extractCode(await mail.waitForLetter('eve@example.org')),
  );
  t.is(status, 201);
  t.is((await api.ask('accounts.get', { token: data.access_token })).status, 200);
});

test('[A04] wrong, used, replaced and expired codes are refused, and so is the right one after five tries', async (t) => {
  const phone = newPhone();
  await request({ phone });
  const first = extractCode(await phones.waitForLetter(phone));
  t.is((await enter({ phone }, wrongCode(first))).error?.code, 'code_invalid');
  await request({ phone });
  const second = extractCode(await phones.waitForLetter(phone, 1));
  if (first !== second) t.is((await enter({ phone }, first)).error?.code, 'code_invalid');
  t.is((await enter({ phone }, second)).status, 201);
  t.is((await enter({ phone }, second)).error?.code, 'code_invalid');

  const expired = newPhone();
  await request({ phone: expired });
  await env.db.query('update codes set expires_at = now() where lookup = $1', [
    openBlindIndex(env.config).indexOf('phone', expired),
  ]);
  t.is((await enter({ phone: expired }, extractCode(await phones.waitForLetter(expired)))).error?.code, 'code_invalid');

  const tried = newPhone();
  await request({ phone: tried });
  const code = extractCode(await phones.waitForLetter(tried));
  for (let i = 0; i < 5; i++) t.is((await enter({ phone: tried }, wrongCode(code))).error?.code, 'code_invalid');
  t.is((await enter({ phone: tried }, code)).error?.code, 'code_invalid');
  t.is((await enter({ phone: newPhone() }, '000000')).error?.code, 'code_invalid');
});

test('[A04] a code entered a hundred times simultaneously creates one account and one session', async (t) => {
  const phone = newPhone();
  await request({ phone });
  const code = extractCode(await phones.waitForLetter(phone));
  const all = await Promise.all(Array.from({ length: 100 }, () => enter({ phone }, code)));
  t.is(all.filter(({ status }) => status === 201).length, 1);
  t.true(all.every(({ status, error }) => status === 201 || ['code_invalid', 'rate_limited'].includes(error!.code)));
});

test('[A04] a hundred people log in by code simultaneously', async (t) => {
  const all = await Promise.all(
    Array.from({ length: 100 }, async () => {
      const phone = newPhone();
      return [(await enterByPhone(phone)).status, (await enterByPhone(phone)).status];
    }),
  );
  t.deepEqual(new Set(all.flat()), new Set([201, 200]));
});

test('[A10] a flood of wrong codes locks the address, even when new codes are requested', async (t) => {
  const phone = newPhone();
  const outcomes: (string | undefined)[] = [];
  for (let round = 0; round < 3; round++) {
    await request({ phone });
    const code = extractCode(await phones.waitForLetter(phone, round));
    for (let i = 0; i < 4; i++) outcomes.push((await enter({ phone }, wrongCode(code))).error?.code);
  }
  t.deepEqual(outcomes.slice(0, 10), Array(10).fill('code_invalid'));
  t.deepEqual(outcomes.slice(10), ['rate_limited', 'rate_limited']);
  const locked = await enter({ phone }, extractCode(await phones.waitForLetter(phone)));
  t.is(locked.error?.code, 'rate_limited');
  t.true(locked.error!.retry_after_ms! > 0);
});

test('[A04] proving an address that was registered without proof takes over its account and ends its password and sessions', async (t) => {
  const phone = newPhone();
  const squatter = await api.register({ phone, email: 'squatter@example.org', username: 'squatter' });
  const [token, theirs] = [squatter.access_token, squatter.device.id];
  await api.ask('keys.publish', { token, body: { identity_key: 'c3F1YXR0ZXI=' } });
  await api.ask('keys.backup.put', { token, body: { data: 'c2VhbGVk' } });
  const push = { provider: 'unifiedpush' as const, endpoint: 'https://push.example.org/squatter' };
  t.is((await api.ask('push.targets.put', { token, id: theirs, body: push })).status, 200);
  const owner = await enterByPhone(phone);
  t.is(owner.status, 200);
  t.is(owner.data.user.id, squatter.user.id);
  // Nobody seals for the squatter's device, and nothing wakes it.
  const { data: left } = await api.ask('devices.listOfUser', {
    token: owner.data.access_token,
    id: owner.data.user.id,
  });
  t.deepEqual(
    left.items.map(({ id }) => id),
    [owner.data.device.id],
  );
  t.not(owner.data.device.id, theirs);
  t.is((await api.ask('keys.backup.get', { token: owner.data.access_token })).error?.code, 'not_found');
  t.deepEqual(await env.db.query('select 1 from devices where id = $1 and push is not null', [theirs]), []);
  t.is((await api.ask('accounts.get', { token: squatter.access_token })).status, 401);
  for (const identifier of [phone, 'squatter', 'squatter@example.org'])
    t.is((await api.ask('auth.login', { body: { identifier, password, device } })).error?.code, 'unauthenticated');
  await request({ email: 'squatter@example.org' });
  const back = await enter(
    { email: 'squatter@example.org' },
    extractCode(await mail.waitForLetter('squatter@example.org')),
  );
  t.is(back.status, 201, 'the address of the squatter is no way in any more');
  t.is((await enterByPhone(phone)).data.user.id, owner.data.user.id);
});

test('[A04] proving the address on a device of the account keeps its devices', async (t) => {
  const email = 'the.same@example.org';
  const me = await api.register({ email, keys: { identity_key: 'bWluZQ==' } });
  await request({ email });
  const { data } = await enter({ email }, extractCode(await mail.waitForLetter(email)), {
    device: { id: me.device.id },
  });
  t.is(data.user.id, me.user.id);
  t.is(data.device.id, me.device.id);
  t.is(data.device.identity_key, 'bWluZQ==');
  t.is((await api.ask('accounts.get', { token: me.access_token })).status, 401);
});

test('[A04] proving an address of an account that another person has proved creates a new account', async (t) => {
  const phone = newPhone();
  const mixed = await api.register({ phone, email: 'mixed@example.org' });
  await request({ email: 'mixed@example.org' });
  t.is(
    (await enter({ email: 'mixed@example.org' }, extractCode(await mail.waitForLetter('mixed@example.org')))).data.user
      .id,
    mixed.user.id,
  );
  const owner = await enterByPhone(phone);
  t.is(owner.status, 201);
  t.not(owner.data.user.id, mixed.user.id);
});

test('[A04] invalid input is refused with the name of the field', async (t) => {
  const cases = [
    {},
    { phone: newPhone(), email: 'a@example.org' },
    { phone: '0555' },
    { email: 'nobody' },
    { username: 'x' },
  ];
  for (const body of cases) t.is((await request(body)).error?.code, 'invalid_request', JSON.stringify(body));
  const phone = newPhone();
  for (const code of ['12345', '1234567', 'abcdef', '１２３４５６', ''])
    t.is((await enter({ phone }, code)).error?.code, 'invalid_request');
});

test('[A03] a suspended account cannot log in by password, code or refresh token', async (t) => {
  const phone = newPhone();
  const { data } = await enterByPhone(phone);
  const person = await api.register();
  await env.db.query('update users set suspended_at = now() where id = any($1::uuid[])', [
    [data.user.id, person.user.id],
  ]);
  t.is((await enterByPhone(phone)).error?.code, 'forbidden');
  const login = (pw: string) =>
    api.ask('auth.login', { body: { identifier: person.user.number, password: pw, device } });
  t.is((await login(password)).error?.code, 'forbidden');
  t.is((await login('wrong horse')).error?.code, 'unauthenticated', 'only its owner is told');
  t.is((await api.ask('auth.refresh', { body: { refresh_token: person.refresh_token } })).status, 401);
});

test('[A04] the fixed development code needs no provider, and production refuses to start with it', async (t) => {
  t.throws(() => readConfig({ NODE_ENV: 'production', OTP_DEV_CODE: '123456' }), {
    message: /production refuses .*OTP_DEV_CODE/,
  });
  t.throws(() => readConfig({ OTP_DEV_CODE: 'letmein' }), { message: /OTP_DEV_CODE must be six digits/ });
  const dev = await env.spawn('api', { OTP_DEV_CODE: '123456', SMTP_URL: '', SMS_WEBHOOK_URL: '' });
  const there = new Api(dev.apiUrl);
  const phone = newPhone();
  t.is((await there.ask('auth.otp.request', { body: { phone } })).status, 202);
  t.is((await there.ask('auth.otp.verify', { body: { phone, code: '123457', device } })).error?.code, 'code_invalid');
  t.is((await there.ask('auth.otp.verify', { body: { phone, code: '123456', device } })).status, 201);
  await dev.stop();
  const none = await env.spawn('api', { SMTP_URL: '', SMS_WEBHOOK_URL: '' });
  t.is((await new Api(none.apiUrl).ask('auth.otp.request', { body: { phone } })).error?.code, 'forbidden');
  await none.stop();
});
